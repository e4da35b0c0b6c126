//! What the pods of the control plane have in common. They are meshed like any other: by the injector's own function.

use meshkit_injector::{
    annotation::{Annotations, COMPONENT, CONTROL_PLANE_NS},
    inject::{Owner, Target, inject},
};
use serde_json::{Map, Value, json};

use super::Plan;

const ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const ACCOUNT_VOLUME: &str = "kube-api-access";
/// How long a token of the API server lasts; the kubelet asks for another in time.
const TOKEN_SECONDS: u32 = 3607;

/// One container of the control plane.
pub(super) struct Container<'a> {
    pub(super) name: &'a str,
    /// Subcommand and flags of our program.
    pub(super) args: Vec<String>,
    /// Names and numbers.
    pub(super) ports: &'a [(&'a str, u16)],
    /// Where it is asked how it is: the port and both paths.
    pub(super) probes: (u16, &'a str, &'a str),
    /// Where in the values stands what it may use.
    pub(super) resources: &'a str,
    /// Volumes and their places, besides the token of its account.
    pub(super) mounts: &'a [(&'a str, &'a str)],
    pub(super) env: Value,
}

impl Plan<'_> {
    /// Flags that every controller has.
    pub(super) fn log_flags(&self) -> [String; 2] {
        [format!("--log-level={}", self.tree.text("controllerLogLevel")), format!("--log-format={}", self.tree.text("controllerLogFormat"))]
    }

    /// A Deployment of a part of the control plane, with its proxies.
    pub(super) fn deployment(
        &self,
        component: &str,
        containers: &[Container<'_>],
        mut volumes: Vec<Value>,
        annotations: &[(&str, String)],
    ) -> Result<Value, String> {
        let name = format!("linkerd-{component}");
        let tree = self.tree;
        volumes.insert(0, account_volume());
        let mut spec = json!({
            "automountServiceAccountToken": false,
            "containers": containers.iter().map(|container| self.container(container)).collect::<Vec<_>>(),
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "serviceAccountName": name,
            "volumes": volumes,
        });
        for key in ["nodeSelector", "tolerations", "imagePullSecrets", "priorityClassName", "runtimeClassName"] {
            if let Some(value) = said(tree.get(key)) {
                spec[key] = value.clone();
            }
        }
        if let Some(affinity) = self.affinity(component) {
            spec["affinity"] = affinity;
        }

        let extra = |path: &str| tree.get(path).as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
        // What the mesh goes by is not the user's to change.
        let mut labels: Map<_, _> = extra("podLabels").collect();
        labels.extend(self.labels(component));
        let mut pod_annotations: Map<_, _> = extra("podAnnotations").collect();
        let own = [
            ("config.linkerd.io/default-inbound-policy", "all-unauthenticated"),
            ("cluster-autoscaler.kubernetes.io/safe-to-evict", "true"),
        ];
        pod_annotations.extend(own.map(|(key, value)| (key.to_owned(), json!(value))));
        pod_annotations.extend(annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));

        let mut strategy = json!({"type": "RollingUpdate"});
        if let Some(rolling) = said(tree.get("deploymentStrategy.rollingUpdate")) {
            strategy["rollingUpdate"] = rolling.clone();
        }
        let mut metadata = self.metadata(&name, component);
        metadata["annotations"] = self.annotations();
        for (key, value) in [("name", component), ("part-of", "Linkerd"), ("version", &self.values.linkerd_version)] {
            metadata["labels"][format!("app.kubernetes.io/{key}")] = json!(value);
        }
        let mut deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
            "replicas": tree.get("controllerReplicas"),
            "revisionHistoryLimit": tree.get("revisionHistoryLimit"),
            "selector": {"matchLabels": self.labels(component)},
            "strategy": strategy,
            "template": {"metadata": {"labels": labels, "annotations": pod_annotations}, "spec": spec},
        }});
        self.mesh(&mut deployment, &name)?;
        Ok(deployment)
    }

    /// Adds the proxy to a Deployment.
    fn mesh(&self, deployment: &mut Value, name: &str) -> Result<(), String> {
        let owner = Owner { kind: "Deployment".to_owned(), name: name.to_owned() };
        let target = Target {
            document: deployment,
            prefix: "/spec/template",
            namespace: self.namespace,
            namespace_annotations: &Annotations::new(),
            owner: Some(&owner),
            created_by: self.created_by,
        };
        let injection = inject(&self.values, &target).map_err(|error| format!("Deployment {name}: {error}"))?;
        if let Some(fault) = injection.faults.first() {
            return Err(format!("Deployment {name}: {fault}"));
        }
        injection.patch.apply(deployment).map_err(|error| format!("Deployment {name}: {error}"))
    }

    /// What a Deployment knows its pods by. They are those that injection adds, for a selector cannot be changed later.
    fn labels(&self, component: &str) -> Map<String, Value> {
        let owner = format!("linkerd-{component}");
        [(COMPONENT, component), (CONTROL_PLANE_NS, self.namespace), ("linkerd.io/proxy-deployment", &owner)]
            .map(|(key, value)| (key.to_owned(), json!(value)))
            .into_iter()
            .collect()
    }

    fn container(&self, container: &Container<'_>) -> Value {
        let tree = self.tree;
        let version = match tree.text("controllerImageVersion") {
            version if version.is_empty() => self.values.linkerd_version.clone(),
            version => version,
        };
        let (port, live, ready) = container.probes;
        let mounts = [(ACCOUNT_VOLUME, ACCOUNT_DIR)].into_iter().chain(container.mounts.iter().copied());
        let mut context = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": tree.get("controllerUID"),
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        if tree.get("controllerGID").as_i64().is_some_and(|gid| gid >= 0) {
            context["runAsGroup"] = tree.get("controllerGID").clone();
        }
        let mut spec = json!({
            "name": container.name,
            "image": format!("{}:{version}", tree.text("controllerImage")),
            "imagePullPolicy": tree.get("imagePullPolicy"),
            "command": ["/mesh", "controller"],
            "args": container.args,
            "ports": container.ports.iter().map(|(name, port)| json!({"name": name, "containerPort": port})).collect::<Vec<_>>(),
            "livenessProbe": {"httpGet": {"path": live, "port": port}, "initialDelaySeconds": 10},
            "readinessProbe": {"httpGet": {"path": ready, "port": port}, "failureThreshold": 7},
            "securityContext": context,
            "volumeMounts": mounts.map(|(volume, path)| json!({"name": volume, "mountPath": path, "readOnly": true})).collect::<Vec<_>>(),
        });
        if let Some(resources) = resources(tree.get(container.resources)) {
            spec["resources"] = resources;
        }
        if let Some(env) = said(&container.env) {
            spec["env"] = env.clone();
        }
        spec
    }

    /// Replicas stand on different nodes, and in different zones if they can.
    fn affinity(&self, component: &str) -> Option<Value> {
        let mut affinity = Map::new();
        if self.tree.is("enablePodAntiAffinity") {
            let term = |topology: &str| json!({"labelSelector": {"matchExpressions": [{"key": COMPONENT, "operator": "In", "values": [component]}]}, "topologyKey": topology});
            affinity.insert(
                "podAntiAffinity".to_owned(),
                json!({
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term("topology.kubernetes.io/zone")}],
                    "requiredDuringSchedulingIgnoredDuringExecution": [term("kubernetes.io/hostname")],
                }),
            );
        }
        if let Some(nodes) = said(self.tree.get("nodeAffinity")) {
            affinity.insert("nodeAffinity".to_owned(), nodes.clone());
        }
        (!affinity.is_empty()).then_some(Value::Object(affinity))
    }
}

/// A volume from a ConfigMap.
pub(super) fn config_map(name: &str, map: &str) -> Value {
    json!({"name": name, "configMap": {"name": map}})
}

/// A volume from a Secret.
pub(super) fn secret(name: &str, secret: &str) -> Value {
    json!({"name": name, "secret": {"secretName": secret}})
}

/// The value, if anything stands there.
fn said(value: &Value) -> Option<&Value> {
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    (!empty).then_some(value)
}

/// `{cpu: {request, limit}, memory: ...}` as Kubernetes has it; nothing if there is nothing to say.
fn resources(said_of: &Value) -> Option<Value> {
    let mut all = Map::new();
    for (resource, bounds) in said_of.as_object()? {
        for (bound, key) in [("limit", "limits"), ("request", "requests")] {
            if let Some(quantity) = said(&bounds[bound]) {
                let map = all.entry(key).or_insert_with(|| json!({}));
                map[resource] = quantity.clone();
            }
        }
    }
    (!all.is_empty()).then_some(Value::Object(all))
}

fn account_volume() -> Value {
    json!({"name": ACCOUNT_VOLUME, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

//! What each part of the control plane may do, and no more.

use meshkit_injector::annotation::{COMPONENT, CONTROL_PLANE_NS};
use serde_json::{Value, json};

use super::Plan;

const READ: &[&str] = &["get", "list", "watch"];
const GATEWAY: &str = "gateway.networking.k8s.io";
const POLICY: &str = "policy.linkerd.io";

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

pub(super) fn identity(plan: &Plan<'_>) -> Vec<Value> {
    let rules = json!([
        rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
        // Where something happened to the issuer, and which certificates were given out.
        rule("", &["events"], &["create", "patch"]),
    ]);
    let name = format!("linkerd-{}-identity", plan.namespace);
    vec![
        plan.cluster_role(&name, "identity", rules),
        plan.cluster_role_binding(&name, "identity", &name, "linkerd-identity"),
        plan.account("linkerd-identity", "identity"),
    ]
}

pub(super) fn destination(plan: &Plan<'_>) -> Vec<Value> {
    let rules = json!([
        rule("apps", &["replicasets"], READ),
        rule("batch", &["jobs"], READ),
        rule("", &["pods", "endpoints", "services", "nodes"], READ),
        rule("linkerd.io", &["serviceprofiles"], READ),
        rule("workload.linkerd.io", &["externalworkloads"], READ),
        rule("coordination.k8s.io", &["leases"], &["create", "get", "update", "patch"]),
        rule("discovery.k8s.io", &["endpointslices"], &["get", "list", "watch", "create", "update", "patch", "delete"]),
    ]);
    let name = format!("linkerd-{}-destination", plan.namespace);
    let remote = "remote-discovery";
    vec![
        plan.cluster_role(&name, "destination", rules),
        plan.cluster_role_binding(&name, "destination", &name, "linkerd-destination"),
        plan.account("linkerd-destination", "destination"),
        plan.role(remote, "destination", json!([rule("", &["secrets"], READ)])),
        plan.role_binding("linkerd-destination-remote-discovery", "destination", remote, json!([plan.subject("linkerd-destination")])),
    ]
}

pub(super) fn policy(plan: &Plan<'_>) -> Vec<Value> {
    let own = [
        "authorizationpolicies",
        "egressnetworks",
        "httplocalratelimitpolicies",
        "httproutes",
        "meshtlsauthentications",
        "networkauthentications",
        "servers",
        "serverauthorizations",
    ];
    let statuses = ["egressnetworks/status", "httplocalratelimitpolicies/status", "httproutes/status"];
    let routes = ["httproutes", "grpcroutes", "tlsroutes", "tcproutes"];
    let route_statuses = ["httproutes/status", "grpcroutes/status", "tlsroutes/status", "tcproutes/status"];
    let rules = json!([
        rule("", &["pods", "services"], READ),
        rule("workload.linkerd.io", &["externalworkloads"], READ),
        // The owner of the lease.
        rule("apps", &["deployments"], &["get"]),
        rule(POLICY, &own, READ),
        rule(POLICY, &statuses, &["patch"]),
        rule(GATEWAY, &routes, READ),
        rule(GATEWAY, &route_statuses, &["patch"]),
        rule("coordination.k8s.io", &["leases"], &["create", "get", "patch"]),
    ]);
    vec![
        plan.cluster_role("linkerd-policy", "destination", rules),
        plan.cluster_role_binding("linkerd-destination-policy", "destination", "linkerd-policy", "linkerd-destination"),
    ]
}

pub(super) fn injector(plan: &Plan<'_>) -> Vec<Value> {
    let rules = json!([
        rule("", &["events"], &["create", "patch"]),
        rule("", &["namespaces", "replicationcontrollers"], READ),
        rule("", &["pods"], &["list", "watch"]),
        rule("apps", &["deployments", "replicasets", "daemonsets", "statefulsets"], READ),
        rule("extensions", &["replicasets"], READ),
        rule("batch", &["cronjobs", "jobs"], READ),
    ]);
    let name = format!("linkerd-{}-proxy-injector", plan.namespace);
    vec![
        plan.cluster_role(&name, "proxy-injector", rules),
        plan.cluster_role_binding(&name, "proxy-injector", &name, "linkerd-proxy-injector"),
        plan.account("linkerd-proxy-injector", "proxy-injector"),
    ]
}

/// Who may read what the mesh is like.
pub(super) fn config(plan: &Plan<'_>) -> Vec<Value> {
    let name = "ext-namespace-metadata-linkerd-config";
    let read = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["linkerd-config"]}]);
    let mut objects = vec![plan.role(name, "controller", read)];
    let readers = plan.tree.get("configReaders");
    if readers.as_array().is_some_and(|readers| !readers.is_empty()) {
        objects.push(plan.role_binding(name, "controller", name, readers.clone()));
    }
    objects
}

impl Plan<'_> {
    fn account(&self, name: &str, component: &str) -> Value {
        let mut account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": self.metadata(name, component)});
        let secrets = self.tree.get("imagePullSecrets");
        if secrets.as_array().is_some_and(|secrets| !secrets.is_empty()) {
            account["imagePullSecrets"] = secrets.clone();
        }
        account
    }

    fn subject(&self, account: &str) -> Value {
        json!({"kind": "ServiceAccount", "name": account, "namespace": self.namespace})
    }

    fn cluster_role(&self, name: &str, component: &str, rules: Value) -> Value {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": self.cluster_metadata(name, component), "rules": rules})
    }

    fn cluster_role_binding(&self, name: &str, component: &str, role: &str, account: &str) -> Value {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": self.cluster_metadata(name, component),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [self.subject(account)]})
    }

    fn role(&self, name: &str, component: &str, rules: Value) -> Value {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": self.metadata(name, component), "rules": rules})
    }

    fn role_binding(&self, name: &str, component: &str, role: &str, subjects: Value) -> Value {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": self.metadata(name, component),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}, "subjects": subjects})
    }

    /// At most so many pods of a part may be away on purpose; nothing unless that is wanted.
    pub(super) fn disruption_budget(&self, component: &str) -> Option<Value> {
        self.tree.is("enablePodDisruptionBudget").then(|| {
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": self.metadata(&format!("linkerd-{component}"), component),
            "spec": {
                "maxUnavailable": self.tree.get("controller.podDisruptionBudget.maxUnavailable"),
                "selector": {"matchLabels": {COMPONENT: component, CONTROL_PLANE_NS: self.namespace}},
            }})
        })
    }
}

//! `mesh install-cni`: the CNI plugin as text, for `kubectl apply`.

use clap::{Args as _, Command, FromArgMatches as _};
use serde_json::{Value, json};

use super::{ValuesFlags, created_by, write};
use crate::{access::Access, inject::Output, values::Tree};

const NAME: &str = "linkerd-cni";
/// Every object of the plugin has it.
const LABEL: &str = "linkerd.io/cni-resource";

/// `mesh install-cni`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InstallCni {
    /// The user that proxies run as
    #[arg(long, value_name = "UID", default_value_t = 2102)]
    proxy_uid: u32,
    /// The group that proxies run as [default: that of their image]
    #[arg(long, value_name = "GID", allow_negative_numbers = true, default_value_t = -1, hide_default_value = true)]
    proxy_gid: i64,
    /// Where proxies accept what comes to a pod
    #[arg(long, value_name = "PORT", default_value_t = 4143)]
    inbound_port: u16,
    /// Where proxies accept what an application sends
    #[arg(long, value_name = "PORT", default_value_t = 4140)]
    outbound_port: u16,
    /// Where proxies serve tap
    #[arg(long, value_name = "PORT", default_value_t = 4190)]
    control_port: u16,
    /// Where proxies serve metrics and probes
    #[arg(long, value_name = "PORT", default_value_t = 4191)]
    admin_port: u16,
    /// Ports and ranges (a-b) that do not go through the proxy when they come in
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    skip_inbound_ports: Vec<String>,
    /// Ports and ranges (a-b) of others that do not go through the proxy
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    skip_outbound_ports: Vec<String>,
    /// Incoming ports that go through the proxy [default: all]
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    redirect_ports: Vec<u16>,
    /// The registry of the image [default: ghcr.io/meshkit]
    #[arg(long, env = "LINKERD_DOCKER_REGISTRY", value_name = "REGISTRY")]
    registry: Option<String>,
    /// The image
    #[arg(long, value_name = "IMAGE")]
    cni_image: Option<String>,
    /// The image's version [default: that of this program]
    #[arg(long, alias = "linkerd-version", value_name = "TAG")]
    cni_image_version: Option<String>,
    /// What the plugin logs
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    cni_log_level: String,
    /// Where nodes have their networks' configurations
    #[arg(long, value_name = "FOLDER", default_value = "/etc/cni/net.d")]
    dest_cni_net_dir: String,
    /// Where nodes have their plugins
    #[arg(long, value_name = "FOLDER", default_value = "/opt/cni/bin")]
    dest_cni_bin_dir: String,
    /// The priority of its pods
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    priority_class_name: String,
    /// Lets iptables wait for its lock
    #[arg(long)]
    use_wait_flag: bool,
    /// How documents are written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    values: ValuesFlags,
    #[command(flatten)]
    access: Access,
}

impl InstallCni {
    /// Writes every object.
    ///
    /// # Errors
    /// Nothing was written: why.
    pub(crate) fn run(self) -> Result<(), Vec<String>> {
        write(&self.objects()?, self.output)
    }

    fn objects(&self) -> Result<Vec<Value>, Vec<String>> {
        let defaults = self.defaults();
        let mut tree = defaults.clone();
        self.values.apply(&mut tree)?;
        for key in tree.unknown_to(&defaults) {
            eprintln!("value {key} is not known, and has no effect");
        }
        for ports in ["ignoreInboundPorts", "ignoreOutboundPorts", "portsToRedirect"] {
            let list = tree.text(ports);
            let range = |part: &str| meshkit_injector::ports::Range::parse(part).is_some();
            if !list.split(',').filter(|part| !part.is_empty()).all(range) {
                return Err(vec![format!("{ports}: {list:?} is not a list of ports and ranges such as 25,8000-8080")]);
            }
        }
        Ok(objects(&tree, &self.access.cni_namespace, &created_by()))
    }

    /// Values with the names of the chart.
    fn defaults(&self) -> Tree {
        let registry = self.registry.as_deref().unwrap_or("ghcr.io/meshkit").trim_end_matches('/');
        let ports: Vec<_> = self.redirect_ports.iter().map(ToString::to_string).collect();
        Tree::from(json!({
            "inboundProxyPort": self.inbound_port,
            "outboundProxyPort": self.outbound_port,
            "proxyControlPort": self.control_port,
            "proxyAdminPort": self.admin_port,
            "ignoreInboundPorts": self.skip_inbound_ports.join(","),
            "ignoreOutboundPorts": self.skip_outbound_ports.join(","),
            "portsToRedirect": ports.join(","),
            "proxyUID": self.proxy_uid,
            "proxyGID": self.proxy_gid,
            "destCNINetDir": self.dest_cni_net_dir,
            "destCNIBinDir": self.dest_cni_bin_dir,
            "useWaitFlag": self.use_wait_flag,
            "iptablesMode": "nft",
            "disableIPv6": true,
            "logLevel": self.cni_log_level,
            "privileged": false,
            "priorityClassName": self.priority_class_name,
            "imagePullSecrets": [],
            "tolerations": [{"operator": "Exists"}],
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "image": {
                "name": self.cni_image.clone().unwrap_or_else(|| format!("{registry}/meshkit-init")),
                "version": self.cni_image_version.clone().unwrap_or_else(|| crate::version::CLIENT.to_owned()),
                "pullPolicy": "IfNotPresent",
            },
        }))
    }
}

/// The values where no flag says otherwise.
///
/// # Errors
/// Never: every flag has a default.
pub(crate) fn default_values() -> Result<Tree, String> {
    let command = InstallCni::augment_args(Command::new("install-cni").no_binary_name(true));
    let matches = command.try_get_matches_from([""; 0]).map_err(|error| error.to_string())?;
    let flags = InstallCni::from_arg_matches(&matches).map_err(|error| error.to_string())?;
    // The environment of whoever asks is not a default.
    Ok(InstallCni { registry: None, ..flags }.defaults())
}

/// What the plugin is told on each node.
fn configuration(tree: &Tree) -> Value {
    let list = |path: &str| -> Vec<String> { tree.text(path).split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect() };
    // What asks a proxy how it is, and taps it, comes from outside of its pod.
    let mut ignored = vec![tree.text("proxyControlPort"), tree.text("proxyAdminPort")];
    ignored.extend(list("ignoreInboundPorts"));
    let redirected: Vec<u16> = list("portsToRedirect").iter().filter_map(|port| port.parse().ok()).collect();
    let mut linkerd = json!({
        "incoming-proxy-port": tree.get("inboundProxyPort"),
        "outgoing-proxy-port": tree.get("outboundProxyPort"),
        "proxy-uid": tree.get("proxyUID"),
        "ports-to-redirect": redirected,
        "inbound-ports-to-ignore": ignored,
        "simulate": false,
        "use-wait-flag": tree.get("useWaitFlag"),
        "iptables-mode": tree.get("iptablesMode"),
        "ipv6": !tree.is("disableIPv6"),
    });
    if tree.get("proxyGID").as_i64().is_some_and(|gid| gid >= 0) {
        linkerd["proxy-gid"] = tree.get("proxyGID").clone();
    }
    let outbound = list("ignoreOutboundPorts");
    if !outbound.is_empty() {
        linkerd["outbound-ports-to-ignore"] = json!(outbound);
    }
    json!({"name": NAME, "type": NAME, "log_level": tree.get("logLevel"), "kubernetes": {"kubeconfig": "__KUBECONFIG_FILEPATH__"}, "linkerd": linkerd})
}

/// Every object, for values that are complete.
pub(crate) fn objects(tree: &Tree, namespace: &str, created_by: &str) -> Vec<Value> {
    let labels = json!({LABEL: "true"});
    let metadata = json!({"name": NAME, "labels": labels});
    let own = json!({"name": NAME, "namespace": namespace, "labels": labels});
    let config = "linkerd-cni-config";
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME});
    let rule = json!({"apiGroups": [""], "resources": ["pods", "nodes", "namespaces", "services"], "verbs": ["list", "get", "watch"]});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "annotations": {"linkerd.io/inject": "disabled"},
            "labels": {LABEL: "true", "config.linkerd.io/admission-webhooks": "disabled", "pod-security.kubernetes.io/enforce": "privileged"}}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own, "imagePullSecrets": tree.get("imagePullSecrets")}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": [rule]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": metadata, "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}]}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": config, "namespace": namespace, "labels": labels}, "data": {
            "dest_cni_net_dir": tree.get("destCNINetDir"),
            "dest_cni_bin_dir": tree.get("destCNIBinDir"),
            "cni_network_config": format!("{:#}", configuration(tree)),
        }}),
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": NAME, "namespace": namespace, "labels": {LABEL: "true", "k8s-app": NAME}},
        "spec": {
            "selector": {"matchLabels": {"k8s-app": NAME}},
            "updateStrategy": tree.get("updateStrategy"),
            "template": {
                "metadata": {"labels": {LABEL: "true", "k8s-app": NAME}, "annotations": {"linkerd.io/created-by": created_by, "linkerd.io/inject": "disabled"}},
                "spec": pod(tree, config),
            },
        }}),
    ]
}

fn pod(tree: &Tree, config: &str) -> Value {
    let from = |name: &str, key: &str| json!({"name": name, "valueFrom": {"configMapKeyRef": {"name": config, "key": key}}});
    let folders = [("cni-bin-dir", "destCNIBinDir"), ("cni-net-dir", "destCNINetDir")];
    let mounts = folders.map(|(name, path)| json!({"name": name, "mountPath": format!("/host{}", tree.text(path))}));
    let volumes = folders.map(|(name, path)| json!({"name": name, "hostPath": {"path": tree.get(path)}}));
    let mut spec = json!({
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": tree.get("tolerations"),
        "hostNetwork": true,
        "serviceAccountName": NAME,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "install-cni",
            "image": format!("{}:{}", tree.text("image.name"), tree.text("image.version")),
            "imagePullPolicy": tree.get("image.pullPolicy"),
            "command": ["/mesh", "install-cni-plugin"],
            "env": [
                from("DEST_CNI_NET_DIR", "dest_cni_net_dir"),
                from("DEST_CNI_BIN_DIR", "dest_cni_bin_dir"),
                from("CNI_NETWORK_CONFIG", "cni_network_config"),
                {"name": "SLEEP", "value": "true"},
            ],
            "volumeMounts": mounts,
            // It writes into folders of the node that belong to root.
            "securityContext": {"readOnlyRootFilesystem": true, "privileged": tree.get("privileged")},
        }],
        "volumes": volumes,
    });
    if !tree.text("priorityClassName").is_empty() {
        spec["priorityClassName"] = tree.get("priorityClassName").clone();
    }
    spec
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use meshkit_init::cni::conf::NetConf;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        install: InstallCni,
    }

    fn made(words: &[&str]) -> Result<Vec<Value>, Vec<String>> {
        Alone::try_parse_from([&["install-cni"], words].concat()).unwrap().install.objects()
    }

    fn plugin(objects: &[Value]) -> NetConf {
        let config = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
        serde_json::from_str(config["data"]["cni_network_config"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn the_plugin_reads_what_it_is_told() {
        let conf = plugin(&made(&[]).unwrap()).linkerd;
        assert_eq!((conf.incoming_proxy_port, conf.outgoing_proxy_port, conf.proxy_uid), (4143, 4140, 2102));
        assert_eq!(conf.inbound_ports_to_ignore, ["4190", "4191"]);
        let words = [
            "--skip-inbound-ports=25,100-200",
            "--skip-outbound-ports=443",
            "--redirect-ports=80",
            "--proxy-gid=7",
            "--set=inboundProxyPort=5143",
        ];
        let conf = plugin(&made(&words).unwrap()).linkerd;
        assert_eq!(conf.inbound_ports_to_ignore, ["4190", "4191", "25", "100-200"]);
        assert_eq!(conf.outbound_ports_to_ignore, ["443"]);
        assert_eq!((conf.ports_to_redirect, conf.proxy_gid, conf.incoming_proxy_port), (vec![80], 7, 5143));
    }

    #[test]
    fn objects_are_those_that_check_looks_for() {
        let objects = made(&["--cni-namespace=cni", "--registry=example.com/x", "--priority-class-name=high"]).unwrap();
        let names: Vec<_> =
            objects.iter().map(|o| format!("{} {}", o["kind"].as_str().unwrap(), o["metadata"]["name"].as_str().unwrap())).collect();
        assert_eq!(
            names,
            [
                "Namespace cni",
                "ServiceAccount linkerd-cni",
                "ClusterRole linkerd-cni",
                "ClusterRoleBinding linkerd-cni",
                "ConfigMap linkerd-cni-config",
                "DaemonSet linkerd-cni",
            ]
        );
        assert!(objects.iter().all(|object| object["metadata"]["labels"][LABEL] == "true"));
        let pod = &objects[5]["spec"]["template"]["spec"];
        assert_eq!(
            (&pod["priorityClassName"], &pod["containers"][0]["image"]),
            (&json!("high"), &json!(format!("example.com/x/meshkit-init:{}", crate::version::CLIENT)))
        );
        assert_eq!(pod["containers"][0]["volumeMounts"][0]["mountPath"], "/host/opt/cni/bin");
        assert!(made(&["--skip-inbound-ports=9-1"]).is_err());
    }
}

//! The files that the components read, as text. Paths are those inside a node.

use super::plan::Plan;

/// A client's view of the cluster, complete in one file: it means the same on the host and in a node. All three are PEM.
pub(crate) fn kubeconfig(plan: &Plan, authority: &str, certificate: &str, key: &str) -> String {
    let [authority, certificate, key] = [authority, certificate, key].map(|pem| base64(pem.as_bytes()));
    let (name, server) = (&plan.name, plan.api_server());
    format!(
        "\
apiVersion: v1
kind: Config
clusters:
- name: {name}
  cluster:
    server: {server}
    certificate-authority-data: {authority}
users:
- name: {name}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: {name}
  context:
    cluster: {name}
    user: {name}
current-context: {name}
"
    )
}

/// Version 2 of the format, which containerd 1.6 and later read.
pub(crate) fn containerd() -> String {
    "\
version = 2
root = \"/var/lib/containerd\"
state = \"/run/containerd\"

[grpc]
  address = \"/run/containerd/containerd.sock\"

[plugins.\"io.containerd.grpc.v1.cri\"]
  sandbox_image = \"localhost/pause:1\"
  # Without CAP_SYS_RESOURCE runc dies of lowering a score.
  restrict_oom_score_adj = true
  [plugins.\"io.containerd.grpc.v1.cri\".containerd]
    snapshotter = \"overlayfs\"
  [plugins.\"io.containerd.grpc.v1.cri\".cni]
    bin_dir = \"/opt/cni/bin\"
    conf_dir = \"/etc/cni/net.d\"
"
    .to_owned()
}

/// How a pod of this node gets its interface.
pub(crate) fn network(plan: &Plan, node: u8) -> String {
    // No masquerade: every node and the host have a route to every pod, and policy looks at the true source.
    format!(
        r#"{{
  "cniVersion": "1.0.0",
  "name": "{name}",
  "plugins": [
    {{
      "type": "bridge",
      "bridge": "cni0",
      "ipMasq": false,
      "hairpinMode": true,
      "ipam": {{
        "type": "host-local",
        "ranges": [[{{"subnet": "{range}", "gateway": "{gateway}"}}]],
        "routes": [{{"dst": "0.0.0.0/0"}}]
      }}
    }},
    {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
  ]
}}
"#,
        name = plan.name,
        range = plan.pod_range(node),
        gateway = plan.pod_gateway(node),
    )
}

pub(crate) fn kubelet(plan: &Plan, node: u8) -> String {
    let name = plan.node(node);
    format!(
        "\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: /etc/kubernetes/pki/ca.crt}}
authorization: {{mode: Webhook}}
tlsCertFile: /etc/kubernetes/pki/kubelet-{name}.crt
tlsPrivateKeyFile: /etc/kubernetes/pki/kubelet-{name}.key
clusterDomain: cluster.local
clusterDNS: [\"{dns}\"]
resolvConf: /dev/null
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
serializeImagePulls: false
evictionHard: {{memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
imageMinimumGCAge: 24h
maxPods: 200
",
        dns = plan.dns_service(),
        cgroup = plan.cgroup(node),
    )
}

pub(crate) fn proxy(plan: &Plan, node: u8) -> String {
    // The table of connections is the whole machine's: its size is left alone.
    format!(
        "\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {{kubeconfig: /etc/kubernetes/proxy.kubeconfig}}
mode: iptables
clusterCIDR: {range}
hostnameOverride: {name}
conntrack: {{maxPerCore: 0}}
",
        range = plan.cluster_range(),
        name = plan.node(node),
    )
}

/// Source: RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]);
            text.push(if at <= group.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { name: "mesh".into(), number: 2, nodes: 3 }
    }

    /// The test vectors of RFC 4648, section 10.
    #[test]
    fn base64_is_that_of_the_rfc() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")];
        for (text, encoded) in vectors {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn a_client_finds_the_server_by_the_address_of_the_first_node() {
        let text = kubeconfig(&plan(), "foo", "foob", "fooba");
        assert!(text.contains("server: https://10.122.0.1:6443\n    certificate-authority-data: Zm9v\n"), "{text}");
        assert!(text.contains("client-certificate-data: Zm9vYg==\n    client-key-data: Zm9vYmE=\n"), "{text}");
    }

    #[test]
    fn each_node_hands_out_addresses_of_its_own_range() {
        let text = network(&plan(), 1);
        assert!(text.contains(r#""ranges": [[{"subnet": "10.82.1.0/24", "gateway": "10.82.1.1"}]]"#), "{text}");
    }

    #[test]
    fn each_kubelet_has_a_cgroup_and_a_certificate_of_its_own() {
        let text = kubelet(&plan(), 1);
        assert!(text.contains("\ncgroupRoot: /meshkit-2-mesh-1\n") && text.contains("/kubelet-mesh-1.crt\n"), "{text}");
        assert!(text.contains("\nclusterDNS: [\"10.102.0.10\"]\n"), "{text}");
        assert!(proxy(&plan(), 1).contains("\nclusterCIDR: 10.82.0.0/16\nhostnameOverride: mesh-1\n"));
    }
}

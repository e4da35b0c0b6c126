//! The environment of a workload's proxy.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use crate::{
    overrides::Overridden,
    values::Values,
    variables::{Place, Source, Variable, variables},
};

pub use crate::overrides::BadAnnotation;

/// What is the same for every proxy of a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// Namespace of the control plane: `linkerd`.
    pub namespace: String,
    /// The DNS domain of the cluster: `cluster.local`.
    pub cluster_domain: String,
    /// The last part of every identity.
    pub trust_domain: String,
    /// `host:port` of the destination API.
    pub destination: String,
    /// `host:port` of the policy API.
    pub policy: String,
    /// `host:port` of the identity API.
    pub identity: String,
    /// PEM.
    pub trust_anchors: String,
    /// Networks whose addresses belong to the cluster.
    pub cluster_networks: Vec<IpNet>,
    /// What a port without a Server allows, unless the workload says otherwise.
    pub default_inbound_policy: String,
    /// The log filter, unless the workload says otherwise.
    pub log: String,
}

/// What is told apart from one proxy to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Name of the pod.
    pub pod: &'a str,
    /// Its service account.
    pub service_account: &'a str,
    /// The node it runs on.
    pub node: &'a str,
    /// The pod's addresses.
    pub ips: &'a [IpAddr],
    /// Ports of its containers and of their HTTP probes.
    pub ports: &'a [u16],
    /// The pod's annotations, those inherited from the namespace included.
    pub annotations: &'a BTreeMap<String, String>,
    /// Where the proxy listens: the wildcard address in a pod, the replica's own address on a shared machine.
    pub listen: IpAddr,
    /// Where the proxy accepts what the application sends: the loopback address in a pod.
    pub listen_outbound: IpAddr,
    /// Holds the proxy's key and signing request.
    pub identity_dir: &'a str,
    /// Holds the token that proves the service account.
    pub token_file: &'a str,
}

/// The variables of a workload's proxy, in the order in which a manifest lists them.
///
/// # Errors
/// An annotation of the workload has a value that the proxy would refuse.
pub fn environment(mesh: &Mesh, workload: &Workload<'_>) -> Result<Vec<(String, String)>, Vec<BadAnnotation>> {
    let Overridden { values, faults } = Overridden::of(&values(mesh), workload.annotations, &[]);
    if !faults.is_empty() {
        return Err(faults);
    }
    let host = |ip: IpAddr| if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
    let place = Place {
        namespace: workload.namespace,
        pod: workload.pod,
        node: workload.node,
        local_name: values.identity_of(workload.service_account, workload.namespace),
        ips: Source::Text(join(workload.ips)),
        ports: join(workload.ports),
        listen: host(workload.listen),
        listen_outbound: vec![host(workload.listen_outbound)],
        destination: mesh.destination.clone(),
        policy: mesh.policy.clone(),
        identity: mesh.identity.clone(),
        trust_anchors: Source::Text(mesh.trust_anchors.clone()),
        identity_dir: workload.identity_dir,
        token_file: workload.token_file,
        identity_parts: Vec::new(),
        trace: None,
    };
    let text = |Variable { name, source }| match source {
        Source::Text(value) => Some((name, value)),
        Source::Field(_) | Source::ConfigMap { .. } => None,
    };
    Ok(variables(&values, place).into_iter().filter_map(text).collect())
}

/// The values that a mesh on one machine has besides the defaults.
fn values(mesh: &Mesh) -> Values {
    let mut values = Values {
        namespace: mesh.namespace.clone(),
        cluster_domain: mesh.cluster_domain.clone(),
        identity_trust_domain: mesh.trust_domain.clone(),
        cluster_networks: join(&mesh.cluster_networks),
        ..Values::default()
    };
    values.proxy.default_inbound_policy.clone_from(&mesh.default_inbound_policy);
    values.proxy.log_level.clone_from(&mesh.log);
    // The log stays on this machine, and its filter is what its user gave.
    "insecure".clone_into(&mut values.proxy.log_http_headers);
    values
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh() -> Mesh {
        Mesh {
            namespace: "linkerd".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            destination: "linkerd-dst-headless.linkerd.svc.cluster.local.:8086".to_owned(),
            policy: "linkerd-policy.linkerd.svc.cluster.local.:8090".to_owned(),
            identity: "linkerd-identity-headless.linkerd.svc.cluster.local.:8080".to_owned(),
            trust_anchors: "-----BEGIN CERTIFICATE-----".to_owned(),
            cluster_networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            default_inbound_policy: "all-unauthenticated".to_owned(),
            log: "warn,linkerd=info".to_owned(),
        }
    }

    fn with(annotations: &[(&str, &str)]) -> Result<BTreeMap<String, String>, Vec<BadAnnotation>> {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let workload = Workload {
            namespace: "emojivoto",
            pod: "web-1",
            service_account: "web",
            node: "node-1",
            ips: &["10.0.0.7".parse().unwrap()],
            ports: &[8080, 8801],
            annotations: &annotations,
            listen: "0.0.0.0".parse().unwrap(),
            listen_outbound: "127.0.0.1".parse().unwrap(),
            identity_dir: "/var/run/linkerd/identity/end-entity",
            token_file: "/var/run/secrets/tokens/linkerd-identity-token",
        };
        environment(&mesh(), &workload).map(|env| env.into_iter().collect())
    }

    #[test]
    fn a_proxy_knows_who_it_is_and_whom_to_ask() {
        let env = with(&[]).unwrap();
        let is = |name: &str, value: &str| assert_eq!(env[&format!("LINKERD2_PROXY_{name}")], value);
        is("IDENTITY_LOCAL_NAME", "web.emojivoto.serviceaccount.identity.linkerd.cluster.local");
        is("POLICY_SVC_NAME", "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local");
        is("POLICY_WORKLOAD", "{\"ns\":\"emojivoto\", \"pod\":\"web-1\"}\n");
        is("POLICY_CLUSTER_NETWORKS", "10.0.0.0/8,fd00::/8");
        is("INBOUND_PORTS", "8080,8801");
        is("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140");
        is("DESTINATION_PROFILE_SUFFIXES", "svc.cluster.local.");
    }

    #[test]
    fn annotations_change_the_defaults() {
        let env = with(&[
            ("config.linkerd.io/inbound-port", "5143"),
            ("config.linkerd.io/default-inbound-policy", "deny"),
            ("config.linkerd.io/opaque-ports", "9000"),
            ("config.linkerd.io/enable-external-profiles", "true"),
        ])
        .unwrap();
        assert_eq!(env["LINKERD2_PROXY_INBOUND_LISTEN_ADDR"], "0.0.0.0:5143");
        assert_eq!(env["LINKERD2_PROXY_INBOUND_DEFAULT_POLICY"], "deny");
        assert_eq!(env["LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION"], "9000");
        assert_eq!(env["LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES"], ".");
    }

    #[test]
    fn every_bad_annotation_is_named() {
        let faults = with(&[("config.linkerd.io/admin-port", "0"), ("config.linkerd.io/default-inbound-policy", "allow")]).unwrap_err();
        let said: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(said[0], r#"annotation config.linkerd.io/admin-port: "0" is not a port from 1 to 65535"#);
        assert!(said[1].contains("default-inbound-policy"));
    }
}

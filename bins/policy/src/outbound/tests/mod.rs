//! One table or test for each rule of the outbound part, as its reference has them.

mod backends;
mod destinations;
mod egress;
mod requests;
mod routes;

use meshkit_core::grpc::Code;
use meshkit_policy::{Meta, http, outbound::OpaqueRoute, tls};
use meshkit_wire::outbound::{Dispatch, Distribution, OpaqueRule, Policy, Protocol, Rule};

use crate::fixture::World;

pub(super) const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ns}
spec:
  clusterIP: 10.96.0.7
  clusterIPs: [10.96.0.7, 'fd00::7']
  ports: [{name: http, port: 80}, {name: h2, port: 8080, appProtocol: kubernetes.io/h2c}, {name: db, port: 5432}]
---
apiVersion: v1
kind: Service
metadata: {name: web-v2, namespace: ns}
spec: {clusterIP: 10.96.0.8, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: far}
spec: {clusterIP: 10.96.0.9, ports: [{port: 80}]}
";

pub(super) const WEB: &str = "10.96.0.7:80";

/// A route of the Service `web`, or of whatever `parents` says instead.
pub(super) struct Text {
    pub(super) kind: &'static str,
    pub(super) name: &'static str,
    pub(super) namespace: &'static str,
    pub(super) made: u8,
    pub(super) annotations: &'static str,
    pub(super) parents: &'static str,
    pub(super) rules: &'static str,
}

pub(super) const ROUTE: Text = Text {
    kind: "HTTPRoute",
    name: "it",
    namespace: "ns",
    made: 1,
    annotations: "",
    parents: "{group: core, kind: Service, name: web, port: 80}",
    rules: "{backendRefs: [{name: web, port: 80}]}",
};

impl Text {
    pub(super) fn yaml(&self) -> String {
        let Self { kind, name, namespace, made, annotations, parents, rules } = self;
        let version = match *kind {
            "PolicyHTTPRoute" => "policy.linkerd.io/v1beta3",
            "TLSRoute" | "TCPRoute" => "gateway.networking.k8s.io/v1alpha2",
            _ => "gateway.networking.k8s.io/v1",
        };
        let kind = kind.trim_start_matches("Policy");
        format!(
            "\n---\n{{apiVersion: {version}, kind: {kind}, metadata: {{name: {name}, namespace: {namespace}, annotations: {{{annotations}}}, \
             creationTimestamp: '2020-01-0{made}T00:00:00Z'}}, spec: {{parentRefs: [{parents}], rules: [{rules}]}}}}"
        )
    }
}

/// The policy of a target as clients of a namespace see it, in a cluster with [`SERVICES`].
pub(super) fn policy_for(namespace: &str, objects: &str, target: &str) -> Result<Policy, Code> {
    World::new(&format!("{SERVICES}\n---\n{objects}")).outbound(namespace, target)
}

pub(super) fn policy(objects: &str, target: &str) -> Policy {
    policy_for("client", objects, target).unwrap()
}

/// What a protocol is called, and its routes.
pub(super) fn shape(policy: &Policy) -> (&'static str, Vec<String>) {
    fn names<'a>(all: impl Iterator<Item = &'a Meta>) -> Vec<String> {
        all.map(|meta| meta.name().to_owned()).collect()
    }
    match &policy.protocol {
        Protocol::Detect { http1, http2, .. } => {
            assert_eq!(http1, http2);
            ("detect", names(http1.iter().map(|route| &route.meta)))
        }
        Protocol::Http1(routes) => ("http1", names(routes.iter().map(|route| &route.meta))),
        Protocol::Http2(routes) => ("http2", names(routes.iter().map(|route| &route.meta))),
        Protocol::Grpc(routes) => ("grpc", names(routes.iter().map(|route| &route.meta))),
        Protocol::Tls(routes) => ("tls", names(routes.iter().map(|route| &route.meta))),
        Protocol::Opaque(route) => ("opaque", names(route.iter().map(|route| &route.meta))),
    }
}

/// The rules of all HTTP routes.
pub(super) fn http_rules(policy: &Policy) -> Vec<&Rule<http::Filter>> {
    let routes = policy.protocol.http1().or(policy.protocol.http2()).unwrap_or_else(|| panic!("{policy:?}"));
    routes.iter().flat_map(|route| &route.rules).map(|rule| &rule.policy).collect()
}

pub(super) fn opaque(policy: &Policy) -> &OpaqueRoute<OpaqueRule> {
    policy.protocol.opaque().unwrap_or_else(|| panic!("{policy:?}"))
}

/// Backends, each as where it goes, its weight, and the message of the filter that fails it.
pub(super) fn backends(distribution: &Distribution<http::Filter>) -> Vec<(String, u32, Option<String>)> {
    let fault = |filter: &http::Filter| match filter {
        http::Filter::Fail(failure) => Some(format!("{} {}", failure.response.as_u16(), failure.message)),
        _ => None,
    };
    distribution.backends().map(|(it, weight)| (place(&it.backend.dispatch), weight, it.filters.iter().find_map(fault))).collect()
}

/// The same for connections.
pub(super) fn connection_backends(distribution: &Distribution<tls::Filter>) -> Vec<(String, u32, Option<String>)> {
    let fault = |filter: &tls::Filter| match filter {
        tls::Filter::Invalid(message) => Some(message.to_string()),
        tls::Filter::Forbidden => Some("forbidden".to_owned()),
    };
    distribution.backends().map(|(it, weight)| (place(&it.backend.dispatch), weight, it.filters.iter().find_map(fault))).collect()
}

fn place(dispatch: &Dispatch) -> String {
    match dispatch {
        Dispatch::Balance { path, .. } => path.clone(),
        Dispatch::Forward(endpoint) => endpoint.addr.to_string(),
        Dispatch::Fail => "nowhere".to_owned(),
    }
}

//! One table or test for each rule of the inbound part, as its reference has them.

mod authorizations;
mod defaults;
mod limits;
mod routes;
mod servers;

use ::http::Request;
use meshkit_core::grpc::Code;
use meshkit_policy::{Authentication, Authorization, Client, TlsState, inbound::Policy};

use crate::{
    fixture::{World, objects},
    workload::Workload,
};

pub(super) const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: ns, labels: {app: web}}
spec:
  containers:
  - name: web
    ports: [{name: http, containerPort: 8080}, {name: admin, containerPort: 8081}, {name: db, containerPort: 3306}]
";

pub(super) const SERVER: &str = "
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web-http, namespace: ns, labels: {tier: front}}
spec: {podSelector: {matchLabels: {app: web}}, port: 8080}
";

/// The policy of a port of the Pod `web-1`.
pub(super) fn policy(objects: &[&str], port: u16) -> Policy {
    World::new(&objects.join("\n---\n")).inbound(&Workload::pod("ns", "web-1"), port).unwrap()
}

/// A client with the identity of a service account, such as `web.ns`, or without any.
pub(super) fn client(account: Option<&str>, ip: &str) -> Client {
    let id = account.map(|account| format!("{account}.serviceaccount.identity.linkerd.td.local"));
    let tls = id.map_or(TlsState::NoTls, |id| TlsState::Terminated { client_id: Some(id.parse().unwrap()) });
    Client { ip: ip.parse().unwrap(), tls }
}

/// What lets a client of the cluster make a request, if anything does.
pub(super) fn permit(policy: &Policy, account: Option<&str>, method: &str, path: &str) -> Option<String> {
    let request = Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0;
    let found = policy.route(&request)?;
    policy.authorize_request(&client(account, "10.1.2.3"), &found).ok().map(ToString::to_string)
}

/// The names of the routes, in their order.
pub(super) fn route_names(policy: &Policy) -> Vec<String> {
    use meshkit_policy::inbound::Protocol;
    match &policy.protocol {
        Protocol::Detect { routes, .. } | Protocol::Http1 { routes, .. } | Protocol::Http2 { routes, .. } => {
            routes.iter().map(|route| route.meta.to_string()).collect()
        }
        Protocol::Grpc { routes } => routes.iter().map(|route| route.meta.to_string()).collect(),
        Protocol::Opaque | Protocol::Tls => Vec::new(),
    }
}

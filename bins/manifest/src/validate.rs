//! What an admission webhook refuses, as a pure function.

use std::fmt;

mod profile;
mod route;
#[cfg(test)]
mod tests;
mod traffic;

use crate::{
    object::Object,
    policy::{AuthorizationPolicySpec, MeshTLSAuthenticationSpec, Network, ServerAuthorizationSpec, ServerSpec},
};

/// The access policies that a Server may name.
const ACCESS_POLICIES: &[&str] =
    &["all-unauthenticated", "all-authenticated", "cluster-unauthenticated", "cluster-authenticated", "deny", "audit"];

const POLICY: &str = "policy.linkerd.io";
const GATEWAY: &str = "gateway.networking.k8s.io";
/// What an AuthorizationPolicy may target.
const TARGETS: &[(&str, &str)] =
    &[(POLICY, "Server"), ("", "Namespace"), (POLICY, "HTTPRoute"), (GATEWAY, "HTTPRoute"), (GATEWAY, "GRPCRoute")];
/// What an AuthorizationPolicy may require.
const AUTHENTICATIONS: &[(&str, &str)] = &[(POLICY, "MeshTLSAuthentication"), (POLICY, "NetworkAuthentication"), ("", "ServiceAccount")];

/// A field whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    path: String,
    what: String,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Faults(Vec<FieldError>);

/// May the object be admitted?
///
/// # Errors
/// Everything that is wrong with it.
pub fn validate(object: &Object) -> Result<(), Vec<FieldError>> {
    let mut faults = Faults::default();
    match object {
        Object::Server(server) => check_server(&server.spec, &mut faults),
        Object::AuthorizationPolicy(policy) => check_policy(&policy.spec, &policy.metadata.namespace, &mut faults),
        Object::MeshTLSAuthentication(authentication) => check_mesh_tls(&authentication.spec, &mut faults),
        Object::NetworkAuthentication(authentication) => {
            if authentication.spec.networks.is_empty() {
                faults.add("spec.networks", "at least one network is needed".to_owned());
            }
            check_networks(&authentication.spec.networks, "spec.networks", &mut faults);
        }
        Object::ServerAuthorization(authorization) => check_authorization(&authorization.spec, &mut faults),
        Object::HTTPLocalRateLimitPolicy(policy) => traffic::check_rate_limit(&policy.spec, &mut faults),
        Object::EgressNetwork(network) => traffic::check_egress(&network.spec, &mut faults),
        Object::PolicyHTTPRoute(it) => route::check_policy_http(it, &mut faults),
        Object::HTTPRoute(it) => route::check_http(it, &mut faults),
        Object::GRPCRoute(it) => route::check_grpc(it, &mut faults),
        Object::TLSRoute(it) => route::check_connections(&it.spec.parent_refs, &it.spec.rules, &mut faults),
        Object::TCPRoute(it) => route::check_connections(&it.spec.parent_refs, &it.spec.rules, &mut faults),
        Object::ServiceProfile(it) => profile::check(&it.metadata, &it.spec, &mut faults),
        Object::ExternalWorkload(workload) => traffic::check_workload(&workload.spec, &mut faults),
        _ => {}
    }
    check_trouble(object, &mut faults);
    if faults.0.is_empty() { Ok(()) } else { Err(faults.0) }
}

/// Planned trouble stands in annotations, where nobody else would look at it.
fn check_trouble(object: &Object, faults: &mut Faults) {
    if !matches!(object, Object::Service(_) | Object::Server(_) | Object::HTTPRoute(_) | Object::PolicyHTTPRoute(_) | Object::GRPCRoute(_))
    {
        return;
    }
    let annotations = &object.metadata().annotations;
    let read = meshkit_fault::Faults::from_annotations(|key| annotations.get(key).map(String::as_str));
    for error in read.err().into_iter().flatten() {
        faults.add(format!("metadata.annotations[{}]", error.field()), error.to_string());
    }
}

fn check_server(spec: &ServerSpec, faults: &mut Faults) {
    match (&spec.pod_selector, &spec.external_workload_selector) {
        (None, None) => faults.add("spec.podSelector", "is missing: one of podSelector and externalWorkloadSelector is needed".to_owned()),
        (Some(_), Some(_)) => faults.add("spec.externalWorkloadSelector", "cannot stand beside podSelector".to_owned()),
        _ => {}
    }
    if matches!(&spec.port, crate::meta::IntOrString::Int(port) if !(1..=65_535).contains(port)) {
        faults.add("spec.port", format!("{} is not a port from 1 to 65535", spec.port));
    }
    if let Some(policy) = &spec.access_policy
        && !ACCESS_POLICIES.contains(&policy.as_str())
    {
        faults.add("spec.accessPolicy", format!("{policy:?} is not one of {}", ACCESS_POLICIES.join(", ")));
    }
}

fn check_policy(spec: &AuthorizationPolicySpec, namespace: &str, faults: &mut Faults) {
    let target = &spec.target_ref;
    if !TARGETS.iter().any(|(group, kind)| target.is(group, kind)) {
        let what = "is not a Server, Namespace, HTTPRoute or GRPCRoute of its group";
        faults.add("spec.targetRef", format!("kind {:?} of group {:?} {what}", target.kind, target.group));
    }
    if target.is("", "Namespace") && target.name != namespace {
        faults.add("spec.targetRef", format!("a policy targets its own namespace {namespace:?} only, not {:?}", target.name));
    }
    let refs = &spec.required_authentication_refs;
    let count = |group: &str, kind: &str| refs.iter().filter(|r| r.is(group, kind)).count();
    let mesh = count(POLICY, "MeshTLSAuthentication") + count("", "ServiceAccount");
    if mesh > 1 {
        let what = "at most one MeshTLSAuthentication or ServiceAccount may be required";
        faults.add("spec.requiredAuthenticationRefs", what.to_owned());
    }
    if count(POLICY, "NetworkAuthentication") > 1 {
        faults.add("spec.requiredAuthenticationRefs", "at most one NetworkAuthentication may be required".to_owned());
    }
    for (index, wrong) in refs.iter().enumerate().filter(|(_, r)| !AUTHENTICATIONS.iter().any(|(group, kind)| r.is(group, kind))) {
        let what = "is not a MeshTLSAuthentication, NetworkAuthentication or ServiceAccount of its group";
        let path = format!("spec.requiredAuthenticationRefs[{index}]");
        faults.add(path, format!("kind {:?} of group {:?} {what}", wrong.kind, wrong.group));
    }
}

fn check_mesh_tls(spec: &MeshTLSAuthenticationSpec, faults: &mut Faults) {
    if spec.identities.is_empty() == spec.identity_refs.is_empty() {
        faults.add("spec", "exactly one of identities and identityRefs is needed, and not empty".to_owned());
    }
    for (index, identity) in spec.identities.iter().enumerate() {
        let name = identity.strip_prefix("*.").unwrap_or(identity);
        if identity != "*" && name.parse::<meshkit_core::Identity>().is_err() {
            let path = format!("spec.identities[{index}]");
            faults.add(path, format!("{identity:?} is neither a DNS name, nor * or *.suffix, nor a spiffe:// URI"));
        }
    }
    for (index, reference) in spec.identity_refs.iter().enumerate() {
        let path = format!("spec.identityRefs[{index}]");
        match reference.kind.as_str() {
            "ServiceAccount" => {}
            "Namespace" if reference.namespace.is_none() => {}
            "Namespace" => faults.add(path, "a reference to a Namespace has no namespace".to_owned()),
            other => faults.add(path, format!("{other:?} is not one of ServiceAccount, Namespace")),
        }
    }
}

fn check_authorization(spec: &ServerAuthorizationSpec, faults: &mut Faults) {
    if spec.server.name.is_some() == spec.server.selector.is_some() {
        faults.add("spec.server", "exactly one of name and selector is needed".to_owned());
    }
    if let Some(tls) = &spec.client.mesh_tls {
        if spec.client.unauthenticated {
            faults.add("spec.client", "unauthenticated clients cannot be asked for meshTLS".to_owned());
        }
        if tls.unauthenticated_tls && !(tls.identities.is_empty() && tls.service_accounts.is_empty()) {
            faults.add("spec.client.meshTLS", "unauthenticatedTLS leaves no identities to ask for".to_owned());
        }
    }
    check_networks(spec.client.networks.as_deref().unwrap_or_default(), "spec.client.networks", faults);
}

fn check_networks(networks: &[Network], path: &str, faults: &mut Faults) {
    for (index, Network { cidr, except }) in networks.iter().enumerate() {
        for (nth, part) in except.iter().enumerate() {
            let path = format!("{path}[{index}].except[{nth}]");
            if part.contains(cidr) {
                faults.add(path, format!("the exception {part} leaves nothing of {cidr}"));
            } else if !cidr.contains(part) {
                faults.add(path, format!("the exception {part} is not a part of {cidr}"));
            }
        }
    }
}

impl Faults {
    fn add(&mut self, path: impl Into<String>, what: String) {
        self.0.push(FieldError { path: path.into(), what });
    }
}

impl FieldError {
    pub(crate) fn new(path: String, what: String) -> Self {
        Self { path, what }
    }

    /// The field: `spec.rules[0].timeouts.request`, `metadata.annotations["retry.linkerd.io/limit"]`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was seen, and what is wanted.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

impl std::error::Error for FieldError {}

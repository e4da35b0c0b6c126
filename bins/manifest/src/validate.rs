//! What an admission webhook refuses, as a pure function.

use std::fmt;

use ipnet::IpNet;

use crate::{
    object::Object,
    policy::{AuthorizationPolicySpec, MeshTLSAuthenticationSpec, Network, ServerAuthorizationSpec, ServerSpec},
};

/// The access policies that a Server may name.
const ACCESS_POLICIES: &[&str] =
    &["all-unauthenticated", "all-authenticated", "cluster-unauthenticated", "cluster-authenticated", "deny", "audit"];

/// A field whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    path: &'static str,
    what: String,
}

/// May the object be admitted?
///
/// # Errors
/// Everything that is wrong with it.
pub fn validate(object: &Object) -> Result<(), Vec<FieldError>> {
    let mut faults = Vec::new();
    let mut fault = |path, what: String| faults.push(FieldError { path, what });
    match object {
        Object::Server(server) => check_server(&server.spec, &mut fault),
        Object::AuthorizationPolicy(policy) => check_policy(&policy.spec, &policy.metadata.namespace, &mut fault),
        Object::MeshTLSAuthentication(authentication) => check_mesh_tls(&authentication.spec, &mut fault),
        Object::NetworkAuthentication(authentication) => {
            if authentication.spec.networks.is_empty() {
                fault("spec.networks", "at least one network is needed".to_owned());
            }
            check_networks(&authentication.spec.networks, "spec.networks", &mut fault);
        }
        Object::ServerAuthorization(authorization) => check_authorization(&authorization.spec, &mut fault),
        _ => {}
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn check_server(spec: &ServerSpec, fault: &mut dyn FnMut(&'static str, String)) {
    if spec.pod_selector.is_none() {
        fault("spec.podSelector", "is missing".to_owned());
    }
    if matches!(&spec.port, crate::meta::IntOrString::Int(port) if !(1..=65_535).contains(port)) {
        fault("spec.port", format!("{} is not a port from 1 to 65535", spec.port));
    }
    if let Some(policy) = &spec.access_policy
        && !ACCESS_POLICIES.contains(&policy.as_str())
    {
        fault("spec.accessPolicy", format!("{policy:?} is not one of {}", ACCESS_POLICIES.join(", ")));
    }
}

fn check_policy(spec: &AuthorizationPolicySpec, namespace: &str, fault: &mut dyn FnMut(&'static str, String)) {
    let is = |kind: &str, wanted: &str| kind.eq_ignore_ascii_case(wanted);
    let target = &spec.target_ref;
    if !["Server", "Namespace", "HTTPRoute", "GRPCRoute"].iter().any(|kind| is(&target.kind, kind)) {
        fault("spec.targetRef", format!("{:?} is not one of Server, Namespace, HTTPRoute, GRPCRoute", target.kind));
    }
    if is(&target.kind, "Namespace") && target.name != namespace {
        fault("spec.targetRef", format!("a policy targets its own namespace {namespace:?} only, not {:?}", target.name));
    }
    let count = |wanted: &str| spec.required_authentication_refs.iter().filter(|r| is(&r.kind, wanted)).count();
    let (mesh, accounts, networks) = (count("MeshTLSAuthentication"), count("ServiceAccount"), count("NetworkAuthentication"));
    if mesh + accounts > 1 {
        fault("spec.requiredAuthenticationRefs", "at most one MeshTLSAuthentication or ServiceAccount may be required".to_owned());
    }
    if networks > 1 {
        fault("spec.requiredAuthenticationRefs", "at most one NetworkAuthentication may be required".to_owned());
    }
    if mesh + accounts + networks < spec.required_authentication_refs.len() {
        let wanted = "MeshTLSAuthentication, NetworkAuthentication, ServiceAccount";
        fault("spec.requiredAuthenticationRefs", format!("a reference is not one of {wanted}"));
    }
}

fn check_mesh_tls(spec: &MeshTLSAuthenticationSpec, fault: &mut dyn FnMut(&'static str, String)) {
    if spec.identities.is_empty() == spec.identity_refs.is_empty() {
        fault("spec", "exactly one of identities and identityRefs is needed, and not empty".to_owned());
    }
    for identity in &spec.identities {
        let name = identity.strip_prefix("*.").unwrap_or(identity);
        if identity != "*" && name.parse::<meshkit_core::Identity>().is_err() {
            fault("spec.identities", format!("{identity:?} is neither a DNS name, nor * or *.suffix, nor a spiffe:// URI"));
        }
    }
    for reference in &spec.identity_refs {
        match reference.kind.as_str() {
            "ServiceAccount" => {}
            "Namespace" if reference.namespace.is_none() => {}
            "Namespace" => fault("spec.identityRefs", "a reference to a Namespace has no namespace".to_owned()),
            other => fault("spec.identityRefs", format!("{other:?} is not one of ServiceAccount, Namespace")),
        }
    }
}

fn check_authorization(spec: &ServerAuthorizationSpec, fault: &mut dyn FnMut(&'static str, String)) {
    if spec.server.name.is_some() == spec.server.selector.is_some() {
        fault("spec.server", "exactly one of name and selector is needed".to_owned());
    }
    if let Some(tls) = &spec.client.mesh_tls {
        if spec.client.unauthenticated {
            fault("spec.client", "unauthenticated clients cannot be asked for meshTLS".to_owned());
        }
        if tls.unauthenticated_tls && !(tls.identities.is_empty() && tls.service_accounts.is_empty()) {
            fault("spec.client.meshTLS", "unauthenticatedTLS leaves no identities to ask for".to_owned());
        }
    }
    check_networks(spec.client.networks.as_deref().unwrap_or_default(), "spec.client.networks", fault);
}

fn check_networks(networks: &[Network], path: &'static str, fault: &mut dyn FnMut(&'static str, String)) {
    let covers = |outer: &IpNet, inner: &IpNet| outer.contains(inner);
    for Network { cidr, except } in networks {
        for part in except {
            if covers(part, cidr) {
                fault(path, format!("the exception {part} leaves nothing of {cidr}"));
            } else if !covers(cidr, part) {
                fault(path, format!("the exception {part} is not a part of {cidr}"));
            }
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

impl std::error::Error for FieldError {}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::Manifest;

    fn refused(kind: &str, spec: &str) -> Vec<String> {
        let version = match kind {
            "Server" => "v1beta3",
            "ServerAuthorization" => "v1beta1",
            _ => "v1alpha1",
        };
        let text = format!("apiVersion: policy.linkerd.io/{version}\nkind: {kind}\nmetadata: {{name: a, namespace: ns}}\nspec: {spec}\n");
        match Manifest::parse(Path::new("a.yaml"), &text) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|f| f.what).collect(),
        }
    }

    #[test]
    fn what_the_webhook_admits_is_admitted_and_what_it_refuses_is_refused_with_its_field() {
        let table = [
            ("Server", "{podSelector: {}, port: 80, proxyProtocol: gRPC}", ""),
            ("Server", "{podSelector: {}, port: 0}", "spec.port"),
            ("Server", "{port: 80}", "spec.podSelector"),
            ("Server", "{podSelector: {}, port: 80, accessPolicy: allow}", "spec.accessPolicy"),
            ("Server", "{podSelector: {}, port: 80, proxyProtocol: http}", "unknown variant `http`"),
            ("AuthorizationPolicy", "{targetRef: {group: policy.linkerd.io, kind: Server, name: x}, requiredAuthenticationRefs: []}", ""),
            ("AuthorizationPolicy", "{targetRef: {kind: Namespace, name: other}, requiredAuthenticationRefs: []}", "spec.targetRef"),
            ("AuthorizationPolicy", "{targetRef: {kind: Pod, name: x}, requiredAuthenticationRefs: []}", "spec.targetRef"),
            (
                "AuthorizationPolicy",
                "{targetRef: {kind: Server, name: x}, requiredAuthenticationRefs: [{kind: ServiceAccount, name: a}, {kind: MeshTLSAuthentication, name: b}]}",
                "at most one",
            ),
            ("MeshTLSAuthentication", "{identities: ['*', '*.a.b', 'spiffe://td/x']}", ""),
            ("MeshTLSAuthentication", "{identities: ['a b']}", "spec.identities"),
            ("MeshTLSAuthentication", "{}", "exactly one"),
            ("NetworkAuthentication", "{networks: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]}", ""),
            ("NetworkAuthentication", "{networks: [{cidr: 10.0.0.1}]}", ""),
            ("NetworkAuthentication", "{networks: []}", "spec.networks"),
            ("NetworkAuthentication", "{networks: [{cidr: 10.0.0.0/8, except: [0.0.0.0/0]}]}", "leaves nothing"),
            ("NetworkAuthentication", "{networks: [{cidr: 10.0.0.0/8, except: [11.0.0.0/16]}]}", "not a part"),
            ("NetworkAuthentication", "{networks: [{cidr: ten}]}", "neither a network"),
            ("ServerAuthorization", "{server: {name: x}, client: {unauthenticated: true, meshTLS: {identities: ['*']}}}", "spec.client"),
            ("ServerAuthorization", "{server: {}, client: {unauthenticated: true}}", "spec.server"),
        ];
        for (kind, spec, wanted) in table {
            let faults = refused(kind, spec);
            match wanted {
                "" => assert!(faults.is_empty(), "{kind} {spec}: {faults:?}"),
                wanted => assert!(faults.iter().any(|f| f.contains(wanted)), "{kind} {spec}: {faults:?}"),
            }
        }
    }
}

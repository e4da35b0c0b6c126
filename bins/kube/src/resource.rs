//! Where the API server keeps each kind.

use std::{borrow::Cow, fmt::Write as _};

use meshkit_manifest::Kind;

/// A kind of objects as paths of the API name it, whether the mesh reads it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    api_version: Cow<'static, str>,
    plural: Cow<'static, str>,
    is_namespaced: bool,
}

/// A kind's place in the API: its group's versions, best first, and its name in paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) group: &'static str,
    /// Those that the mesh can read. Not every server has every version of a kind that came with a CRD.
    pub(crate) versions: &'static [&'static str],
    pub(crate) plural: &'static str,
    pub(crate) is_namespaced: bool,
}

/// `None` for a kind that this kit does not know yet.
pub(crate) fn place(kind: Kind) -> Option<Place> {
    let (versions, plural): (&'static [&'static str], _) = match kind {
        Kind::Namespace => (&["v1"], "namespaces"),
        Kind::Node => (&["v1"], "nodes"),
        Kind::ServiceAccount => (&["v1"], "serviceaccounts"),
        Kind::ConfigMap => (&["v1"], "configmaps"),
        Kind::Secret => (&["v1"], "secrets"),
        Kind::Service => (&["v1"], "services"),
        Kind::Pod => (&["v1"], "pods"),
        Kind::EndpointSlice => (&["v1"], "endpointslices"),
        Kind::Deployment => (&["v1"], "deployments"),
        Kind::StatefulSet => (&["v1"], "statefulsets"),
        Kind::DaemonSet => (&["v1"], "daemonsets"),
        Kind::ReplicaSet => (&["v1"], "replicasets"),
        Kind::Job => (&["v1"], "jobs"),
        Kind::ServiceProfile => (&["v1alpha2", "v1alpha1"], "serviceprofiles"),
        Kind::Server => (&["v1beta3", "v1beta2", "v1beta1", "v1alpha1"], "servers"),
        Kind::ServerAuthorization => (&["v1beta1", "v1alpha1"], "serverauthorizations"),
        Kind::AuthorizationPolicy => (&["v1alpha1"], "authorizationpolicies"),
        Kind::MeshTLSAuthentication => (&["v1alpha1"], "meshtlsauthentications"),
        Kind::NetworkAuthentication => (&["v1alpha1"], "networkauthentications"),
        Kind::HTTPLocalRateLimitPolicy => (&["v1alpha1"], "httplocalratelimitpolicies"),
        Kind::EgressNetwork => (&["v1alpha1"], "egressnetworks"),
        Kind::PolicyHTTPRoute => (&["v1beta3", "v1beta2", "v1beta1", "v1alpha1"], "httproutes"),
        Kind::HTTPRoute => (&["v1", "v1beta1", "v1alpha2"], "httproutes"),
        Kind::GRPCRoute => (&["v1", "v1alpha2"], "grpcroutes"),
        Kind::TLSRoute => (&["v1", "v1alpha3", "v1alpha2"], "tlsroutes"),
        Kind::TCPRoute => (&["v1", "v1alpha2"], "tcproutes"),
        Kind::ExternalWorkload => (&["v1beta1", "v1alpha1"], "externalworkloads"),
        _ => return None,
    };
    Some(Place { group: kind.group(), versions, plural, is_namespaced: kind.is_namespaced() })
}

impl Place {
    /// `group/version`, as objects write it.
    pub(crate) fn api_version(&self, version: &str) -> String {
        match self.group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    /// As a resource of one of its versions.
    pub(crate) fn at(&self, version: &str) -> Resource {
        Resource { api_version: self.api_version(version).into(), plural: self.plural.into(), is_namespaced: self.is_namespaced }
    }

    /// The path of all objects, or of those of a namespace.
    pub(crate) fn path(&self, version: &str, namespace: &str) -> String {
        self.at(version).path(namespace)
    }

    /// The path of one object.
    pub(crate) fn object_path(&self, version: &str, namespace: &str, name: &str) -> String {
        self.at(version).object_path(namespace, name)
    }
}

impl Resource {
    /// Events.
    pub const EVENTS: Self = Self::fixed("v1", "events", true);
    /// Leases.
    pub const LEASES: Self = Self::fixed("coordination.k8s.io/v1", "leases", true);
    /// CustomResourceDefinitions.
    pub const CRDS: Self = Self::fixed("apiextensions.k8s.io/v1", "customresourcedefinitions", false);

    const fn fixed(api_version: &'static str, plural: &'static str, is_namespaced: bool) -> Self {
        Self { api_version: Cow::Borrowed(api_version), plural: Cow::Borrowed(plural), is_namespaced }
    }

    /// A resource of a namespace, or of the whole cluster: `apps/v1`, `deployments`.
    #[must_use]
    pub fn namespaced(api_version: &str, plural: &str) -> Self {
        Self { api_version: api_version.to_owned().into(), plural: plural.to_owned().into(), is_namespaced: true }
    }

    /// A resource of the whole cluster: `v1`, `nodes`.
    #[must_use]
    pub fn of_cluster(api_version: &str, plural: &str) -> Self {
        Self { is_namespaced: false, ..Self::namespaced(api_version, plural) }
    }

    /// `group/version`, as objects write it.
    #[must_use]
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// Its name in paths.
    #[must_use]
    pub fn plural(&self) -> &str {
        &self.plural
    }

    /// The path of all objects, or of those of a namespace.
    pub(crate) fn path(&self, namespace: &str) -> String {
        let root = if self.api_version.contains('/') { "/apis" } else { "/api" };
        let mut path = format!("{root}/{}", self.api_version);
        if self.is_namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            escape(&mut path, namespace);
        }
        path.push('/');
        path.push_str(&self.plural);
        path
    }

    /// The path of one object.
    pub(crate) fn object_path(&self, namespace: &str, name: &str) -> String {
        let mut path = self.path(namespace);
        path.push('/');
        escape(&mut path, name);
        path
    }
}

impl From<Kind> for Resource {
    /// In the best version that the mesh can read. Not every server has it: [`Client::resource`](crate::Client::resource) asks.
    fn from(kind: Kind) -> Self {
        match place(kind) {
            Some(place) => place.at(place.versions[0]),
            None => Self::namespaced(kind.group(), &kind.as_str().to_lowercase()),
        }
    }
}

/// Appends a parameter of a query.
pub(crate) fn query(path: &mut String, key: &str, value: &str) {
    path.push(if path.contains('?') { '&' } else { '?' });
    path.push_str(key);
    path.push('=');
    escape(path, value);
}

/// Percent-encodes all but the unreserved characters of RFC 3986, section 2.3. A segment that would be read as a step (`.`, `..`) is no name of
/// Kubernetes; it is left to the server to refuse.
fn escape(into: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => into.push(byte.into()),
            // Writing to a string cannot fail.
            _ => drop(write!(into, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_manifests_has_a_place_and_every_version_can_be_read() {
        for kind in Kind::ALL {
            let place = place(*kind).unwrap_or_else(|| panic!("{kind:?} has no place"));
            assert!(!place.versions.is_empty(), "{kind:?}");
            for version in place.versions {
                assert_eq!(Kind::of(&place.api_version(version), kind.as_str()), Some(*kind), "{kind:?} {version}");
            }
        }
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let pods = place(Kind::Pod).unwrap();
        assert_eq!(pods.path("v1", ""), "/api/v1/pods");
        assert_eq!(pods.object_path("v1", "emojivoto", "web-0"), "/api/v1/namespaces/emojivoto/pods/web-0");
        let routes = place(Kind::PolicyHTTPRoute).unwrap();
        assert_eq!(routes.path("v1beta3", "a"), "/apis/policy.linkerd.io/v1beta3/namespaces/a/httproutes");
        let nodes = place(Kind::Node).unwrap();
        assert_eq!(nodes.object_path("v1", "ignored", "n1"), "/api/v1/nodes/n1");
    }

    #[test]
    fn names_cannot_leave_their_place() {
        let pods = place(Kind::Pod).unwrap();
        assert_eq!(pods.object_path("v1", "a/b", "c?d#e"), "/api/v1/namespaces/a%2Fb/pods/c%3Fd%23e");
        let mut path = pods.path("v1", "");
        query(&mut path, "labelSelector", "app in (a,b)");
        query(&mut path, "limit", "5");
        assert_eq!(path, "/api/v1/pods?labelSelector=app%20in%20%28a%2Cb%29&limit=5");
    }
}

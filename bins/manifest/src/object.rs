//! Any object that the mesh reads.

use std::{fmt, sync::Arc};

use crate::{
    core::{ConfigMap, EndpointSlice, Plain, Pod, Secret, Service, Workload},
    external::ExternalWorkload,
    meta::Metadata,
    policy::{AuthorizationPolicy, MeshTLSAuthentication, NetworkAuthentication, Server, ServerAuthorization},
    profile::ServiceProfile,
    read::{Wrong, read},
    route::{GRPCRoute, HTTPRoute, TCPRoute, TLSRoute},
    traffic::{EgressNetwork, HTTPLocalRateLimitPolicy},
    tree::Tree,
};

/// What an object is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for objects of the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A value of an object that is not what its type wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidObject(Wrong);

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident($type:ty) = $group:literal $versions:tt, $text:literal;)*) => {
        /// The kinds that the mesh reads.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        /// An object.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Object { $($(#[$doc])* $kind(Arc<$type>),)* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The kind of a manifest's `apiVersion` and `kind`; `None` if the mesh does not read it.
            #[must_use]
            pub fn of(api_version: &str, kind: &str) -> Option<Self> {
                let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
                $(if kind == $text && group == $group && $versions.contains(&version) { return Some(Self::$kind); })*
                None
            }

            /// The kind as manifests write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $text,)* }
            }

            /// The group as manifests write it; empty for the core group.
            #[must_use]
            pub const fn group(self) -> &'static str {
                match self { $(Self::$kind => $group,)* }
            }

            /// The object, and the paths and lines of fields that its type does not know.
            pub(crate) fn read(self, tree: &Tree) -> Result<(Object, Vec<(String, usize)>), Wrong> {
                match self { $(Self::$kind => read(tree).map(|(object, unknown)| (Object::$kind(Arc::new(object)), unknown)),)* }
            }
        }

        impl Object {
            /// Its kind.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)* }
            }

            /// Its name, labels and annotations.
            #[must_use]
            pub fn metadata(&self) -> &Metadata {
                match self { $(Self::$kind(object) => &object.metadata,)* }
            }

            pub(crate) fn metadata_mut(&mut self) -> &mut Metadata {
                match self { $(Self::$kind(object) => &mut Arc::make_mut(object).metadata,)* }
            }

            /// The object as a manifest.
            ///
            /// # Errors
            /// Never for the types of this crate, whose keys are all text.
            pub fn to_json(&self) -> Result<serde_json::Value, serde_json::Error> {
                let (api_version, mut value) = match self {
                    $(Self::$kind(object) => ((if $group.is_empty() { $versions[0].to_owned() } else { format!("{}/{}", $group, $versions[0]) }), serde_json::to_value(object)?),)*
                };
                prune(&mut value);
                if let Some(fields) = value.as_object_mut() {
                    fields.insert("apiVersion".to_owned(), api_version.into());
                    fields.insert("kind".to_owned(), self.kind().as_str().into());
                }
                Ok(value)
            }
        }
    };
}

kinds! {
    /// A namespace.
    Namespace(Plain) = "" ["v1"], "Namespace";
    /// A node.
    Node(Plain) = "" ["v1"], "Node";
    /// A service account.
    ServiceAccount(Plain) = "" ["v1"], "ServiceAccount";
    /// Settings.
    ConfigMap(ConfigMap) = "" ["v1"], "ConfigMap";
    /// Secret settings.
    Secret(Secret) = "" ["v1"], "Secret";
    /// A Service.
    Service(Service) = "" ["v1"], "Service";
    /// A Pod.
    Pod(Pod) = "" ["v1"], "Pod";
    /// Endpoints of a Service.
    EndpointSlice(EndpointSlice) = "discovery.k8s.io" ["v1"], "EndpointSlice";
    /// A Deployment.
    Deployment(Workload) = "apps" ["v1"], "Deployment";
    /// A StatefulSet.
    StatefulSet(Workload) = "apps" ["v1"], "StatefulSet";
    /// A DaemonSet.
    DaemonSet(Workload) = "apps" ["v1"], "DaemonSet";
    /// A ReplicaSet.
    ReplicaSet(Workload) = "apps" ["v1"], "ReplicaSet";
    /// A Job.
    Job(Workload) = "batch" ["v1"], "Job";
    /// A ServiceProfile.
    ServiceProfile(ServiceProfile) = "linkerd.io" ["v1alpha2", "v1alpha1"], "ServiceProfile";
    /// A Server.
    Server(Server) = "policy.linkerd.io" ["v1beta3", "v1beta2", "v1beta1", "v1alpha1"], "Server";
    /// A ServerAuthorization.
    ServerAuthorization(ServerAuthorization) = "policy.linkerd.io" ["v1beta1", "v1alpha1"], "ServerAuthorization";
    /// An AuthorizationPolicy.
    AuthorizationPolicy(AuthorizationPolicy) = "policy.linkerd.io" ["v1alpha1"], "AuthorizationPolicy";
    /// A MeshTLSAuthentication.
    MeshTLSAuthentication(MeshTLSAuthentication) = "policy.linkerd.io" ["v1alpha1"], "MeshTLSAuthentication";
    /// A NetworkAuthentication.
    NetworkAuthentication(NetworkAuthentication) = "policy.linkerd.io" ["v1alpha1"], "NetworkAuthentication";
    /// A limit of requests.
    HTTPLocalRateLimitPolicy(HTTPLocalRateLimitPolicy) = "policy.linkerd.io" ["v1alpha1"], "HTTPLocalRateLimitPolicy";
    /// Networks outside the cluster.
    EgressNetwork(EgressNetwork) = "policy.linkerd.io" ["v1alpha1"], "EgressNetwork";
    /// An HTTPRoute of the mesh's own group, from before the Gateway API had one.
    PolicyHTTPRoute(HTTPRoute) = "policy.linkerd.io" ["v1beta3", "v1beta2", "v1beta1", "v1alpha1"], "HTTPRoute";
    /// An HTTPRoute of the Gateway API.
    HTTPRoute(HTTPRoute) = "gateway.networking.k8s.io" ["v1", "v1beta1", "v1alpha2"], "HTTPRoute";
    /// A GRPCRoute.
    GRPCRoute(GRPCRoute) = "gateway.networking.k8s.io" ["v1", "v1alpha2"], "GRPCRoute";
    /// A TLSRoute.
    TLSRoute(TLSRoute) = "gateway.networking.k8s.io" ["v1alpha2", "v1alpha3", "v1"], "TLSRoute";
    /// A TCPRoute.
    TCPRoute(TCPRoute) = "gateway.networking.k8s.io" ["v1alpha2", "v1"], "TCPRoute";
    /// A workload outside the cluster.
    ExternalWorkload(ExternalWorkload) = "workload.linkerd.io" ["v1beta1", "v1alpha1"], "ExternalWorkload";
}

impl Kind {
    /// Do objects of the kind stand in a namespace?
    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespace | Self::Node)
    }

    /// Does the oldest of several objects win? It is so for policies and routes.
    pub(crate) fn is_ranked(self) -> bool {
        self.is_strict() || self.group() == "gateway.networking.k8s.io"
    }

    /// Is a field that nobody knows a fault? It is where the mesh owns the kind: a misspelt field of a policy must not be passed over.
    pub(crate) fn is_strict(self) -> bool {
        self.group().ends_with("linkerd.io")
    }
}

impl Object {
    /// The object of a manifest, as the API server tells of it. Fields that its type does not know are passed over: a later version may have
    /// added them. `None` if the mesh does not read the kind.
    ///
    /// # Errors
    /// What is wrong, with the path of its field.
    pub fn from_json(value: serde_json::Value) -> Result<Option<Self>, InvalidObject> {
        let tree = Tree::from(value);
        let Some(kind) = Kind::of(tree.text("apiVersion"), tree.text("kind")) else { return Ok(None) };
        kind.read(&tree).map(|(object, _)| Some(object)).map_err(InvalidObject)
    }

    /// What it is called.
    #[must_use]
    pub fn key(&self) -> Key {
        let metadata = self.metadata();
        Key { kind: self.kind(), namespace: metadata.namespace.clone(), name: metadata.name.clone() }
    }
}

/// Takes away fields without value: they are the same as absent ones.
fn prune(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(prune);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

impl fmt::Display for InvalidObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for InvalidObject {}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind.as_str(), self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind.as_str(), self.name),
        }
    }
}

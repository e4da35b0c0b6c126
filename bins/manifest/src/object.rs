//! Any object that the mesh reads.

use std::{fmt, sync::Arc};

use crate::{
    core::{EndpointSlice, Plain, Pod, Service, Workload},
    meta::Metadata,
    policy::{AuthorizationPolicy, MeshTLSAuthentication, NetworkAuthentication, Server, ServerAuthorization},
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

            pub(crate) fn read(self, value: serde_json::Value) -> Result<Object, serde_json::Error> {
                match self { $(Self::$kind => serde_json::from_value(value).map(|object| Object::$kind(Arc::new(object))),)* }
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
    /// A service account.
    ServiceAccount(Plain) = "" ["v1"], "ServiceAccount";
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
    /// A Job.
    Job(Workload) = "batch" ["v1"], "Job";
    /// A Server.
    Server(Server) = "policy.linkerd.io" ["v1beta3", "v1beta2", "v1beta1"], "Server";
    /// A ServerAuthorization.
    ServerAuthorization(ServerAuthorization) = "policy.linkerd.io" ["v1beta1"], "ServerAuthorization";
    /// An AuthorizationPolicy.
    AuthorizationPolicy(AuthorizationPolicy) = "policy.linkerd.io" ["v1alpha1"], "AuthorizationPolicy";
    /// A MeshTLSAuthentication.
    MeshTLSAuthentication(MeshTLSAuthentication) = "policy.linkerd.io" ["v1alpha1"], "MeshTLSAuthentication";
    /// A NetworkAuthentication.
    NetworkAuthentication(NetworkAuthentication) = "policy.linkerd.io" ["v1alpha1"], "NetworkAuthentication";
}

impl Kind {
    /// Do objects of the kind stand in a namespace?
    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespace)
    }
}

impl Object {
    /// What it is called.
    #[must_use]
    pub fn key(&self) -> Key {
        let metadata = self.metadata();
        Key { kind: self.kind(), namespace: metadata.namespace.clone(), name: metadata.name.clone() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind.as_str(), self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind.as_str(), self.name),
        }
    }
}

//! From the API server's JSON to the small types of `meshkit-manifest`.

use meshkit_manifest::{
    Kind, Object,
    core::{Container, Pod, PodSpec, Workload},
    meta::Metadata,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Failure;

/// Holds a whole copy of the object as it was applied, for `kubectl` alone.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The container whose environment controllers read.
const PROXY: &str = "linkerd-proxy";

/// Reads one object, without the fields that no controller asks for. What is wrong is said with the path of its field.
///
/// The text goes straight to the type. Only where that fails is a tree made of it: the tree takes null for a missing field, as Kubernetes does
/// (an EndpointSlice may have `"endpoints":null`), and knows where a fault is.
pub(crate) fn object(kind: Kind, api_version: &str, json: &[u8]) -> Result<Object, String> {
    macro_rules! direct {
        ($($kind:ident)*) => {
            match kind {
                $(Kind::$kind => serde_json::from_slice(json).map(|mut object| {
                    Strip::strip(&mut object);
                    Object::$kind(std::sync::Arc::new(object))
                }).ok(),)*
                _ => None,
            }
        };
    }
    let object = direct!(
        Namespace Node ServiceAccount ConfigMap Secret Service Pod EndpointSlice Deployment StatefulSet DaemonSet ReplicaSet Job ServiceProfile Server
        ServerAuthorization AuthorizationPolicy MeshTLSAuthentication NetworkAuthentication HTTPLocalRateLimitPolicy EgressNetwork PolicyHTTPRoute
        HTTPRoute GRPCRoute TLSRoute TCPRoute ExternalWorkload
    );
    let object = match object {
        Some(object) => object,
        None => stripped(by_tree(kind, api_version, json)?),
    };
    let (metadata, is_namespaced) = (object.metadata(), kind.is_namespaced());
    if metadata.name.is_empty() {
        return Err("metadata.name: missing".to_owned());
    }
    if is_namespaced && metadata.namespace.is_empty() {
        return Err("metadata.namespace: missing".to_owned());
    }
    Ok(object)
}

/// Reads an answer of another form.
pub(crate) fn value<T: DeserializeOwned>(json: &[u8], what: &'static str) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|error| Failure::Malformed(what, error))
}

fn by_tree(kind: Kind, api_version: &str, json: &[u8]) -> Result<Object, String> {
    let mut tree: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let Some(fields) = tree.as_object_mut() else { return Err("not an object".to_owned()) };
    // Items of a list do not say what they are; metadata say that they are metadata.
    fields.insert("apiVersion".to_owned(), api_version.into());
    fields.insert("kind".to_owned(), kind.as_str().into());
    match Object::from_json(tree) {
        Ok(Some(object)) if object.kind() == kind => Ok(object),
        Ok(_) => Err(format!("{api_version} is no version that can be read")),
        Err(error) => Err(error.to_string()),
    }
}

fn stripped(object: Object) -> Object {
    match object {
        Object::Pod(mut pod) => {
            Strip::strip(std::sync::Arc::make_mut(&mut pod));
            Object::Pod(pod)
        }
        other => other,
    }
}

/// Takes away what no controller asks for.
trait Strip {
    fn strip(&mut self);
}

impl Strip for Pod {
    fn strip(&mut self) {
        self.metadata.strip();
        self.spec.strip();
    }
}

impl Strip for Workload {
    fn strip(&mut self) {
        self.metadata.strip();
        self.spec.template.metadata.strip();
        self.spec.template.spec.strip();
    }
}

impl Strip for PodSpec {
    fn strip(&mut self) {
        self.init_containers.iter_mut().chain(&mut self.containers).for_each(Strip::strip);
    }
}

impl Strip for Container {
    fn strip(&mut self) {
        if self.name != PROXY {
            (self.command, self.args, self.env) = (Vec::new(), Vec::new(), Vec::new());
        }
    }
}

impl Strip for Metadata {
    fn strip(&mut self) {
        self.annotations.remove(LAST_APPLIED);
    }
}

macro_rules! metadata_only {
    ($($type:ty)*) => {
        $(impl Strip for $type {
            fn strip(&mut self) {
                self.metadata.strip();
            }
        })*
    };
}

metadata_only!(
    meshkit_manifest::core::Plain
    meshkit_manifest::core::ConfigMap
    meshkit_manifest::core::Secret
    meshkit_manifest::core::Service
    meshkit_manifest::core::EndpointSlice
    meshkit_manifest::profile::ServiceProfile
    meshkit_manifest::policy::Server
    meshkit_manifest::policy::ServerAuthorization
    meshkit_manifest::policy::AuthorizationPolicy
    meshkit_manifest::policy::MeshTLSAuthentication
    meshkit_manifest::policy::NetworkAuthentication
    meshkit_manifest::traffic::HTTPLocalRateLimitPolicy
    meshkit_manifest::traffic::EgressNetwork
    meshkit_manifest::route::HTTPRoute
    meshkit_manifest::route::GRPCRoute
    meshkit_manifest::route::TLSRoute
    meshkit_manifest::route::TCPRoute
    meshkit_manifest::external::ExternalWorkload
);

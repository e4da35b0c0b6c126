use std::sync::Arc;

use meshkit_manifest::{
    Key, Kind, Object,
    meta::Metadata,
    route::{BackendRef, GRPCRoute, HTTPRoute, ParentRef, RouteStatus, TCPRoute, TLSRoute},
};
use meshkit_policy::{Meta, Resource};

use super::{Parent, ParentKind};

/// A route of any kind.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_enums)] // The five kinds of route that the mesh reads.
pub enum Route {
    /// Of the mesh's own group.
    PolicyHttp(Arc<HTTPRoute>),
    /// Of the Gateway API.
    Http(Arc<HTTPRoute>),
    /// Of gRPC.
    Grpc(Arc<GRPCRoute>),
    /// Of TLS.
    Tls(Arc<TLSRoute>),
    /// Of any bytes.
    Tcp(Arc<TCPRoute>),
}

/// Evaluates an expression for whichever kind of route.
macro_rules! each {
    ($route:expr, $it:ident => $what:expr) => {
        match $route {
            Route::PolicyHttp($it) | Route::Http($it) => $what,
            Route::Grpc($it) => $what,
            Route::Tls($it) => $what,
            Route::Tcp($it) => $what,
        }
    };
}

impl Route {
    /// The object as a route, if it is one.
    #[must_use]
    pub fn of(object: &Object) -> Option<Self> {
        Some(match object {
            Object::PolicyHTTPRoute(route) => Self::PolicyHttp(Arc::clone(route)),
            Object::HTTPRoute(route) => Self::Http(Arc::clone(route)),
            Object::GRPCRoute(route) => Self::Grpc(Arc::clone(route)),
            Object::TLSRoute(route) => Self::Tls(Arc::clone(route)),
            Object::TCPRoute(route) => Self::Tcp(Arc::clone(route)),
            _ => return None,
        })
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::PolicyHttp(_) => Kind::PolicyHTTPRoute,
            Self::Http(_) => Kind::HTTPRoute,
            Self::Grpc(_) => Kind::GRPCRoute,
            Self::Tls(_) => Kind::TLSRoute,
            Self::Tcp(_) => Kind::TCPRoute,
        }
    }

    /// What it is called.
    #[must_use]
    pub fn key(&self) -> Key {
        let metadata = self.metadata();
        Key { kind: self.kind(), namespace: metadata.namespace.clone(), name: metadata.name.clone() }
    }

    /// Its name, labels and annotations.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        each!(self, it => &it.metadata)
    }

    /// What it is attached to.
    #[must_use]
    pub fn parents(&self) -> &[ParentRef] {
        each!(self, it => &it.spec.parent_refs)
    }

    /// Who took it, as its status says.
    #[must_use]
    pub fn status(&self) -> &RouteStatus {
        each!(self, it => &it.status)
    }

    /// Every backend of every rule.
    pub fn backends(&self) -> impl Iterator<Item = &BackendRef> {
        let all: Vec<&[BackendRef]> = each!(self, it => it.spec.rules.iter().map(|rule| &*rule.backend_refs).collect());
        all.into_iter().flatten()
    }

    /// Of routes at one parent, those of the lowest number count, and the others are in conflict with them.
    #[must_use]
    pub const fn precedence(&self) -> u8 {
        match self {
            Self::Grpc(_) => 0,
            Self::PolicyHttp(_) | Self::Http(_) => 1,
            Self::Tls(_) => 2,
            Self::Tcp(_) => 3,
        }
    }

    /// The parent of a reference of this route; `None` if it is of a kind that is somebody else's.
    #[must_use]
    pub fn parent(&self, reference: &ParentRef) -> Option<Parent> {
        let kind = if reference.is("core", "Service") {
            ParentKind::Service
        } else if reference.is(super::GROUP, "EgressNetwork") {
            ParentKind::EgressNetwork
        } else if reference.is(super::GROUP, "Server") {
            ParentKind::Server
        } else {
            return None;
        };
        let namespace = reference.namespace.as_ref().unwrap_or(&self.metadata().namespace).clone();
        Some(Parent { kind, namespace, name: reference.name.clone() })
    }

    /// Why its references to Servers cannot be used, if there is a reason. Then the whole route is nothing to any Server.
    #[must_use]
    pub fn inbound_fault(&self) -> Option<&'static str> {
        let servers = self.parents().iter().filter(|reference| reference.is(super::GROUP, "Server"));
        servers.into_iter().find_map(|reference| match reference {
            _ if matches!(self, Self::Tls(_) | Self::Tcp(_)) => Some("a Server has HTTP and gRPC routes only"),
            r if r.namespace.as_ref().is_some_and(|namespace| *namespace != self.metadata().namespace) => {
                Some("a Server of another namespace cannot be a parent")
            }
            r if r.port.is_some() => Some("a Server as a parent has no port"),
            r if r.section_name.is_some() => Some("a Server as a parent has no section"),
            _ => None,
        })
    }

    /// The route as policies name it.
    #[must_use]
    pub fn meta(&self) -> Meta {
        Meta::Resource(Arc::new(self.resource()))
    }

    /// The route as policies name it.
    #[must_use]
    pub fn resource(&self) -> Resource {
        let metadata = self.metadata();
        Resource {
            group: self.kind().group().to_owned(),
            kind: self.kind().as_str().to_owned(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            ..Resource::default()
        }
    }
}

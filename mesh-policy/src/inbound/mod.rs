//! What a server port allows.

use std::{fmt, sync::Arc, time::Duration};

use ::http::request::Parts;
use ipnet::IpNet;
use meshkit_core::{Cause, Error, Identity};

use crate::{
    Meta,
    authorization::{Authentication, Authorization, Client, Mismatch, Suffix},
    grpc, http,
    net::Network,
    rate_limit::RateLimit,
    route::{self, Route, Rule},
};

/// The policy of one port.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What the port speaks.
    pub protocol: Protocol,
    /// The server.
    pub server: Meta,
    /// Who may call, on every route.
    pub authorizations: Arc<[Authorization]>,
}

/// What a port speaks.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums)] // The six of the API.
pub enum Protocol {
    /// It is found out.
    Detect {
        /// How long that may take; then the bytes are not looked at.
        timeout: Duration,
        /// Routes, where it is HTTP.
        routes: Arc<[HttpRoute]>,
        /// Limit, where it is HTTP.
        rate_limit: Option<Arc<RateLimit>>,
    },
    /// HTTP/1.
    Http1 {
        /// Routes.
        routes: Arc<[HttpRoute]>,
        /// Limit.
        rate_limit: Option<Arc<RateLimit>>,
    },
    /// HTTP/2.
    Http2 {
        /// Routes.
        routes: Arc<[HttpRoute]>,
        /// Limit.
        rate_limit: Option<Arc<RateLimit>>,
    },
    /// gRPC.
    Grpc {
        /// Routes.
        routes: Arc<[GrpcRoute]>,
    },
    /// Bytes that are not looked at.
    Opaque,
    /// TLS that ends in the application.
    Tls,
}

/// A route of HTTP requests.
pub type HttpRoute = Route<http::Match, RoutePolicy<http::Filter>>;
/// A route of gRPC calls.
pub type GrpcRoute = Route<grpc::Match, RoutePolicy<grpc::Filter>>;

/// What becomes of the requests of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutePolicy<F> {
    /// Who may call on this route, before those who may on every route.
    pub authorizations: Arc<[Authorization]>,
    /// What happens to the requests.
    pub filters: Arc<[F]>,
}

/// Who may call where no object says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // The six of the annotation.
pub enum DefaultPolicy {
    /// Nobody.
    Deny,
    /// Everybody, and it is logged.
    Audit,
    /// Everybody with an identity.
    AllAuthenticated,
    /// Everybody.
    AllUnauthenticated,
    /// Everybody in the cluster with an identity.
    ClusterAuthenticated,
    /// Everybody in the cluster.
    ClusterUnauthenticated,
}

/// A request that may pass: the rule that says so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Permit {
    /// The route.
    pub route: Meta,
    /// The authorization.
    pub authorization: Meta,
}

/// A client that may not call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    server: Meta,
    route: Option<Meta>,
    client: Option<Identity>,
    nearest: Option<(Meta, Mismatch)>,
}

/// The rules of the routes, whichever kind they are.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_enums)] // One for each kind of route.
pub enum FoundRoute<'a> {
    /// An HTTP rule.
    Http(route::Found<'a, http::Match, RoutePolicy<http::Filter>>),
    /// A gRPC rule.
    Grpc(route::Found<'a, grpc::Match, RoutePolicy<grpc::Filter>>),
}

impl<'a> FoundRoute<'a> {
    /// The route.
    #[must_use]
    pub const fn meta(&self) -> &'a Meta {
        match self {
            Self::Http(found) => &found.route.meta,
            Self::Grpc(found) => &found.route.meta,
        }
    }

    fn authorizations(&self) -> &'a [Authorization] {
        match self {
            Self::Http(found) => &found.rule.policy.authorizations,
            Self::Grpc(found) => &found.rule.policy.authorizations,
        }
    }
}

impl Policy {
    /// May the client open a connection whose bytes are not looked at? Servers of HTTP and gRPC never allow that.
    ///
    /// # Errors
    /// It may not.
    pub fn authorize_tcp(&self, client: &Client) -> Result<&Meta, Denied> {
        match self.protocol {
            Protocol::Http1 { .. } | Protocol::Http2 { .. } | Protocol::Grpc { .. } => Err(self.denied(client, None, None)),
            Protocol::Detect { .. } | Protocol::Opaque | Protocol::Tls => self.authorize(client, &[], None),
        }
    }

    /// The rule that a request takes.
    #[must_use]
    pub fn route(&self, request: &Parts) -> Option<FoundRoute<'_>> {
        match &self.protocol {
            Protocol::Detect { routes, .. } | Protocol::Http1 { routes, .. } | Protocol::Http2 { routes, .. } => {
                route::find(routes, request).map(FoundRoute::Http)
            }
            Protocol::Grpc { routes } => route::find(routes, request).map(FoundRoute::Grpc),
            Protocol::Opaque | Protocol::Tls => None,
        }
    }

    /// May the client send a request on this route? Its own authorizations are asked first, then the server's.
    ///
    /// # Errors
    /// It may not.
    pub fn authorize_request<'a>(&'a self, client: &Client, found: &FoundRoute<'a>) -> Result<&'a Meta, Denied> {
        self.authorize(client, found.authorizations(), Some(found.meta()))
    }

    fn authorize<'a>(&'a self, client: &Client, own: &'a [Authorization], route: Option<&Meta>) -> Result<&'a Meta, Denied> {
        let mut nearest: Option<(&Meta, Mismatch)> = None;
        for authorization in own.iter().chain(self.authorizations.iter()) {
            match authorization.check(client) {
                Ok(()) => return Ok(&authorization.meta),
                // The first of the nearest ones: the order is the order of preference.
                Err(mismatch) if nearest.is_none_or(|(_, known)| mismatch > known) => nearest = Some((&authorization.meta, mismatch)),
                Err(_) => {}
            }
        }
        Err(self.denied(client, route, nearest))
    }

    fn denied(&self, client: &Client, route: Option<&Meta>, nearest: Option<(&Meta, Mismatch)>) -> Denied {
        Denied {
            server: self.server.clone(),
            route: route.cloned(),
            client: client.tls.client_id().cloned(),
            nearest: nearest.map(|(meta, mismatch)| (meta.clone(), mismatch)),
        }
    }

    /// The limit on the port's requests.
    #[must_use]
    pub fn rate_limit(&self) -> Option<&Arc<RateLimit>> {
        match &self.protocol {
            Protocol::Detect { rate_limit, .. } | Protocol::Http1 { rate_limit, .. } | Protocol::Http2 { rate_limit, .. } => {
                rate_limit.as_ref()
            }
            Protocol::Grpc { .. } | Protocol::Opaque | Protocol::Tls => None,
        }
    }
}

impl DefaultPolicy {
    /// The policy of a port about which no object says anything.
    #[must_use]
    pub fn policy(self, cluster: &[IpNet], detect_timeout: Duration) -> Policy {
        let server = Meta::builtin(self.name());
        let any_identity = || Authentication::TlsAuthenticated { identities: [].into(), suffixes: vec![Suffix::of_labels::<&str>(&[])] };
        let in_cluster = || cluster.iter().copied().map(Network::from).collect();
        let (networks, authentication) = match self {
            Self::Deny => {
                return Policy { protocol: Protocol::Opaque, server, authorizations: [].into() };
            }
            Self::Audit | Self::AllUnauthenticated => (Network::all(), Authentication::Unauthenticated),
            Self::AllAuthenticated => (Network::all(), any_identity()),
            Self::ClusterUnauthenticated => (in_cluster(), Authentication::Unauthenticated),
            Self::ClusterAuthenticated => (in_cluster(), any_identity()),
        };
        let authorizations: Arc<[_]> = [Authorization { networks, authentication, meta: server.clone() }].into();
        Policy { protocol: Protocol::detect(detect_timeout, Arc::clone(&authorizations)), server, authorizations }
    }

    /// Its name in annotations, settings and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Audit => "audit",
            Self::AllAuthenticated => "all-authenticated",
            Self::AllUnauthenticated => "all-unauthenticated",
            Self::ClusterAuthenticated => "cluster-authenticated",
            Self::ClusterUnauthenticated => "cluster-unauthenticated",
        }
    }
}

impl Protocol {
    /// Detection, with one route named `default` for everything.
    #[must_use]
    pub fn detect(timeout: Duration, authorizations: Arc<[Authorization]>) -> Self {
        Self::Detect { timeout, routes: [default_route(authorizations)].into(), rate_limit: None }
    }
}

/// The route `default`: every request, no filter.
#[must_use]
pub fn default_route<M, F>(authorizations: Arc<[Authorization]>) -> Route<M, RoutePolicy<F>> {
    let policy = RoutePolicy { authorizations, filters: [].into() };
    Route { meta: Meta::builtin("default"), hosts: Vec::new(), rules: vec![Rule { matches: Vec::new(), policy }] }
}

impl Denied {
    /// As an error on the request path.
    #[must_use]
    pub fn into_error(self) -> Error {
        Error::new(Cause::Denied).caused_by(self)
    }

    /// Did the client fail to prove any identity?
    #[must_use]
    pub const fn is_unauthenticated(&self) -> bool {
        self.client.is_none()
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.client {
            Some(id) => write!(f, "client {id} is not authorized by {}", self.server)?,
            None => write!(f, "a client without an identity is not authorized by {}", self.server)?,
        }
        if let Some(route) = &self.route {
            write!(f, " on {route}")?;
        }
        match &self.nearest {
            Some((meta, mismatch)) => write!(f, "; nearest is {meta}: {mismatch}"),
            None => f.write_str("; it has no authorization"),
        }
    }
}

impl std::error::Error for Denied {}

/// The text is not the name of a default policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDefaultPolicy(String);

impl std::str::FromStr for DefaultPolicy {
    type Err = InvalidDefaultPolicy;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let all = [
            Self::Deny,
            Self::Audit,
            Self::AllAuthenticated,
            Self::AllUnauthenticated,
            Self::ClusterAuthenticated,
            Self::ClusterUnauthenticated,
        ];
        all.into_iter().find(|policy| policy.name() == name).ok_or_else(|| InvalidDefaultPolicy(name.to_owned()))
    }
}

impl fmt::Display for InvalidDefaultPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a default policy: expected deny, audit, all-authenticated, all-unauthenticated, cluster-authenticated or \
             cluster-unauthenticated",
            self.0
        )
    }
}

impl std::error::Error for InvalidDefaultPolicy {}

#[cfg(test)]
mod tests;

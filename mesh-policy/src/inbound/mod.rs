//! What a server port allows.

mod default;
mod denied;

use std::{sync::Arc, time::Duration};

use ::http::request::Parts;

pub use default::{DefaultPolicy, InvalidDefaultPolicy};
pub use denied::Denied;

use self::denied::Why;
use crate::{
    Meta,
    authorization::{Authorization, Client, Mismatch},
    grpc, http,
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

/// A request that may pass, and what says so. A [`Policy`](crate::Policy) service leaves it in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Permit {
    /// The server.
    pub server: Meta,
    /// The route.
    pub route: Meta,
    /// The authorization.
    pub authorization: Meta,
}

impl Permit {
    /// Is the client admitted only to be seen? Such requests are logged.
    #[must_use]
    pub fn is_audited(&self) -> bool {
        matches!(&self.authorization, Meta::Default(name) if **name == *DefaultPolicy::Audit.name())
    }
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
    /// What is in force where a policy could not be understood: requests fail with `message`, and no other bytes are admitted.
    #[must_use]
    pub fn invalid(message: impl Into<Arc<str>>, detect_timeout: Duration) -> Self {
        let (message, meta) = (message.into(), Meta::builtin("invalid"));
        let anyone = Authorization::new(meta.clone());
        let mut route: HttpRoute = default_route([anyone].into());
        for rule in &mut route.rules {
            rule.policy.filters = [http::Filter::InternalError(Arc::clone(&message))].into();
        }
        let protocol = Protocol::Detect { timeout: detect_timeout, routes: [route].into(), rate_limit: None };
        Self { protocol, server: meta, authorizations: [].into() }
    }

    /// May the client open a connection whose bytes are not looked at? Servers of HTTP and gRPC never allow that.
    ///
    /// # Errors
    /// It may not.
    pub fn authorize_tcp(&self, client: &Client) -> Result<&Meta, Denied> {
        match self.protocol {
            Protocol::Http1 { .. } | Protocol::Http2 { .. } | Protocol::Grpc { .. } => {
                Err(Denied::new(&self.server, None, client, Why::NotHttp))
            }
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
        let why = nearest.map_or(Why::NoAuthorization, |(meta, mismatch)| Why::Nearest(meta.clone(), mismatch));
        Err(Denied::new(&self.server, route, client, why))
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

#[cfg(test)]
mod tests;

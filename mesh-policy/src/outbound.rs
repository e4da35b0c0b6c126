//! Where traffic goes.
//!
//! What a rule does with it (backends, timeouts, retries) is the payload `R`, which this crate does not look into.

use std::{sync::Arc, time::Duration};

use crate::{Meta, grpc, http, route::Route, tls};

/// The policy of one destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy<H, G, O> {
    /// The destination.
    pub parent: Meta,
    /// What it speaks, and where that goes.
    pub protocol: Protocol<H, G, O>,
}

/// What a destination speaks. `H`, `G` and `O` are the payloads of HTTP, gRPC, and TLS or opaque rules.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums)] // The six of the API.
pub enum Protocol<H, G, O> {
    /// It is found out.
    Detect {
        /// How long that may take.
        timeout: Duration,
        /// Routes of HTTP/1.
        http1: Arc<[Route<http::Match, H>]>,
        /// Routes of HTTP/2.
        http2: Arc<[Route<http::Match, H>]>,
        /// Where everything else goes.
        opaque: Option<OpaqueRoute<O>>,
    },
    /// HTTP/1.
    Http1(Arc<[Route<http::Match, H>]>),
    /// HTTP/2.
    Http2(Arc<[Route<http::Match, H>]>),
    /// gRPC.
    Grpc(Arc<[Route<grpc::Match, G>]>),
    /// TLS that ends in the application.
    Tls(Arc<[tls::Route<O>]>),
    /// Bytes that are not looked at.
    Opaque(Option<OpaqueRoute<O>>),
}

/// The one route of bytes that are not looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct OpaqueRoute<O> {
    /// The object that it comes from.
    pub meta: Meta,
    /// Where the bytes go.
    pub policy: O,
}

impl<H, G, O> Protocol<H, G, O> {
    /// The routes of HTTP/1, if the destination may speak it.
    ///
    /// A connection keeps to the protocol that it began with: where a new policy has no routes for it, it keeps its old ones.
    #[must_use]
    pub const fn http1(&self) -> Option<&Arc<[Route<http::Match, H>]>> {
        match self {
            Self::Detect { http1: routes, .. } | Self::Http1(routes) => Some(routes),
            Self::Http2(_) | Self::Grpc(_) | Self::Tls(_) | Self::Opaque(_) => None,
        }
    }

    /// The routes of HTTP/2, if the destination may speak it.
    #[must_use]
    pub const fn http2(&self) -> Option<&Arc<[Route<http::Match, H>]>> {
        match self {
            Self::Detect { http2: routes, .. } | Self::Http2(routes) => Some(routes),
            Self::Http1(_) | Self::Grpc(_) | Self::Tls(_) | Self::Opaque(_) => None,
        }
    }

    /// The routes of gRPC, if the destination speaks it.
    #[must_use]
    pub const fn grpc(&self) -> Option<&Arc<[Route<grpc::Match, G>]>> {
        match self {
            Self::Grpc(routes) => Some(routes),
            Self::Detect { .. } | Self::Http1(_) | Self::Http2(_) | Self::Tls(_) | Self::Opaque(_) => None,
        }
    }

    /// The routes of TLS that ends in the application, if the destination speaks it.
    #[must_use]
    pub const fn tls(&self) -> Option<&Arc<[tls::Route<O>]>> {
        match self {
            Self::Tls(routes) => Some(routes),
            Self::Detect { .. } | Self::Http1(_) | Self::Http2(_) | Self::Grpc(_) | Self::Opaque(_) => None,
        }
    }

    /// Where bytes go that are not looked at, if there is a route for them.
    #[must_use]
    pub const fn opaque(&self) -> Option<&OpaqueRoute<O>> {
        match self {
            Self::Detect { opaque, .. } | Self::Opaque(opaque) => opaque.as_ref(),
            Self::Http1(_) | Self::Http2(_) | Self::Grpc(_) | Self::Tls(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Words = Protocol<&'static str, &'static str, &'static str>;

    fn routes<M>(policy: &'static str) -> Arc<[Route<M, &'static str>]> {
        let rules = vec![crate::route::Rule { matches: Vec::new(), policy }];
        [Route { meta: Meta::builtin(policy), hosts: Vec::new(), rules }].into()
    }

    #[test]
    fn a_protocol_has_routes_for_what_the_destination_may_speak() {
        let opaque = || Some(OpaqueRoute { meta: Meta::builtin("opaque"), policy: "opaque" });
        let detect = Words::Detect { timeout: Duration::ZERO, http1: routes("http1"), http2: routes("http2"), opaque: opaque() };
        let names = |protocol: &Words| {
            [
                protocol.http1().map(|r| r[0].rules[0].policy),
                protocol.http2().map(|r| r[0].rules[0].policy),
                protocol.grpc().map(|r| r[0].rules[0].policy),
                protocol.tls().map(|r| r[0].policy),
                protocol.opaque().map(|r| r.policy),
            ]
        };
        assert_eq!(names(&detect), [Some("http1"), Some("http2"), None, None, Some("opaque")]);
        assert_eq!(names(&Words::Http1(routes("one"))), [Some("one"), None, None, None, None]);
        assert_eq!(names(&Words::Http2(routes("two"))), [None, Some("two"), None, None, None]);
        assert_eq!(names(&Words::Grpc(routes("grpc"))), [None, None, Some("grpc"), None, None]);
        let tls = tls::Route { meta: Meta::builtin("tls"), names: Vec::new(), policy: "tls" };
        assert_eq!(names(&Words::Tls([tls].into())), [None, None, None, Some("tls"), None]);
        assert_eq!(names(&Words::Opaque(opaque())), [None, None, None, None, Some("opaque")]);
    }
}

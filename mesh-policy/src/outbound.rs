//! Where traffic goes. What a rule does with it (backends, timeouts, retries) is the payload `R`, which this crate does not look into.

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

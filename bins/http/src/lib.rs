//! The HTTP kit of the proxy: what a hop does to HTTP besides deciding where it goes.
//!
//! ```no_run
//! use meshkit_core::{drain, endpoint::Http2};
//! use meshkit_http::{Body, client, detect::{self, Detected, Prefixed}, edge::{EdgeLayer, Told}, server};
//! # use tower::{Layer as _, Service, ServiceExt as _};
//! # async fn run<C>(mut io: tokio::net::TcpStream, connect: C, drain: drain::Watch) -> Result<(), meshkit_http::BoxError>
//! # where C: Service<(), Response = tokio::net::TcpStream, Error = meshkit_core::Error> + Clone + Send + 'static, C::Future: Send {
//! // One connection of a client, forwarded over one HTTP/2 connection, errors answered.
//! let (detected, front) = detect::detect(&mut io, std::time::Duration::from_secs(10)).await?;
//! if let Detected::Http(version) = detected {
//!     let connection = client::Connect::new(connect, Http2::default()).oneshot(()).await?;
//!     let service = EdgeLayer::outer(Told::Everything).layer(connection);
//!     server::serve(Prefixed::new(front, io), version, service, &server::Settings::default(), drain).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`body`] | the one body type of the request path |
//! | [`detect`] | HTTP/1, HTTP/2 or neither, from the first bytes |
//! | [`server`] | serving one connection of a known version, with drain, header limit and slow-header limit |
//! | [`client`] | a shared HTTP/2 connection, a pool of HTTP/1 connections |
//! | [`edge`] | errors become responses |
//! | [`normalize`], [`hop`], [`orig_proto`] | hygiene: authority and form, hop-by-hop headers, HTTP/1 inside HTTP/2 |
//! | [`forwarded`] | what a gateway tells the next one |
//! | [`upgrade`] | `101 Switching Protocols` and `CONNECT` |
//! | [`copy`] | bytes both ways, with half-close |
//!
//! A kit of the workspace's programs: it stands on `meshkit-core` alone, and `meshkit-proxy` assembles it with the feature crates.

pub mod body;
pub mod client;
pub mod copy;
pub mod detect;
pub mod edge;
pub mod forwarded;
pub mod hop;
pub mod normalize;
pub mod orig_proto;
pub mod server;
pub mod upgrade;

pub use body::Body;

/// Any error, on its way to the edge.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

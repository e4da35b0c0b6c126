//! The HTTP kit of the proxy: what a hop does to HTTP besides deciding where it goes.
//!
//! | module | what it holds |
//! |---|---|
//! | [`body`] | the one body type of the request path |
//! | [`detect`] | HTTP/1, HTTP/2 or neither, from the first bytes |
//! | [`server`] | serving one connection of a known version, with drain, header limit and slow-header limit |
//! | [`client`] | a shared HTTP/2 connection, a pool of HTTP/1 connections |
//! | [`edge`] | errors become responses |
//! | [`normalize`], [`hop`], [`orig_proto`] | hygiene: authority and form, hop-by-hop headers, HTTP/1 inside HTTP/2 |
//! | [`copy`] | bytes both ways, with half-close |

pub mod body;
pub mod client;
pub mod copy;
pub mod detect;
pub mod edge;
pub mod hop;
pub mod normalize;
pub mod orig_proto;
pub mod server;

pub use body::Body;

/// Any error, on its way to the edge.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

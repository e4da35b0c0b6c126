#![doc = include_str!("../README.md")]

pub mod authorization;
pub mod filter;
pub mod grpc;
pub mod http;
pub mod inbound;
mod meta;
pub mod net;
pub mod outbound;
pub mod policy;
pub mod rate_limit;
pub mod route;
pub mod tls;

pub use authorization::{Authentication, Authorization, Client, TlsState};
pub use filter::{Filter, FilterLayer};
pub use inbound::DefaultPolicy;
pub use meta::{Meta, Resource};
pub use policy::{Policy, PolicyLayer};

pub use ipnet;

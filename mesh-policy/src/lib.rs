#![doc = include_str!("../README.md")]

pub mod authorization;
pub mod grpc;
pub mod http;
pub mod inbound;
mod meta;
pub mod net;
pub mod outbound;
pub mod rate_limit;
pub mod route;
pub mod tls;

pub use authorization::{Authentication, Authorization, Client, TlsState};
pub use inbound::DefaultPolicy;
pub use meta::{Meta, Resource};

pub use ipnet;

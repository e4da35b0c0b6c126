//! Sockets: accepting, connecting, and where a connection was meant to go.

pub mod accept;
pub mod connect;
pub mod listeners;

pub use accept::{Accepted, Listener};
pub use connect::TcpConnect;
pub use listeners::{Listeners, Mapping};

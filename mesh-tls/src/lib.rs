#![doc = include_str!("../README.md")]

pub mod accept;
pub mod anchors;
pub mod client_hello;
pub mod connect;
mod credentials;
mod error;
pub mod io;
pub mod key;
pub mod names;
#[cfg(feature = "aws-lc-rs")]
mod provider;
pub mod renewal;
mod store;
pub mod transport_header;
mod verify;

pub use accept::{Accept, AcceptLayer, Accepted, ClientTls, accept};
pub use anchors::TrustAnchors;
pub use connect::{Connect, ConnectLayer, Connector, connect};
pub use credentials::{Credentials, InvalidCredentials};
pub use error::{HandshakeError, Reason, WrongIdentity};
pub use io::{Prefixed, TlsIo};
pub use key::KeyPair;
#[cfg(feature = "aws-lc-rs")]
pub use provider::provider;
pub use store::{Snapshot, Store, Tag};
pub use transport_header::TransportHeader;

pub use rustls;

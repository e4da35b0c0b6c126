//! The client's end of a handshake: as a layer over whatever opens connections, and as a function.

mod connector;
mod future;
mod handshake;
mod layer;
mod service;

pub use connector::{Connector, connect};
pub use future::ResponseFuture;
pub use handshake::Handshake;
pub use layer::{ConnectLayer, DEFAULT_LIMIT};
pub use service::Connect;

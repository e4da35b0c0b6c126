#![doc = include_str!("../README.md")]

pub mod backoff;
pub mod clock;
pub mod dice;
pub mod drain;
pub mod endpoint;
pub mod error;
pub mod grpc;

mod authority;
mod identity;
mod outcome;
mod ratio;
mod update;

pub use authority::{Authority, Host, InvalidAuthority};
pub use backoff::Backoff;
pub use clock::{Clock, SystemClock};
pub use dice::Dice;
pub use endpoint::{Endpoint, ProtocolHint};
pub use error::{Answer, Cause, Error};
pub use identity::{Identity, InvalidIdentity};
pub use outcome::Outcome;
pub use ratio::Ratio;
pub use update::Update;

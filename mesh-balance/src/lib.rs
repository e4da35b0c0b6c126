#![doc = include_str!("../README.md")]

pub mod accrual;
pub mod balance;
pub mod distribute;
pub mod ewma;
pub mod observe;
pub mod p2c;
pub mod pool;
pub mod reconnect;
pub mod track;
pub mod updates;
pub mod zone;

mod digest;
mod signal;

pub use accrual::Breakers;
pub use balance::{Balance, Config, Driver};
pub use digest::digest;
pub use distribute::Distribute;
pub use ewma::PeakEwma;
pub use observe::Observe;
pub use pool::Pool;
pub use reconnect::Reconnect;
pub use track::{Penalty, Track};

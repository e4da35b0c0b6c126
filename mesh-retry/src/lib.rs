#![doc = include_str!("../README.md")]

pub mod budget;
pub mod conditions;
pub mod deadline;
pub mod head_timeout;
pub mod retry;
pub mod timeout;

#[cfg(test)]
mod contract;
mod marker;
mod overrides;
mod params;
mod peek;
mod plan;
mod replay;

pub use budget::Budget;
pub use conditions::{CodeSet, Conditions, StatusRanges};
pub use head_timeout::{HeadTimeout, HeadTimeoutLayer};
pub use marker::{NotSent, Refused};
pub use overrides::Overrides;
pub use params::{Params, Timeouts};
pub use peek::PeekBody;
pub use plan::{Allow, Plan};
pub use replay::{Replay, ReplayBody, Replayable};
pub use retry::{Judge, Observe, Retry, RetryLayer};
pub use timeout::{Limits, Timeout, TimeoutLayer};

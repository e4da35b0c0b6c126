//! Requests that are sent again.

mod future;
mod layer;
mod observe;
mod service;
#[cfg(test)]
mod tests;
mod verdict;

pub use future::ResponseFuture;
pub use layer::RetryLayer;
pub use observe::Observe;
pub use service::Retry;
pub use verdict::{ByConditions, Judge, Verdict, is_retryable_error, verdict};

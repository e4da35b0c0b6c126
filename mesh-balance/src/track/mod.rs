//! What a call tells about its endpoint: how long it took, how it ended, that it is over.

mod connect;
mod http;
mod pending;

pub use self::{
    connect::Track as Connect,
    http::{Body, Track as Http},
    pending::{Penalty, Pending},
};

/// Follows a response of type `R` to its end.
///
/// [`Http`] follows a response's body; [`Connect`] takes the connection's coming up as the end.
pub trait Track<R> {
    /// The response, with whatever follows it.
    type Tracked;

    /// Takes the response over. The request counts as pending until `pending` is dropped.
    fn track(&self, response: R, pending: Pending) -> Self::Tracked;
}

#[cfg(test)]
mod tests;

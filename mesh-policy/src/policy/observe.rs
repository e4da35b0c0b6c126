use crate::{
    Meta,
    inbound::{Denied, Permit},
    rate_limit::{RateLimit, RateLimited},
};

/// Hears what becomes of requests. Every method does nothing by default.
pub trait Observe {
    /// No route of the server matches the request.
    fn not_found(&self, server: &Meta) {
        let _ = server;
    }

    /// The client may not send the request. The reason names server, route and client.
    fn denied(&self, denied: &Denied) {
        let _ = denied;
    }

    /// The client may send the request. A filter or the rate limit may still refuse it.
    fn allowed(&self, permit: &Permit) {
        let _ = permit;
    }

    /// The request was one too many.
    fn rate_limited(&self, permit: &Permit, limits: &RateLimit, limited: &RateLimited) {
        let _ = (permit, limits, limited);
    }
}

impl Observe for () {}

impl<O: Observe + ?Sized> Observe for std::sync::Arc<O> {
    fn not_found(&self, server: &Meta) {
        (**self).not_found(server);
    }

    fn denied(&self, denied: &Denied) {
        (**self).denied(denied);
    }

    fn allowed(&self, permit: &Permit) {
        (**self).allowed(permit);
    }

    fn rate_limited(&self, permit: &Permit, limits: &RateLimit, limited: &RateLimited) {
        (**self).rate_limited(permit, limits, limited);
    }
}

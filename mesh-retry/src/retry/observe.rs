/// Hears what a retrying service does. Every method does nothing by default.
pub trait Observe {
    /// Retry number `n`, counted from 1, is about to be sent.
    fn retry(&self, n: u32) {
        let _ = n;
    }
    /// A request of which nothing had been sent goes to another endpoint.
    fn resent(&self) {}
    /// A response was worth another try, and the budget had nothing left.
    fn over_budget(&self) {}
    /// The response to the last try allowed was worth another one.
    fn limit_exceeded(&self) {}
    /// A try was due, and the inner service was not ready at once.
    fn overflow(&self) {}
    /// A response after one or more retries was not worth another one.
    fn success(&self) {}
}

impl Observe for () {}

impl<O: Observe + ?Sized> Observe for std::sync::Arc<O> {
    fn retry(&self, n: u32) {
        (**self).retry(n);
    }
    fn resent(&self) {
        (**self).resent();
    }
    fn over_budget(&self) {
        (**self).over_budget();
    }
    fn limit_exceeded(&self) {
        (**self).limit_exceeded();
    }
    fn overflow(&self) {
        (**self).overflow();
    }
    fn success(&self) {
        (**self).success();
    }
}

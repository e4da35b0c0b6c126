use std::{fmt, time::Duration, time::SystemTime};

use meshkit_core::{Identity, grpc::Code};

use crate::token::ServiceAccount;

/// Hears what a [`Service`](crate::Service) and its [`Reloader`](crate::reload::Reloader) do. Every method does nothing by default.
pub trait Observe: Send + Sync + fmt::Debug + 'static {
    /// A request came.
    fn asked(&self) {}
    /// It was answered, and it took so long.
    fn answered(&self, code: Code, took: Duration) {
        let _ = (code, took);
    }
    /// A certificate was signed. The leaf is DER.
    fn issued(&self, account: &ServiceAccount, identity: &Identity, leaf: &[u8], valid_until: SystemTime) {
        let _ = (account, identity, leaf, valid_until);
    }
    /// An issuer signs from now on, and its chain is valid until then.
    fn loaded(&self, not_after: SystemTime) {
        let _ = not_after;
    }
    /// The issuer cannot be used any more.
    fn issuer_invalid(&self, why: &str) {
        let _ = why;
    }
    /// The issuer's files changed, and are used.
    fn issuer_updated(&self) {}
    /// The trust anchors changed, and are used.
    fn anchors_updated(&self) {}
    /// The files changed, but cannot be used. What was used before still is.
    fn update_skipped(&self, why: &str) {
        let _ = why;
    }
}

impl Observe for () {}

/// Tells two.
impl<A: Observe, B: Observe> Observe for (A, B) {
    fn asked(&self) {
        self.0.asked();
        self.1.asked();
    }

    fn answered(&self, code: Code, took: Duration) {
        self.0.answered(code, took);
        self.1.answered(code, took);
    }

    fn issued(&self, account: &ServiceAccount, identity: &Identity, leaf: &[u8], valid_until: SystemTime) {
        self.0.issued(account, identity, leaf, valid_until);
        self.1.issued(account, identity, leaf, valid_until);
    }

    fn loaded(&self, not_after: SystemTime) {
        self.0.loaded(not_after);
        self.1.loaded(not_after);
    }

    fn issuer_invalid(&self, why: &str) {
        self.0.issuer_invalid(why);
        self.1.issuer_invalid(why);
    }

    fn issuer_updated(&self) {
        self.0.issuer_updated();
        self.1.issuer_updated();
    }

    fn anchors_updated(&self) {
        self.0.anchors_updated();
        self.1.anchors_updated();
    }

    fn update_skipped(&self, why: &str) {
        self.0.update_skipped(why);
        self.1.update_skipped(why);
    }
}

//! Digests of endpoints, for clients that check whether they missed an update.
//!
//! A client asks from time to time; nothing is kept for it in between. The digest is worked out once for each distinct answer, however many
//! clients have it.

use meshkit_core::grpc::Code;
use meshkit_wire::{Refused, extension::digests::Digested};

use crate::{
    Service,
    target::{Context, Target},
};

impl Digested for Service {
    fn digest(&self, path: &str, context: &str) -> Result<u64, Refused> {
        let Target::Name(name) = Target::parse(path, &self.index().mesh().domain)? else {
            return Err(Refused::new(Code::INVALID_ARGUMENT, "addresses have no endpoints to be watched"));
        };
        let endpoints = self.index().endpoints(&name, &Context::parse(context))?;
        Ok(endpoints.borrow().digest())
    }
}

//! What somebody wrote and what has no effect: for logs.

use meshkit_manifest::Key;

use crate::{
    convert::{self, Unsupported},
    view::Route,
};

/// Something that has no effect, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    object: Key,
    why: String,
}

impl Remark {
    pub(crate) fn new(object: Key, why: impl Into<String>) -> Self {
        Self { object, why: why.into() }
    }

    /// The object.
    #[must_use]
    pub const fn object(&self) -> &Key {
        &self.object
    }

    /// Why it has no effect, or which part of it has none.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// Why a route is none, although it may be accepted.
pub(crate) fn unusable(route: &Route) -> Option<String> {
    let read = || match route {
        Route::PolicyHttp(it) | Route::Http(it) => {
            convert::hosts(&it.spec.hostnames)?;
            let mut rules = it.spec.rules.iter();
            rules.try_for_each(|rule| {
                rule.matches.iter().try_for_each(|one| convert::http_match(one).map(drop))?;
                rule.filters.iter().try_for_each(|one| convert::http_filter(one).map(drop))
            })
        }
        Route::Grpc(it) => {
            convert::hosts(&it.spec.hostnames)?;
            let mut rules = it.spec.rules.iter();
            rules.try_for_each(|rule| {
                rule.matches.iter().try_for_each(|one| convert::grpc_match(one).map(drop))?;
                rule.filters.iter().try_for_each(|one| convert::grpc_filter(one).map(drop))
            })
        }
        Route::Tls(it) => one(it.spec.rules.len()),
        Route::Tcp(it) => one(it.spec.rules.len()),
    };
    read().err().map(|Unsupported(what)| format!("it is not used: unsupported {what}"))
}

fn one(rules: usize) -> Result<(), Unsupported> {
    if rules == 1 { Ok(()) } else { Err(Unsupported(format!("number of rules {rules}"))) }
}

#[cfg(test)]
mod tests;

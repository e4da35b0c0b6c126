use ::http::{HeaderMap, request::Parts};
use meshkit_core::{Dice, Error};

use crate::{
    grpc, http,
    route::{self, best_of},
};

/// A kind of filter: [`http::Filter`] or [`grpc::Filter`].
pub trait Kind: sealed::Sealed + Sized {
    /// What the rules of such filters match by.
    type Match: route::Match;

    /// Applies the filters of a rule with these matches to a request.
    ///
    /// # Errors
    /// A filter answers in the server's place.
    fn apply(filters: &[Self], matches: &[Self::Match], request: &mut Parts, dice: &Dice) -> Result<(), Error>;

    /// Applies the filters to the headers of a response.
    fn apply_response(filters: &[Self], headers: &mut HeaderMap);
}

impl Kind for http::Filter {
    type Match = http::Match;

    fn apply(filters: &[Self], matches: &[http::Match], request: &mut Parts, dice: &Dice) -> Result<(), Error> {
        // Only these look at the match, which must be found again: the rule was chosen further out.
        let by_match = |filter: &Self| matches!(filter, Self::Redirect(_) | Self::Rewrite(_));
        let matched = if filters.iter().any(by_match) { best_of(matches, request).and_then(|(_, matched)| matched) } else { None };
        http::apply(filters, request, matched, dice)
    }

    fn apply_response(filters: &[Self], headers: &mut HeaderMap) {
        http::apply_response(filters, headers);
    }
}

impl Kind for grpc::Filter {
    type Match = grpc::Match;

    fn apply(filters: &[Self], _: &[grpc::Match], request: &mut Parts, dice: &Dice) -> Result<(), Error> {
        grpc::apply(filters, request, dice)
    }

    fn apply_response(_: &[Self], _: &mut HeaderMap) {}
}

mod sealed {
    #[allow(unnameable_types)] // That is what seals the trait.
    pub trait Sealed {}
    impl Sealed for crate::http::Filter {}
    impl Sealed for crate::grpc::Filter {}
}

//! Which route a request takes.
//!
//! A request takes the rule with the most specific match among the routes whose hosts match. Best first: host (exact, then suffix, then any; the
//! longer one), path (the longer pattern, whatever its kind), number of header conditions, number of query conditions, a method. Of equals,
//! the first in the list. A match without a path counts as the prefix `/`, of length 1. For gRPC: host, length of the service, length of the method,
//! number of header conditions.
//!
//! The Gateway API prefers an exact path over a prefix of the same length, and a method over headers; peers of the compatible system do
//! not, and two proxies must not disagree. The rule stands in one place: the order of the fields of [`http::Specificity`](crate::http::Specificity)
//! and [`grpc::Specificity`](crate::grpc::Specificity).

mod host;
mod regex;
mod value;

use http::request::Parts;

pub use host::{HostMatch, HostSpecificity};
pub use regex::{InvalidRegex, Regex};
pub use value::{HeaderMatch, PathMatch, QueryMatch, ValueMatch};

use crate::Meta;

/// Rules for some hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Route<M, P> {
    /// The object that it comes from.
    pub meta: Meta,
    /// Which hosts are meant; none at all are all.
    pub hosts: Vec<HostMatch>,
    /// Tried together: the most specific one counts.
    pub rules: Vec<Rule<M, P>>,
}

/// What becomes of some requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule<M, P> {
    /// Which requests are meant: one of these; none at all are all.
    pub matches: Vec<M>,
    /// What becomes of them.
    pub policy: P,
}

/// A condition on a request that can be more or less specific.
pub trait Match {
    /// How specific it is: greater wins.
    type Specificity: Ord;

    /// False if it takes no more than a look to see that the request is not meant. Asked first, of every rule.
    fn may_match(&self, request: &Parts) -> bool {
        let _ = request;
        true
    }

    /// `None` if the request is not meant.
    fn matches(&self, request: &Parts) -> Option<Self::Specificity>;

    /// How specific a rule without matches is.
    fn any() -> Self::Specificity;
}

/// The rule that a request takes.
#[derive(Debug)]
pub struct Found<'a, M, P> {
    /// The route.
    pub route: &'a Route<M, P>,
    /// The rule.
    pub rule: &'a Rule<M, P>,
    /// The match that counted; `None` for a rule without matches.
    pub matched: Option<&'a M>,
}

impl<M, P> Clone for Found<'_, M, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M, P> Copy for Found<'_, M, P> {}

/// A rule, and how specifically it was meant.
type Candidate<'a, M, P> = ((HostSpecificity, <M as Match>::Specificity), Found<'a, M, P>);

/// The most specific rule, or `None` if no route matches. Allocates nothing, unless an encoded query meets a regular expression.
#[must_use]
pub fn find<'a, M: Match, P>(routes: &'a [Route<M, P>], request: &Parts) -> Option<Found<'a, M, P>> {
    let requested = host::requested(request);
    let mut best: Option<Candidate<'a, M, P>> = None;
    for route in routes {
        // Most routes among many are told apart here, without another step into memory for their hosts.
        let may_match = |rule: &&Rule<M, P>| rule.matches.is_empty() || rule.matches.iter().any(|m| m.may_match(request));
        let mut rules = route.rules.iter().filter(may_match).peekable();
        if rules.peek().is_none() {
            continue;
        }
        let Some(host) = host::best(&route.hosts, requested) else { continue };
        for rule in rules {
            let Some((specificity, matched)) = best_of(&rule.matches, request) else { continue };
            let key = (host, specificity);
            // Strictly better: of equals, the first stays.
            if best.as_ref().is_none_or(|(known, _)| key > *known) {
                best = Some((key, Found { route, rule, matched }));
            }
        }
    }
    best.map(|(_, found)| found)
}

/// The most specific of a rule's matches, and how specific it is; of equals, the first. No matches at all match everything.
#[must_use]
pub fn best_of<'a, M: Match>(matches: &'a [M], request: &Parts) -> Option<(M::Specificity, Option<&'a M>)> {
    if matches.is_empty() {
        return Some((M::any(), None));
    }
    let mut best: Option<(M::Specificity, Option<&M>)> = None;
    for candidate in matches {
        if let Some(specificity) = candidate.matches(request)
            && best.as_ref().is_none_or(|(known, _)| specificity > *known)
        {
            best = Some((specificity, Some(candidate)));
        }
    }
    best
}

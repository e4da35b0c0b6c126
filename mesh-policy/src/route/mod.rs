//! Which route a request takes.
//!
//! A request takes the rule with the most specific match among the routes whose hosts match. Best first: host (exact, then suffix, then any; the
//! longer one), path (the longer pattern, whatever its kind), number of header conditions, number of query conditions, a method. Of equals,
//! the first in the list. The Gateway API prefers an exact path over a prefix of the same length; peers of the compatible system do
//! not, and two proxies must not disagree.

mod host;
mod regex;
mod value;

use std::cmp::Reverse;

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

/// The most specific rule, or `None` if no route matches. Allocates nothing.
#[must_use]
pub fn find<'a, M: Match, P>(routes: &'a [Route<M, P>], request: &Parts) -> Option<Found<'a, M, P>> {
    let mut best: Option<Candidate<'a, M, P>> = None;
    for route in routes {
        let Some(host) = host::best(&route.hosts, request) else { continue };
        for rule in &route.rules {
            let matched = rule.matches.iter().enumerate().filter_map(|(n, m)| Some((m.matches(request)?, Reverse(n), m)));
            let (specificity, matched) = match matched.max_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1))) {
                Some((specificity, _, matched)) => (specificity, Some(matched)),
                None if rule.matches.is_empty() => (M::any(), None),
                None => continue,
            };
            let key = (host, specificity);
            // Strictly better: of equals, the first stays.
            if best.as_ref().is_none_or(|(known, _)| key > *known) {
                best = Some((key, Found { route, rule, matched }));
            }
        }
    }
    best.map(|(_, found)| found)
}

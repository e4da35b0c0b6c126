//! Routes of TLS connections that are not ended here: by the name that the client asks for.

use std::{fmt, sync::Arc};

use meshkit_core::{Cause, Error};

use crate::Meta;

/// A route of connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Route<O> {
    /// The object that it comes from.
    pub meta: Meta,
    /// Which names are meant; none at all are all.
    pub names: Vec<SniMatch>,
    /// Where the connections go.
    pub policy: O,
}

/// Which names are meant. Case counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The two of the API.
pub enum SniMatch {
    /// This one.
    Exact(String),
    /// Everything below this domain.
    Suffix(String),
}

/// Why a connection is closed instead of forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The two of the API.
pub enum Filter {
    /// It is not allowed.
    Forbidden,
    /// The policy could not be understood.
    Invalid(Arc<str>),
}

/// What is forwarded without being looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // There are routes for these two.
pub enum Traffic {
    /// TLS that ends in the application.
    Tls,
    /// Any bytes.
    Tcp,
}

impl SniMatch {
    /// How specifically a name is meant: the longer the better, a whole name best. `None` if it is not.
    #[must_use]
    pub fn matches(&self, name: &str) -> Option<(bool, usize)> {
        match self {
            Self::Exact(exact) => (exact == name).then_some((true, exact.len())),
            Self::Suffix(suffix) => {
                let front = name.strip_suffix(suffix.as_str())?.strip_suffix('.')?;
                (!front.is_empty()).then_some((false, suffix.len()))
            }
        }
    }
}

/// The most specific route of a name; of equals, the first.
#[must_use]
pub fn find<'a, O>(routes: &'a [Route<O>], name: &str) -> Option<&'a Route<O>> {
    let mut best: Option<((bool, usize), &Route<O>)> = None;
    for route in routes {
        let specificity = match route.names.as_slice() {
            [] => Some((false, 0)),
            names => names.iter().filter_map(|m| m.matches(name)).max(),
        };
        if let Some(specificity) = specificity
            && best.is_none_or(|(known, _)| specificity > known)
        {
            best = Some((specificity, route));
        }
    }
    best.map(|(_, route)| route)
}

/// Applies the filters of a rule to a connection: the first one closes it.
///
/// # Errors
/// There is a filter.
pub fn apply(filters: &[Filter], traffic: Traffic) -> Result<(), Error> {
    match filters.first() {
        None => Ok(()),
        Some(Filter::Forbidden) => Err(Error::new(Cause::Denied).message(format!("forbidden {traffic} route"))),
        Some(Filter::Invalid(message)) => Err(Error::new(Cause::InvalidPolicy).message(message.to_string())),
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_wins_and_case_counts() {
        let route = |name: &str, names: Vec<SniMatch>| Route { meta: Meta::builtin(name), names, policy: () };
        let routes = [
            route("any", vec![]),
            route("suffix", vec![SniMatch::Suffix("example.com".to_owned())]),
            route("exact", vec![SniMatch::Exact("a.example.com".to_owned())]),
        ];
        let found = |name| find(&routes, name).map(|r| r.meta.name().to_owned());
        assert_eq!(found("a.example.com").as_deref(), Some("exact"));
        assert_eq!(found("b.example.com").as_deref(), Some("suffix"));
        assert_eq!(found("example.com").as_deref(), Some("any"));
        assert_eq!(found("A.EXAMPLE.COM").as_deref(), Some("any"));
    }

    #[test]
    fn the_first_filter_closes_the_connection() {
        let told = |filters: &[Filter], traffic| apply(filters, traffic).map_err(|error| error.to_string());
        assert_eq!(told(&[], Traffic::Tcp), Ok(()));
        assert_eq!(told(&[Filter::Forbidden], Traffic::Tls), Err("forbidden TLS route".to_owned()));
        let both = [Filter::Invalid("invalid policy".into()), Filter::Forbidden];
        assert_eq!(told(&both, Traffic::Tcp), Err("invalid policy".to_owned()));
        assert_eq!(apply(&both[1..], Traffic::Tcp).unwrap_err().to_string(), "forbidden TCP route");
    }
}

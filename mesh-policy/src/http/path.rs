use std::borrow::Cow;

use ::http::Uri;

use super::Match;
use crate::route::PathMatch;

/// Changes a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The two of the Gateway API.
pub enum PathModifier {
    /// The whole path.
    Full(String),
    /// The prefix that the route matched.
    Prefix(String),
}

/// Why there is no new path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPath {
    /// The rule did not match by a prefix, so there is none to replace.
    NoPrefix,
    /// The new path does not begin with a slash: behind an authority it would become a part of it.
    Relative,
}

impl PathModifier {
    /// The new path, without the old query.
    pub(super) fn apply<'a>(&'a self, uri: &Uri, matched: Option<&Match>) -> Result<Cow<'a, str>, NoPath> {
        let new = match self {
            Self::Full(path) if path.starts_with('/') => return Ok(Cow::Borrowed(path)),
            Self::Full(_) => return Err(NoPath::Relative),
            Self::Prefix(new) if new.is_empty() || new.starts_with('/') => new,
            Self::Prefix(_) => return Err(NoPath::Relative),
        };
        let old = match matched.and_then(|m| m.path.as_ref()) {
            Some(PathMatch::Prefix(old)) => old.trim_end_matches('/'),
            // A match that says nothing about the path has matched the prefix `/`.
            None => "",
            Some(PathMatch::Exact(_) | PathMatch::Regex(_)) => return Err(NoPath::NoPrefix),
        };
        // Another filter may have changed the path since.
        let rest = uri.path().strip_prefix(old).ok_or(NoPath::NoPrefix)?;
        let rest = if old.is_empty() { rest.strip_prefix('/').unwrap_or(rest) } else { rest };
        Ok(match rest {
            "" if new.is_empty() => Cow::Borrowed("/"),
            "" => Cow::Borrowed(new),
            rest => Cow::Owned(format!("{}/{}", new.trim_end_matches('/'), rest.strip_prefix('/').unwrap_or(rest))),
        })
    }
}

impl NoPath {
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::NoPrefix => "a prefix can be replaced only where one was matched",
            Self::Relative => "a new path must begin with a slash",
        }
    }
}

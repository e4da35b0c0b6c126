use http::{HeaderName, request::Parts};

use super::Regex;

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The three of the Gateway API.
pub enum PathMatch {
    /// The path is this one.
    Exact(String),
    /// The path begins with these segments.
    Prefix(String),
    /// The whole path matches.
    Regex(Regex),
}

/// A condition on a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The header's name.
    pub name: HeaderName,
    /// One of its values.
    pub value: ValueMatch,
}

/// A condition on a query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatch {
    /// The parameter's name, decoded.
    pub name: String,
    /// One of its values, decoded.
    pub value: ValueMatch,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The two of the Gateway API.
pub enum ValueMatch {
    /// It is these bytes.
    Exact(Vec<u8>),
    /// The whole value matches.
    Regex(Regex),
}

impl PathMatch {
    /// How much of the path is matched, in bytes of the pattern; a regular expression counts as the whole path.
    #[must_use]
    pub fn matches(&self, path: &str) -> Option<usize> {
        match self {
            Self::Exact(exact) => (path == exact).then_some(exact.len()),
            Self::Prefix(prefix) => {
                let segments = prefix.trim_end_matches('/');
                let rest = path.strip_prefix(segments)?;
                (rest.is_empty() || rest.starts_with('/')).then_some(segments.len().max(1))
            }
            Self::Regex(regex) => regex.is_match(path).then_some(path.len()),
        }
    }
}

impl HeaderMatch {
    /// Does one of the header's values match?
    #[must_use]
    pub fn matches(&self, request: &Parts) -> bool {
        request.headers.get_all(&self.name).iter().any(|value| self.value.matches(value.as_bytes()))
    }
}

impl QueryMatch {
    /// Does one of the parameter's values match?
    #[must_use]
    pub fn matches(&self, request: &Parts) -> bool {
        let query = request.uri.query().unwrap_or_default();
        query.split('&').any(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            decoded(name, |name| name == self.name.as_bytes()) && decoded(value, |value| self.value.matches(value))
        })
    }
}

impl ValueMatch {
    /// Is the value meant?
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => value == exact,
            Self::Regex(regex) => std::str::from_utf8(value).is_ok_and(|text| regex.is_match(text)),
        }
    }
}

/// Decodes a part of a form-urlencoded query, and allocates only where something is encoded.
fn decoded(text: &str, use_it: impl FnOnce(&[u8]) -> bool) -> bool {
    if !text.contains(['%', '+']) {
        return use_it(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        let hex = |b: u8| char::from(b).to_digit(16);
        bytes = match (first, rest) {
            (b'%', [high, low, tail @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let value = hex(*high).unwrap_or_default() * 16 + hex(*low).unwrap_or_default();
                out.push(u8::try_from(value).unwrap_or_default());
                tail
            }
            (b'+', rest) => {
                out.push(b' ');
                rest
            }
            (other, rest) => {
                out.push(*other);
                rest
            }
        };
    }
    use_it(&out)
}

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
            // Also the targets that are not paths: `*`, and the authority of CONNECT.
            Self::Prefix(prefix) if prefix == "/" => Some(1),
            Self::Prefix(prefix) => {
                let (mut segments, path) = (prefix.as_bytes(), path.as_bytes());
                while let [front @ .., b'/'] = segments {
                    segments = front;
                }
                // Where the prefix ends is looked at first: one byte tells most of the others apart, among hundreds of rules.
                let ends = path.len() == segments.len() || path.get(segments.len()) == Some(&b'/');
                (ends && path.starts_with(segments)).then_some(segments.len())
            }
            Self::Regex(regex) => regex.is_match(path).then_some(path.len()),
        }
    }
}

impl HeaderMatch {
    /// Does one of the header's values match? A regular expression sees only values of visible ASCII.
    #[must_use]
    pub fn matches(&self, request: &Parts) -> bool {
        request.headers.get_all(&self.name).iter().any(|value| match &self.value {
            ValueMatch::Exact(exact) => value.as_bytes() == exact,
            ValueMatch::Regex(regex) => value.to_str().is_ok_and(|text| regex.is_match(text)),
        })
    }
}

impl QueryMatch {
    /// Does one of the parameter's values match?
    #[must_use]
    pub fn matches(&self, request: &Parts) -> bool {
        let query = request.uri.query().unwrap_or_default();
        query.split('&').filter(|pair| !pair.is_empty()).any(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            decoded(name).eq(self.name.bytes())
                && match &self.value {
                    ValueMatch::Exact(exact) => decoded(value).eq(exact.iter().copied()),
                    ValueMatch::Regex(regex) if !value.contains(['%', '+']) => regex.is_match(value),
                    ValueMatch::Regex(regex) => {
                        let bytes: Vec<u8> = decoded(value).collect();
                        regex.is_match(&String::from_utf8_lossy(&bytes))
                    }
                }
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

/// The bytes of a part of a query, decoded. Source: the URL standard, "application/x-www-form-urlencoded parsing".
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, tail) = rest.split_first()?;
        rest = tail;
        match (first, tail) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = tail;
                    Some(high << 4 | low)
                }
                // Not an encoded byte: it stands for itself.
                _ => Some(b'%'),
            },
            (other, _) => Some(*other),
        }
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(uri: &str, headers: &[(&str, &[u8])]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn regex(pattern: &str) -> Regex {
        Regex::new(pattern).unwrap()
    }

    #[test]
    fn a_prefix_is_whole_segments_and_counts_without_its_slash() {
        let table: [(&str, &str, Option<usize>); 12] = [
            ("/", "/", Some(1)),
            ("/", "/foo", Some(1)),
            ("/", "*", Some(1)),
            ("/", "", Some(1)),
            ("/foo", "/foo", Some(4)),
            ("/foo/", "/foo", Some(4)),
            ("/foo/", "/foo/", Some(4)),
            ("/foo/", "/foo/bar", Some(4)),
            ("/foo", "/foo//bar", Some(4)),
            ("/foo", "/foobar", None),
            ("/foo", "/fo", None),
            ("/foo", "/FOO", None),
        ];
        for (prefix, path, expected) in table {
            assert_eq!(PathMatch::Prefix(prefix.to_owned()).matches(path), expected, "{prefix} on {path}");
        }
    }

    #[test]
    fn the_leftmost_match_of_a_regular_expression_spans_the_whole_text() {
        assert_eq!(PathMatch::Regex(regex(r"/foo/\d+")).matches("/foo/42"), Some(7));
        assert_eq!(PathMatch::Regex(regex(r"/foo/\d+")).matches("/foo/42/x"), None);
        assert_eq!(PathMatch::Regex(regex("/(a|ab)")).matches("/ab"), None, "the leftmost match is /a");
    }

    #[test]
    fn any_value_of_a_header_may_match() {
        let header = |value| HeaderMatch { name: HeaderName::from_static("x-a"), value };
        let two = request("/", &[("x-a", b"1"), ("x-a", b"22")]);
        assert!(header(ValueMatch::Exact(b"22".to_vec())).matches(&two));
        assert!(header(ValueMatch::Regex(regex("2+"))).matches(&two));
        assert!(!header(ValueMatch::Regex(regex("2"))).matches(&two));
        let binary = request("/", &[("x-a", "ä".as_bytes())]);
        assert!(header(ValueMatch::Exact("ä".as_bytes().to_vec())).matches(&binary));
        assert!(!header(ValueMatch::Regex(regex(".*"))).matches(&binary));
    }

    #[test]
    fn any_occurrence_of_a_parameter_may_match_and_is_decoded() {
        let exact = |name: &str, value: &str| QueryMatch { name: name.to_owned(), value: ValueMatch::Exact(value.into()) };
        assert!(exact("foo", "bar").matches(&request("/?fah=bah&foo=bah&foo=bar", &[])));
        assert!(exact("foo", "").matches(&request("/?foo", &[])));
        assert!(exact("a b", "c&d%").matches(&request("/?a+b=c%26d%", &[])));
        assert!(!exact("foo", "bar").matches(&request("/", &[])));
        assert!(!exact("", "").matches(&request("/?a=b&&c=d", &[])));
        let like = |pattern| QueryMatch { name: "foo".to_owned(), value: ValueMatch::Regex(regex(pattern)) };
        assert!(like("bar/.+").matches(&request("/?foo=bar%2Fhi", &[])));
        assert!(like(".").matches(&request("/?foo=%FF", &[])));
        assert!(!like("bar").matches(&request("/?foo=barn", &[])));
    }
}

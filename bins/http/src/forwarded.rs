//! The header `forwarded` (RFC 7239), by which gateways know what has passed them before.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderValue, header::FORWARDED};

/// One hop, as a gateway appends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop<'a> {
    /// The gateway's own identity.
    pub by: &'a str,
    /// The identity of its client.
    pub client: &'a str,
    /// The authority that was asked for.
    pub host: &'a str,
}

/// Appends a hop: `by=...;for=...;host=...;proto=https`. Returns `None`, and appends nothing, where a value cannot stand in a header.
#[must_use]
pub fn append(headers: &mut HeaderMap, hop: Hop<'_>) -> Option<()> {
    let mut text = String::with_capacity(hop.by.len() + hop.client.len() + hop.host.len() + 32);
    for (name, value) in [("by", hop.by), ("for", hop.client), ("host", hop.host)] {
        // Writing to a string cannot fail.
        let _ = write!(text, "{name}={value};");
    }
    text.push_str("proto=https");
    headers.append(FORWARDED, HeaderValue::try_from(text).ok()?);
    Some(())
}

/// Has the gateway `id` handled this request before?
#[must_use]
pub fn passed(headers: &HeaderMap, id: &str) -> bool {
    headers.get_all(FORWARDED).iter().any(|value| by(value.as_bytes()).any(|by| by == id.as_bytes()))
}

/// The values of `by`, of all hops in one header. What makes no sense is skipped.
fn by(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    pairs(value).filter(|(name, _)| name.eq_ignore_ascii_case(b"by")).map(|(_, value)| value)
}

/// `name=value` pairs, between semicolons and commas that are not quoted.
fn pairs(mut rest: &[u8]) -> impl Iterator<Item = (&[u8], Vec<u8>)> {
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let end = rest.iter().position(|b| matches!(b, b'=' | b';' | b',')).unwrap_or(rest.len());
            let (name, tail) = rest.split_at(end);
            match tail.split_first() {
                Some((b'=', tail)) => {
                    let (value, tail) = token_or_quoted(tail);
                    rest = tail;
                    return Some((name.trim_ascii(), value));
                }
                Some((_, tail)) => rest = tail,
                None => return None,
            }
        }
    })
}

/// The value at the front, without quotes, and what stands behind the delimiter that ends it.
fn token_or_quoted(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => {
                escaped = false;
                value.push(byte);
            }
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' | b',' if !quoted => return (value.trim_ascii().to_vec(), &bytes[at + 1..]),
            _ => value.push(byte),
        }
    }
    (value.trim_ascii().to_vec(), &[])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GATEWAY: &str = "gateway.mesh.serviceaccount.identity.linkerd.cluster.local";

    fn header(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(FORWARDED, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn what_a_gateway_appends_it_knows_again() {
        let mut headers = header("for=192.0.2.43;by=other");
        append(&mut headers, Hop { by: GATEWAY, client: "web", host: "web-svc:8080" }).unwrap();
        let values: Vec<_> = headers.get_all(FORWARDED).iter().collect();
        assert_eq!(values[1], &format!("by={GATEWAY};for=web;host=web-svc:8080;proto=https"));
        assert!(passed(&headers, GATEWAY));
        assert!(passed(&headers, "other"));
        assert!(!passed(&headers, "web"));
    }

    #[test]
    fn quotes_cases_and_lists_are_understood() {
        for value in ["for=a, By=\"x\"", "for=\"a;by=y,\";by=x", " by = x ", "by=\"\\x\"", "junk;;,by=x"] {
            assert!(passed(&header(value), "x"), "{value}");
        }
        assert!(!passed(&header("for=\"a;by=x\""), "x"));
    }

    #[test]
    fn a_value_that_no_header_can_hold_is_not_appended() {
        assert_eq!(append(&mut HeaderMap::new(), Hop { by: "a\nb", client: "", host: "" }), None);
    }

    proptest! {
        #[test]
        fn no_header_panics(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let _ = passed(&HeaderMap::from_iter([(FORWARDED, value)]), "x");
            }
        }
    }
}

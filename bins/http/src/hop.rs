//! Headers that end at each hop (RFC 9110, section 7.6.1), and those of the mesh.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, Entry, UPGRADE},
};

/// The authenticated client, told to the application.
pub const L5D_CLIENT_ID: HeaderName = HeaderName::from_static("l5d-client-id");
/// What went wrong in a proxy.
pub const L5D_PROXY_ERROR: HeaderName = HeaderName::from_static("l5d-proxy-error");
/// `close`: asks the client's proxy to close the application's connection.
pub const L5D_PROXY_CONNECTION: HeaderName = HeaderName::from_static("l5d-proxy-connection");
/// The name that a service profile routes by.
pub const L5D_DST_CANONICAL: HeaderName = HeaderName::from_static("l5d-dst-canonical");
/// The identity that a request insists on.
pub const L5D_REQUIRE_ID: HeaderName = HeaderName::from_static("l5d-require-id");
/// Names the destination of a request, where a proxy stands beside an ingress controller.
pub const L5D_DST_OVERRIDE: HeaderName = HeaderName::from_static("l5d-dst-override");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes the headers of one hop: `connection` and what it lists except `host` and `l5d-*`, `upgrade`, `keep-alive`, `proxy-connection`. `te` stays, which gRPC
/// needs, and so does `transfer-encoding`, which the HTTP library owns.
pub fn strip_connection_headers(headers: &mut HeaderMap) {
    // Most messages have none of them.
    if let Entry::Occupied(connection) = headers.entry(CONNECTION) {
        let (_, mut values) = connection.remove_entry_mult();
        let first = values.next();
        let more: Vec<_> = values.collect();
        for listed in first.iter().chain(&more) {
            remove_listed(headers, listed);
        }
    }
    headers.remove(UPGRADE);
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
}

/// What a peer's proxy said in a response about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // It asks or it does not.
pub enum PeerAsks {
    /// Nothing.
    Nothing,
    /// Close the application's connection.
    Close,
}

/// Removes what proxies tell each other from a response, whoever sent it: `l5d-proxy-error` and `l5d-proxy-connection`.
pub fn strip_proxy_headers(headers: &mut HeaderMap) -> PeerAsks {
    headers.remove(L5D_PROXY_ERROR);
    match headers.remove(L5D_PROXY_CONNECTION) {
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"close") => PeerAsks::Close,
        _ => PeerAsks::Nothing,
    }
}

/// What a client cannot take away by calling it a header of its connection: where its request goes, and what the mesh says about it.
fn outlives_hop(name: &str) -> bool {
    let of_the_mesh = name.get(..4).is_some_and(|front| front.eq_ignore_ascii_case("l5d-"));
    of_the_mesh || name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case("close")
}

fn remove_listed(headers: &mut HeaderMap, listed: &HeaderValue) {
    let Ok(listed) = listed.to_str() else { return };
    for name in listed.split(',').map(str::trim).filter(|name| !name.is_empty() && !outlives_hop(name)) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proxies_tell_each_other_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        assert_eq!(strip_proxy_headers(&mut headers), PeerAsks::Nothing);
        headers.insert(L5D_PROXY_ERROR, HeaderValue::from_static("service in fail-fast"));
        headers.insert(L5D_PROXY_CONNECTION, HeaderValue::from_static("close"));
        assert_eq!(strip_proxy_headers(&mut headers), PeerAsks::Close);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_connection_cannot_list_away_what_the_mesh_says_nor_the_host() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("connection", "Host, L5D-client-id, l5, x"), ("host", "web"), ("l5d-client-id", "a"), ("x", "1")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        strip_connection_headers(&mut headers);
        assert!(headers.contains_key("host") && headers.contains_key("l5d-client-id") && !headers.contains_key("x"));
    }

    #[test]
    fn what_concerns_one_hop_ends_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-hop, keep-alive"),
            ("connection", "x-other"),
            ("x-hop", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("x-end", "1"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        strip_connection_headers(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["te", "x-end"]);
    }
}

//! What a hop does to a request: target, authority, headers of one hop, the original protocol.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header::CONNECTION, uri::Authority};
use meshkit_http::{
    hop,
    normalize::{check_target, mark_absolute_form, origin_form, set_authority},
    orig_proto::{self, L5D_ORIG_PROTO, Upgraded},
};

use crate::{Input, Verdict};

/// Headers that never pass a hop.
const OF_ONE_HOP: [&str; 4] = ["connection", "upgrade", "keep-alive", "proxy-connection"];

/// One byte says which version, the next part is the method, the next the target, and lines of headers follow.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let version = input.pick(&[Version::HTTP_11, Version::HTTP_10, Version::HTTP_2]);
    let (Ok(method), Ok(uri)) = (Method::from_bytes(input.part()), Uri::try_from(input.part())) else { return Verdict::Refused };
    let mut request = Request::new(());
    (*request.version_mut(), *request.method_mut(), *request.uri_mut()) = (version, method, uri);
    *request.headers_mut() = headers(input.rest());
    carried(&request);
    stripped(request.headers().clone());
    if check_target(&request).is_err() {
        return Verdict::Refused;
    }
    mark_absolute_form(&mut request);
    let default = Authority::from_static("web-svc.emojivoto:80");
    set_authority(&mut request, Some(&default)).expect("there is a default");
    if version < Version::HTTP_2 {
        assert!(request.uri().authority().is_some());
    }
    let before = request.uri().path_and_query().cloned();
    let after = origin_form(request.uri().clone());
    assert!(after.authority().is_none());
    assert!(before.is_none() || after.path_and_query() == before.as_ref(), "{before:?} became {after:?}");
    Verdict::Accepted
}

fn headers(lines: &[u8]) -> HeaderMap {
    let pair = |line: &[u8]| {
        let colon = line.iter().position(|b| *b == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.split(|b| *b == b'\n').filter_map(pair) {
        headers.append(name, value);
    }
    headers
}

/// What one hop says to the next must not go further, nor must anything that `connection` lists. All else stays.
fn stripped(headers: HeaderMap) {
    let text = |value: &HeaderValue| value.to_str().map(str::to_ascii_lowercase).unwrap_or_default();
    let listed: Vec<_> = headers.get_all(CONNECTION).iter().map(text).collect();
    let listed: Vec<_> = listed.iter().flat_map(|value| value.split(',')).map(str::trim).collect();
    // A client cannot take these away by listing them.
    let stays = |name: &&str| matches!(*name, "close" | "host") || name.starts_with("l5d-");
    let listed: Vec<_> = listed.into_iter().filter(|name| !stays(name)).collect();
    let goes = |name: &HeaderName| OF_ONE_HOP.contains(&name.as_str()) || listed.contains(&name.as_str());
    let mut left = headers.clone();
    hop::strip_connection_headers(&mut left);
    for name in headers.keys() {
        assert_eq!(left.contains_key(name), !goes(name), "{name}, with connection: {listed:?}");
    }
}

/// A request goes through HTTP/2 and comes out as it was.
fn carried(request: &Request<()>) {
    let mut carried = Request::new(());
    (*carried.version_mut(), *carried.uri_mut()) = (request.version(), request.uri().clone());
    mark_absolute_form(&mut carried);
    let absolute = carried.extensions().get::<meshkit_http::normalize::AbsoluteForm>().is_some();
    let upgraded = orig_proto::upgrade(&mut carried);
    assert_eq!(upgraded.is_some(), request.version() < Version::HTTP_2);
    assert_eq!(carried.version(), Version::HTTP_2);
    carried.extensions_mut().clear();
    let restored = orig_proto::downgrade(&mut carried);
    assert_eq!(restored == Upgraded::Yes, upgraded.is_some());
    assert_eq!(carried.version(), request.version());
    assert_eq!(carried.extensions().get::<meshkit_http::normalize::AbsoluteForm>().is_some(), absolute);
    assert!(!carried.headers().contains_key(L5D_ORIG_PROTO));
}

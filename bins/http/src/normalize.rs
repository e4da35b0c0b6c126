//! The form of a request's target, and the authority that it is sent to.

use http::{
    HeaderValue, Method, Request, Uri, Version,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};
use meshkit_core::{Cause, Error};

use crate::orig_proto::L5D_ORIG_PROTO;

/// Marks a request whose target came in absolute form (`GET http://web/ HTTP/1.1`): it leaves in that form, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsoluteForm;

/// Marks a request whose target came in absolute form. Called on what a server received.
pub fn mark_absolute_form<B>(request: &mut Request<B>) {
    if request.version() < Version::HTTP_2 && request.uri().scheme().is_some() {
        request.extensions_mut().insert(AbsoluteForm);
    }
}

/// Makes the authority, which policies go by, what `Host` says, which an HTTP/1 application goes by: a peer proxy that carries HTTP/1 inside HTTP/2
/// sends both. HTTP/2 requests and `CONNECT` are left alone, and so are targets in absolute form: the application gets them in that form, and
/// goes by them whatever `Host` says (RFC 9112, section 3.2.2).
pub fn agree_on_host<B>(request: &mut Request<B>) {
    let Some(authority) = request.uri().authority().filter(|_| request.uri().scheme().is_some()) else { return };
    let Some(host) = request.headers().get(HOST).filter(|host| !host.is_empty()) else { return };
    if request.version() >= Version::HTTP_2 || is_same(host, authority) {
        return;
    }
    if request.extensions().get::<AbsoluteForm>().is_none()
        && let Ok(host) = Authority::try_from(host.as_bytes())
    {
        let uri = std::mem::take(request.uri_mut());
        *request.uri_mut() = with_authority(uri, host);
    }
}

fn is_same(host: &HeaderValue, authority: &Authority) -> bool {
    host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
}

/// Refuses targets that no proxy can forward: `CONNECT` without `host:port` or over HTTP/2, and `host:port` without `CONNECT`. And hosts that
/// each reader would choose for itself: a second `Host` (RFC 9112, section 3.2), and one that is not the `:authority` of an HTTP/2 request (RFC
/// 9113, section 8.3.1).
///
/// # Errors
/// [`Cause::BadRequest`].
pub fn check_target<B>(request: &Request<B>) -> Result<(), Error> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next().filter(|host| !host.is_empty());
    if hosts.next().is_some() {
        return Err(Error::new(Cause::BadRequest).message("there is more than one host header"));
    }
    if host.is_some_and(|host| host.as_bytes().contains(&b'@')) {
        return Err(Error::new(Cause::BadRequest).message("the host header names a user"));
    }
    let carried = request.version() == Version::HTTP_2 && request.headers().contains_key(L5D_ORIG_PROTO);
    if request.version() == Version::HTTP_2
        && !carried
        && let (Some(host), Some(authority)) = (host, request.uri().authority())
        && !is_same(host, authority)
    {
        return Err(Error::new(Cause::BadRequest).message("the host header and :authority name different hosts"));
    }
    let uri = request.uri();
    let authority_form = uri.authority().is_some() && uri.scheme().is_none() && uri.path_and_query().is_none();
    let connect = request.method() == Method::CONNECT;
    match (connect, authority_form) {
        (true, true) if request.version() == Version::HTTP_11 => Ok(()),
        (true, _) => Err(Error::new(Cause::BadRequest).message("CONNECT needs HTTP/1.1 and a target of the form host:port")),
        (false, true) if request.version() < Version::HTTP_2 => {
            Err(Error::new(Cause::BadRequest).message("a target of the form host:port is for CONNECT only"))
        }
        (false, _) => Ok(()),
    }
}

/// Gives an HTTP/1 request's URI an authority: from `Host`, else the default. HTTP/2 requests are left alone.
///
/// # Errors
/// There is no authority to be had.
pub fn set_authority<B>(request: &mut Request<B>, default: Option<&Authority>) -> Result<(), Error> {
    if request.version() >= Version::HTTP_2 || request.uri().authority().is_some() {
        return Ok(());
    }
    let host = request.headers().get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let authority = host
        .or_else(|| default.cloned())
        .ok_or_else(|| Error::new(Cause::Unexpected).message("failed to normalize URI because no authority could be determined"))?;
    let uri = std::mem::take(request.uri_mut());
    *request.uri_mut() = with_authority(uri, authority);
    Ok(())
}

/// Replaces or adds scheme and authority. Only the parts that the type guarantees are put together, so this cannot fail.
#[must_use]
pub fn with_authority(uri: Uri, authority: Authority) -> Uri {
    let mut parts = uri.into_parts();
    parts.scheme.get_or_insert(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).expect("scheme, authority and path are all there")
}

/// Leaves only the path and query, as HTTP/1 sends it to a server.
#[must_use]
pub fn origin_form(uri: Uri) -> Uri {
    match uri.into_parts().path_and_query {
        Some(path) => Uri::from(path),
        None => Uri::default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(method: &str, uri: &str) -> Request<()> {
        Request::builder().method(method).uri(uri).body(()).unwrap()
    }

    #[test]
    fn the_authority_is_the_uris_then_the_hosts_then_the_default() {
        let default = Authority::from_static("web-svc:80");
        let authority = |mut req: Request<()>| {
            set_authority(&mut req, Some(&default)).unwrap();
            req.uri().to_string()
        };
        assert_eq!(authority(request("GET", "/a?b")), "http://web-svc:80/a?b");
        let mut with_host = request("GET", "/");
        with_host.headers_mut().insert(HOST, "host:81".parse().unwrap());
        assert_eq!(authority(with_host), "http://host:81/");
        assert_eq!(authority(request("GET", "http://uri/")), "http://uri/");
        assert!(set_authority(&mut request("GET", "/"), None).is_err());
    }

    #[test]
    fn only_connect_has_a_target_of_host_and_port() {
        assert!(check_target(&request("CONNECT", "web:80")).is_ok());
        assert!(check_target(&request("CONNECT", "/")).is_err());
        assert!(check_target(&request("GET", "web:80")).is_err());
        assert!(check_target(&request("GET", "http://web/")).is_ok());
        assert!(check_target(&request("OPTIONS", "*")).is_ok());
        let mut two = request("CONNECT", "web:80");
        *two.version_mut() = Version::HTTP_2;
        assert!(check_target(&two).is_err());
    }

    #[test]
    fn a_request_has_one_host() {
        let with = |version, uri: &str, hosts: &[&'static str]| {
            let mut request = request("GET", uri);
            *request.version_mut() = version;
            for host in hosts {
                request.headers_mut().append(HOST, HeaderValue::from_static(host));
            }
            request
        };
        for (version, uri, hosts, fine) in [
            (Version::HTTP_11, "/", &["a", "b"][..], false),
            (Version::HTTP_11, "/", &["a", "a"], false),
            (Version::HTTP_11, "/", &["a@b"], false),
            (Version::HTTP_11, "/", &["a"], true),
            (Version::HTTP_2, "http://a/", &["b"], false),
            (Version::HTTP_2, "http://a/", &["A"], true),
            (Version::HTTP_2, "http://a/", &[], true),
        ] {
            assert_eq!(check_target(&with(version, uri, hosts)).is_ok(), fine, "{version:?} {uri} {hosts:?}");
        }
        let mut absolute = with(Version::HTTP_11, "http://a/", &["b"]);
        mark_absolute_form(&mut absolute);
        agree_on_host(&mut absolute);
        assert_eq!((absolute.uri().to_string().as_str(), &absolute.headers()[HOST]), ("http://a/", &HeaderValue::from_static("b")));
        // Carried inside HTTP/2, with a target that was none in absolute form.
        let mut carried = with(Version::HTTP_11, "http://a/x", &["b:81"]);
        agree_on_host(&mut carried);
        assert_eq!((carried.uri().to_string().as_str(), &carried.headers()[HOST]), ("http://b:81/x", &HeaderValue::from_static("b:81")));
    }

    proptest! {
        #[test]
        fn every_target_takes_an_authority(text in "(https?://[a-z]{1,8})?(/[a-z?/%&=]{0,20}|\\*)?|[a-z]{1,8}:[1-9]{1,4}") {
            if let Ok(uri) = text.parse::<Uri>() {
                let with = with_authority(uri.clone(), Authority::from_static("web-svc:80"));
                prop_assert_eq!(with.authority().unwrap().as_str(), "web-svc:80");
                prop_assert!(origin_form(with).authority().is_none());
            }
        }
    }

    #[test]
    fn a_server_gets_the_path_only() {
        assert_eq!(origin_form("http://web/a?b".parse().unwrap()), "/a?b");
    }
}

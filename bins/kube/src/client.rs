//! A connection to the API server.

use std::{fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, Uri, header};
use http_body_util::BodyExt as _;
use hyper_util::{client::legacy, rt::TokioExecutor};
use kube::{
    Config,
    client::{Body, ConfigExt as _},
};
use meshkit_manifest::{Kind, Object};
use serde_json::Value;
use tokio::time::timeout;
use tower::{BoxError, ServiceBuilder};

use crate::{
    decode,
    failure::{Failure, Refusal},
    resource::{place, query},
};

/// How long a call may take, unless said otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer to a call for one object, in bytes. The API server takes objects of up to 3 MiB.
pub const MAX_ANSWER_LEN: usize = 8 << 20;

/// A connection to the API server. Clones share it.
///
/// The connection follows what it was made from: tokens in files are read again as they are renewed.
#[derive(Clone)]
pub struct Client {
    inner: kube::Client,
    timeout: Duration,
    namespace: String,
    server: String,
}

/// Nothing says how the API server is reached, or what says it cannot be used.
#[derive(Debug)]
pub struct NotConfigured(BoxError);

/// What is sent with a call.
pub(crate) enum Payload<'a> {
    Empty,
    Json(&'a Value),
    /// Changes the fields that it has. Source: RFC 7396.
    MergePatch(&'a Value),
    /// The fields that a manager wants to own.
    Apply(&'a Value),
}

pub(crate) const JSON: &str = "application/json";

impl Client {
    /// What a kubeconfig says (`KUBECONFIG`, `~/.kube/config`), or else the account that a Pod was given.
    ///
    /// # Errors
    /// There is neither, or it cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn from_environment() -> Result<Self, NotConfigured> {
        Self::new(Config::infer().await.map_err(|error| NotConfigured(error.into()))?)
    }

    /// A server by its URL, with a token or anonymously. A server's certificate is checked against the system's roots.
    ///
    /// # Errors
    /// The URL cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn at(url: Uri, token: Option<&str>) -> Result<Self, NotConfigured> {
        let mut config = Config::new(url);
        config.auth_info.token = token.map(|token| token.to_owned().into());
        Self::new(config)
    }

    /// The stack is our own, and not the one `kube` builds: that one tells of each failed request as an error, and repeats some on its own.
    /// Where the process has no default provider of cryptography, `kube` sets one: `aws-lc-rs`. Nothing of the mesh reads it.
    fn new(config: Config) -> Result<Self, NotConfigured> {
        let mut tcp = legacy::connect::HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_secs(5)));
        // A watch may be silent for minutes. A server that was switched off in the meantime must be noticed.
        tcp.set_keepalive(Some(Duration::from_secs(15)));
        tcp.set_keepalive_interval(Some(Duration::from_secs(5)));
        tcp.set_keepalive_retries(Some(3));
        let fault = |error: kube::Error| NotConfigured(error.into());
        let tls = config.rustls_https_connector_with_connector(tcp).map_err(fault)?;
        let transport = legacy::Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(60)).build::<_, Body>(tls);
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer().map_err(fault)?)
            .layer(config.extra_headers_layer().map_err(fault)?)
            .map_err(BoxError::from)
            .service(transport);
        let (namespace, server) = (config.default_namespace, config.cluster_url.to_string());
        Ok(Self { inner: kube::Client::new(service, namespace.as_str()), timeout: DEFAULT_TIMEOUT, namespace, server })
    }

    /// How long a call may take: 5 s unless said otherwise. Watches are not calls.
    #[must_use]
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// The namespace that the configuration names: in a Pod, its own.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The server's URL.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Reads one object. `None` if there is none, or if its kind is not served.
    ///
    /// # Errors
    /// The server refused or cannot be reached, or the object is not what its type wants.
    pub async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Object>, Failure> {
        let Some((version, body)) = self.find(kind, namespace, name).await? else { return Ok(None) };
        let Some(place) = place(kind) else { return Ok(None) };
        decode::object(kind, &place.api_version(version), &body).map(Some).map_err(|what| {
            let said = <serde_json::Error as serde::de::Error>::custom(what);
            Failure::Malformed(kind.as_str(), said)
        })
    }

    async fn find(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<(&'static str, Bytes)>, Failure> {
        let Some(place) = place(kind) else { return Ok(None) };
        for version in place.versions {
            match self.call(Method::GET, &place.object_path(version, namespace, name), Payload::Empty).await {
                Err(failure) if failure.is_absent() => {}
                Ok(body) => return Ok(Some((version, body))),
                Err(failure) => return Err(failure),
            }
        }
        Ok(None)
    }

    /// One call and its whole answer, within the limit of time.
    pub(crate) async fn call(&self, method: Method, path: &str, payload: Payload<'_>) -> Result<Bytes, Failure> {
        let call = async { collect(self.send(method, path, payload, JSON).await?, MAX_ANSWER_LEN).await };
        timeout(self.timeout, call).await.unwrap_or(Err(Failure::Elapsed(self.timeout)))
    }

    /// A call that changes something, in the name of a field manager; the object as it is then.
    pub(crate) async fn write(&self, method: Method, mut path: String, payload: Payload<'_>, manager: &str) -> Result<Value, Failure> {
        if !manager.is_empty() {
            query(&mut path, "fieldManager", manager);
        }
        let body = self.call(method, &path, payload).await?;
        decode::value(&body, "object")
    }

    /// Sends a request; the answer, whose body comes bit by bit, if it is a good one.
    pub(crate) async fn send(&self, method: Method, path: &str, payload: Payload<'_>, accept: &str) -> Result<Response<Body>, Failure> {
        let (kind, value) = match payload {
            Payload::Empty => (None, None),
            Payload::Json(value) => (Some(JSON), Some(value)),
            Payload::MergePatch(value) => (Some("application/merge-patch+json"), Some(value)),
            // JSON is YAML, and `apply` takes no other type.
            Payload::Apply(value) => (Some("application/apply-patch+yaml"), Some(value)),
        };
        let body = value.map_or_else(Body::empty, |value| Body::from(value.to_string().into_bytes()));
        let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(body).map_err(|error| Failure::Unreachable(error.into()))?;
        let response = self.inner.send(request).await.map_err(|error| Failure::Unreachable(error.into()))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (code, after) = (response.status().as_u16(), retry_after(&response));
        // Whatever the body is, the status has been said.
        let body = collect(response, 64 << 10).await.unwrap_or_default();
        let mut refusal = Refusal::new(code, &body);
        refusal.retry_after = after.or(refusal.retry_after);
        Err(Failure::Refused(refusal))
    }
}

/// The header in seconds; its form as a date is not used by the API server.
fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// A whole body, up to a limit.
pub(crate) async fn collect(response: Response<Body>, limit: usize) -> Result<Bytes, Failure> {
    let (mut whole, mut body) = (BytesMut::new(), response.into_body());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Unreachable(error.into()))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(Failure::TooLong(limit));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.server).field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl fmt::Display for NotConfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither a kubeconfig nor a Pod's account says how the API server is reached")
    }
}

impl std::error::Error for NotConfigured {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

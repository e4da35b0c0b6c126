//! Asks the API server for single objects. A plugin lives for one pod: it needs no watch and no cache.

use std::{fmt, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, Uri, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde::de::DeserializeOwned;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::kubeconfig::Access;

/// How long one question may take, connection included.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of an answer. etcd keeps no object as large as this.
const ANSWER_MAX: usize = 8 << 20;

/// Looks objects up.
pub trait Lookup {
    /// The object at a path of the API (`/api/v1/...`), `None` if there is none.
    fn get<T: DeserializeOwned + Send>(&self, path: &str) -> impl Future<Output = Result<Option<T>, LookupError>> + Send;
}

/// An API server, over HTTPS.
#[derive(Clone)]
pub struct Api {
    host: String,
    port: u16,
    token: String,
    tls: TlsConnector,
}

/// An object could not be looked up.
#[derive(Debug)]
pub struct LookupError {
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Api {
    /// An API server as a kubeconfig names it.
    ///
    /// # Errors
    /// The server is no `https://` address, or there is no certificate to check it by.
    pub fn new(access: &Access) -> Result<Self, LookupError> {
        let refuse = |context: String| LookupError { context, source: None };
        let uri: Uri = access
            .server
            .parse()
            .map_err(|e| LookupError::new(format!("server {:?} of the kubeconfig is no address", access.server), e))?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let host = host.ok_or_else(|| refuse(format!("server {:?} of the kubeconfig does not begin with https://", access.server)))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&access.certificate_authority) {
            let certificate = certificate.map_err(|e| LookupError::new("the certificate authority of the kubeconfig is no PEM", e))?;
            roots.add(certificate).map_err(|e| LookupError::new("the certificate authority of the kubeconfig is no certificate", e))?;
        }
        if roots.is_empty() {
            return Err(refuse("the kubeconfig has no certificate authority".into()));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| LookupError::new("TLS cannot be set up", e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(443), token: access.token.clone(), tls: TlsConnector::from(Arc::new(config)) })
    }

    async fn ask(&self, path: &str) -> Result<Option<Bytes>, LookupError> {
        let Self { host, port, .. } = self;
        let failed = |what: &str| format!("{what} the API server at {host}:{port}");
        let name = ServerName::try_from(host.clone()).map_err(|e| LookupError::new(failed("no name:"), e))?;
        let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(|e| LookupError::new(failed("cannot connect to"), e))?;
        let tls = self.tls.connect(name, tcp).await.map_err(|e| LookupError::new(failed("no TLS with"), e))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(tls)).await.map_err(|e| LookupError::new(failed("no HTTP with"), e))?;
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let request = Request::get(path)
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Empty::<Bytes>::new())
            .map_err(|e| LookupError::new(format!("{path:?} or the token cannot be sent"), e))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|e| LookupError::new(failed("no answer from"), e))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            let body = body.map_err(|source| LookupError { context: failed("half an answer from"), source: Some(source) })?.to_bytes();
            match status {
                StatusCode::OK => Ok(Some(body)),
                StatusCode::NOT_FOUND => Ok(None),
                status => Err(LookupError { context: format!("GET {path}: {status}: {}", reason(&body)), source: None }),
            }
        };
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            result = &mut exchange => result,
            // The connection may end after the answer is there in full.
            _ = connection => exchange.await,
        }
    }
}

impl Lookup for Api {
    async fn get<T: DeserializeOwned + Send>(&self, path: &str) -> Result<Option<T>, LookupError> {
        let answer = timeout(REQUEST_LIMIT, self.ask(path)).await;
        let late = |_| LookupError { context: format!("GET {path}: no answer within {} s", REQUEST_LIMIT.as_secs()), source: None };
        let Some(body) = answer.map_err(late)?? else { return Ok(None) };
        serde_json::from_slice(&body).map(Some).map_err(|e| LookupError::new(format!("GET {path}: the answer cannot be read"), e))
    }
}

/// What a `Status` says.
fn reason(body: &[u8]) -> String {
    let status: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = status.as_ref().and_then(|status| status.get("message")?.as_str());
    message.unwrap_or("no reason given").chars().take(500).collect()
}

impl LookupError {
    /// For other ways to look objects up.
    #[must_use]
    pub fn new(context: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { context: context.into(), source: Some(Box::new(source)) }
    }
}

/// The token stays hidden.
impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl std::error::Error for LookupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

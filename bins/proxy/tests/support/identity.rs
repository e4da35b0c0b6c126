//! An identity controller behind mutual TLS. Trust anchors it tells in bytes that are written down here.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshkit_tls::rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use meshkit_wire::{
    Refused,
    identity::{self, Certified, Certify, CertifyRequest, Trust},
};
use tokio::sync::{oneshot, watch};
use tower::Service as _;

use super::authority::{Authority, Dates, sign};

/// The name that it proves.
pub(crate) const IDENTITY: &str = "identity.linkerd.serviceaccount.identity.linkerd.cluster.local";

/// Serves until it is dropped.
pub(crate) struct IdentityController {
    pub(crate) addr: SocketAddr,
    known: Arc<Known>,
    _stop: oneshot::Sender<()>,
}

struct Known {
    /// The folder of the authority that signs.
    authority: Mutex<PathBuf>,
    /// The newest message; without any, it does not know of the service.
    bundle: watch::Sender<Option<Vec<u8>>>,
    /// Each question for trust anchors came over a connection of this number.
    asked: Mutex<Vec<usize>>,
    trusts: Mutex<Vec<Trust>>,
}

impl IdentityController {
    /// Its own certificate and all that it gives out are signed by this authority.
    pub(crate) fn start(authority: &Authority) -> Self {
        Self::start_as(authority, authority)
    }

    /// Its own certificate is signed by the one authority, and what it gives out by the other.
    pub(crate) fn start_as(own: &Authority, authority: &Authority) -> Self {
        let known = Arc::new(Known {
            authority: Mutex::new(authority.dir().to_owned()),
            bundle: watch::Sender::new(None),
            asked: Mutex::default(),
            trusts: Mutex::default(),
        });
        let tls = server_config(own, authority);
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let serving = Arc::clone(&known);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(tokio::net::TcpListener::from_std(listener).unwrap(), tls, serving) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { addr, known, _stop: stop }
    }

    /// Signs by this authority from now on.
    pub(crate) fn signs_by(&self, authority: &Authority) {
        authority.dir().clone_into(&mut self.known.authority.lock().unwrap());
    }

    /// Tells these trust anchors from now on.
    pub(crate) fn tell(&self, pem: &str, generation: u8) {
        let mut message = vec![0x0a];
        varint(pem.len(), &mut message);
        message.extend(pem.as_bytes());
        message.extend([0x10, generation]);
        self.known.bundle.send_replace(Some(message));
    }

    /// The connections over which it was asked for trust anchors, by their numbers.
    pub(crate) fn asked(&self) -> Vec<usize> {
        self.known.asked.lock().unwrap().clone()
    }

    /// What the last client that wanted a certificate said of its trust anchors.
    pub(crate) fn trust(&self) -> Option<Trust> {
        self.known.trusts.lock().unwrap().last().copied()
    }
}

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap());
}

fn server_config(own: &Authority, authority: &Authority) -> Arc<ServerConfig> {
    let provider = Arc::new(meshkit_tls::provider());
    let files = own.leaf(IDENTITY, Dates::Now);
    let mut roots = RootCertStore::empty();
    for authority in [own, authority] {
        roots.add(CertificateDer::from_pem_slice(authority.anchor_pem().as_bytes()).unwrap()).unwrap();
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).allow_unauthenticated();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = CertificateDer::pem_file_iter(files.certificate).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(files.key).unwrap();
    Arc::new(config.with_client_cert_verifier(clients.build().unwrap()).with_single_cert(chain, key).unwrap())
}

async fn serve(listener: tokio::net::TcpListener, tls: Arc<ServerConfig>, known: Arc<Known>) {
    let count = Arc::new(AtomicUsize::new(0));
    while let Ok((io, _)) = listener.accept().await {
        let (tls, known, count) = (Arc::clone(&tls), Arc::clone(&known), Arc::clone(&count));
        tokio::spawn(async move {
            let Ok((io, client)) = meshkit_tls::accept(io, tls).await else { return };
            let number = count.fetch_add(1, Ordering::Relaxed);
            let is_client_proved = client.client_id.is_some();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let known = Arc::clone(&known);
                async move {
                    match request.uri().path() {
                        path if path.starts_with("/io.linkerd.proxy.identity.") => identity::server(known).call(request).await,
                        "/mesh.extension.v1.TrustAnchors/Watch" if known.bundle.borrow().is_some() => {
                            assert!(is_client_proved, "whoever asks is known");
                            known.asked.lock().unwrap().push(number);
                            Ok(known.anchors())
                        }
                        _ => Ok(tonic::Status::unimplemented("not played here").into_http()),
                    }
                }
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service).await;
        });
    }
}

impl Known {
    fn anchors(&self) -> Response<tonic::body::Body> {
        let mut bundles = self.bundle.subscribe();
        bundles.mark_changed();
        let frames = stream::unfold(bundles, |mut bundles| async move {
            bundles.changed().await.ok()?;
            let message = bundles.borrow_and_update().clone()?;
            let head = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes()].concat();
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from([head, message].concat()))), bundles))
        });
        Response::builder().header("content-type", "application/grpc").body(tonic::body::Body::new(StreamBody::new(frames))).unwrap()
    }
}

impl Certify for Known {
    async fn certify(&self, request: CertifyRequest) -> Result<Certified, Refused> {
        self.trusts.lock().unwrap().push(request.trust);
        // The proxy's own clock is the machine's.
        #[allow(clippy::disallowed_methods)]
        let now = SystemTime::now();
        let authority = self.authority.lock().unwrap().clone();
        let leaf = sign(&authority, &request.csr);
        Ok(Certified { leaf, intermediates: Vec::new(), valid_until: now + Duration::from_secs(3600) })
    }
}

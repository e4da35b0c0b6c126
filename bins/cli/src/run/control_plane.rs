//! The control plane as one process: identity, destination and policy over a folder, each behind mutual TLS.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use futures_util::future::Either;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ipnet::Ipv4Net;
use meshkit_core::{Clock, Identity, SystemClock};
use meshkit_identity::{Issuer, Lifetimes, Tokens, authority::Authority};
use meshkit_manifest::{Cluster, Event, Fault, Folder, Key, Kind};
use meshkit_policy::DefaultPolicy;
use meshkit_tls::{
    Credentials, KeyPair, Store, Tag, TrustAnchors,
    rustls::{crypto::CryptoProvider, pki_types::CertificateDer},
};
use meshkit_wire::{destination, extension, identity, inbound, outbound};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{debug, error, info, warn};

use super::names;

/// How long a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Changes of a folder that wait to be applied.
const BACKLOG: usize = 64;
/// Connections to one controller; further ones wait.
const CONNECTIONS_MAX: usize = 1024;

/// What the control plane is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of manifests.
    pub dir: PathBuf,
    /// The state folder of the run.
    pub state: PathBuf,
    /// Where it listens.
    pub listen: Ipv4Addr,
    /// Every address of the run.
    pub network: Ipv4Net,
}

/// Serves until the process ends.
///
/// # Errors
/// The authority, the folder or a port cannot be used.
pub async fn serve(settings: &Settings) -> io::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let now = clock.now();
    let authority = Authority::load_or_generate(&names::identity_dir(&settings.state), names::NAMESPACE, names::DOMAIN, now)?;
    let issuer = || Issuer::from_pem(authority.issuer_pem(), authority.issuer_key_pem(), authority.anchors_pem(), clock.now());
    let tokens = Tokens::load_or_generate(&names::token_key(&settings.state))?;
    let lifetimes = Lifetimes::default();
    // They stay as they are for as long as there is a state folder.
    let told = Arc::new(meshkit_identity::Anchors::new(authority.anchors_pem().into(), now, Arc::clone(&clock)));
    let certify = meshkit_identity::Service::new(tokens, names::NAMESPACE, names::DOMAIN, lifetimes, Arc::clone(&clock));
    let certify = Arc::new(certify.anchors(Arc::clone(&told)));
    certify.set_issuer(issuer().map_err(io::Error::other)?);

    let cluster = Arc::new(watch::Sender::new(Arc::new(Cluster::default())));
    // Nobody is answered from a part of what there is.
    follow(&settings.dir, Arc::clone(&cluster), |key| !is_running_state(key)).await?;
    follow(&names::objects_dir(&settings.state), Arc::clone(&cluster), is_running_state).await?;

    let mesh = meshkit_destination::Mesh {
        namespace: names::NAMESPACE.to_owned(),
        domain: names::DOMAIN.to_owned(),
        trust_domain: names::DOMAIN.to_owned(),
    };
    let destinations = Arc::new(meshkit_destination::Service::new(cluster.subscribe(), mesh));
    let mesh = meshkit_policy_controller::Mesh {
        namespace: names::NAMESPACE.to_owned(),
        domain: names::DOMAIN.to_owned(),
        trust_domain: names::DOMAIN.to_owned(),
        networks: vec![settings.network.into()],
        probe_networks: vec![settings.network.into()],
        default_policy: DefaultPolicy::AllUnauthenticated,
    };
    let policies = Arc::new(meshkit_policy_controller::Service::new(cluster.subscribe(), mesh));

    let issuer = Arc::new(issuer().map_err(io::Error::other)?);
    let anchors = TrustAnchors::from_pem(authority.anchors_pem()).map_err(io::Error::other)?;
    let store = |account: &str| credentials(account, &issuer, &anchors, lifetimes, Arc::clone(&clock));
    let (identity_tls, destination_tls) = (store("linkerd-identity")?, store("linkerd-destination")?);

    let bind = async |port: u16| {
        let addr = SocketAddr::new(settings.listen.into(), port);
        TcpListener::bind(addr).await.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {addr}: {e}")))
    };
    let (identity_port, destination_port, policy_port) =
        (bind(names::IDENTITY_PORT).await?, bind(names::DESTINATION_PORT).await?, bind(names::POLICY_PORT).await?);
    info!(addr = %settings.listen, "control plane ready");
    tokio::join!(
        accept(
            identity_port,
            identity_tls,
            ByPath { prefix: extension::anchors::PATH, first: extension::anchors::server(told), other: identity::server(certify) }
        ),
        accept(
            destination_port,
            Arc::clone(&destination_tls),
            ByPath {
                prefix: extension::digests::PATH,
                first: extension::digests::server(Arc::clone(&destinations)),
                other: destination::server(destinations)
            }
        ),
        accept(
            policy_port,
            destination_tls,
            ByPath {
                prefix: "/io.linkerd.proxy.outbound.",
                first: outbound::server(Arc::clone(&policies)),
                other: ByPath {
                    prefix: extension::PATH,
                    first: extension::server(Arc::clone(&policies)),
                    other: inbound::server(policies)
                },
            }
        ),
    );
    Ok(())
}

/// On a cluster the API server and its controllers make these; here the supervisor does.
fn is_running_state(key: &Key) -> bool {
    matches!(key.kind, Kind::Service | Kind::Pod | Kind::EndpointSlice)
}

/// Takes what a folder has now, and then follows it.
async fn follow(dir: &Path, cluster: Arc<watch::Sender<Arc<Cluster>>>, source: fn(&Key) -> bool) -> io::Result<()> {
    let (sender, mut events) = mpsc::channel::<Event>(BACKLOG);
    let folder = Folder::open(dir).map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        io::Error::new(io::ErrorKind::InvalidData, faults.join("\n"))
    })?;
    tokio::spawn(folder.watch(sender, |faults: &[Fault]| {
        faults.iter().for_each(|fault| error!("{fault}: the file's objects stay as they were"));
    }));
    if let Some(first) = events.recv().await {
        cluster.send_modify(|cluster| Arc::make_mut(cluster).apply(first, source));
    }
    tokio::spawn(Cluster::follow(events, cluster, source));
    Ok(())
}

/// Credentials of one of the control plane's accounts, renewed for as long as the process runs.
fn credentials(
    account: &str,
    issuer: &Arc<Issuer>,
    anchors: &TrustAnchors,
    lifetimes: Lifetimes,
    clock: Arc<dyn Clock>,
) -> io::Result<Arc<Store>> {
    let name: Identity = names::control_plane_identity(account).parse().map_err(io::Error::other)?;
    let provider = Arc::new(meshkit_tls::provider());
    let store = Arc::new(Store::new(Arc::clone(&provider), anchors.clone(), name.clone()).map_err(io::Error::other)?);
    let (issuer, anchors, kept) = (Arc::clone(issuer), anchors.clone(), Arc::clone(&store));
    let renew = move || -> io::Result<Duration> {
        let now = clock.now();
        let until = certify(&kept, &provider, &issuer, (&anchors, &name), lifetimes, now)?;
        Ok(meshkit_tls::renewal::Schedule::default().wait(now, until))
    };
    let mut wait = renew()?;
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(wait).await;
            wait = renew().unwrap_or_else(|error| {
                warn!(%error, "the control plane's certificate could not be renewed");
                Duration::from_secs(10)
            });
        }
    });
    Ok(store)
}

/// Gives a store a new key, and a certificate for it, and tells until when that is valid.
pub(crate) fn certify(
    store: &Store,
    provider: &CryptoProvider,
    issuer: &Issuer,
    (anchors, name): (&TrustAnchors, &Identity),
    lifetimes: Lifetimes,
    now: SystemTime,
) -> io::Result<SystemTime> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let csr = key.signing_request(name).map_err(io::Error::other)?;
    let issued = issuer.sign(&csr, name, now, lifetimes).map_err(io::Error::other)?;
    let chain = std::iter::once(issued.leaf).chain(issued.intermediates).map(CertificateDer::from).collect();
    store.set_credentials(Credentials::new(provider, anchors, name, chain, &key, now).map_err(io::Error::other)?);
    Ok(issued.not_after)
}

/// Two services on one port, told apart by the path of a call.
#[derive(Clone)]
pub(crate) struct ByPath<A, B> {
    /// How the paths of the first one begin.
    pub(crate) prefix: &'static str,
    pub(crate) first: A,
    pub(crate) other: B,
}

type GrpcResponse = http::Response<tonic::body::Body>;

impl<A, B> tower::Service<http::Request<hyper::body::Incoming>> for ByPath<A, B>
where
    A: tower::Service<http::Request<hyper::body::Incoming>, Response = GrpcResponse, Error = Infallible>,
    B: tower::Service<http::Request<hyper::body::Incoming>, Response = GrpcResponse, Error = Infallible>,
{
    type Response = GrpcResponse;
    type Error = Infallible;
    type Future = Either<A::Future, B::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both are asked every time: which one is called is not known yet.
        let (first, other) = (self.first.poll_ready(cx), self.other.poll_ready(cx));
        if first.is_ready() && other.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        match request.uri().path().starts_with(self.prefix) {
            true => Either::Left(self.first.call(request)),
            false => Either::Right(self.other.call(request)),
        }
    }
}

/// Serves one controller: every connection is mutual TLS, and HTTP/2 within.
async fn accept<S>(listener: TcpListener, store: Arc<Store>, service: S)
where
    S: tower::Service<http::Request<hyper::body::Incoming>, Response = http::Response<tonic::body::Body>, Error = std::convert::Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let slot = Arc::clone(&slots).acquire_owned().await;
        let (io, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (store, service) = (Arc::clone(&store), service.clone());
        tokio::spawn(async move {
            let _slot = slot;
            let config = match store.snapshot().server(Tag::Plain) {
                Ok(config) => config,
                Err(error) => return warn!(%error, "no certificate to serve with"),
            };
            let _ = io.set_nodelay(true);
            match timeout(HANDSHAKE_LIMIT, meshkit_tls::accept(io, config)).await {
                Ok(Ok((io, _))) => {
                    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    server.timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(10)));
                    let served = server.serve_connection(TokioIo::new(io), TowerToHyperService::new(service)).await;
                    if let Err(error) = served {
                        debug!(client.addr = %client, %error, "connection ended");
                    }
                }
                Ok(Err(error)) => info!(client.addr = %client, %error, "handshake failed"),
                Err(_) => info!(client.addr = %client, "handshake timed out"),
            }
        });
    }
}

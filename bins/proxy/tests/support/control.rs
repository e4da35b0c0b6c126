//! A control plane that signs what it is asked to, and knows what the test tells it.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshkit_core::{Update, grpc::Code};
use meshkit_policy::inbound::Policy;
use meshkit_wire::{
    Refused,
    destination::{self, Answers, Resolve},
    identity::{self, Certified, Certify, CertifyRequest},
    inbound::{self, Policies},
    profile::Profile,
};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};
use tower::Service as _;

use super::authority::{Authority, sign};

/// Serves until it is dropped.
pub(crate) struct ControlPlane {
    known: Arc<Known>,
    _stop: oneshot::Sender<()>,
}

struct Known {
    /// The folder of the authority that signs.
    authority: PathBuf,
    profiles: Mutex<HashMap<String, Arc<Profile>>>,
    policies: watch::Sender<HashMap<u16, Arc<Policy>>>,
}

impl ControlPlane {
    pub(crate) fn start(addr: SocketAddr, authority: &Authority) -> Self {
        let known =
            Arc::new(Known { authority: authority.dir().to_owned(), profiles: Mutex::default(), policies: watch::Sender::default() });
        let (stop, stopped) = oneshot::channel::<()>();
        let (serving, listens) = (Arc::clone(&known), std::net::TcpListener::bind(addr).unwrap());
        listens.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(TcpListener::from_std(listens).unwrap(), serving) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { known, _stop: stop }
    }

    /// Tells the policy of a port, to whoever watches it.
    pub(crate) fn policy(&self, port: u16, policy: Policy) {
        self.known.policies.send_modify(|policies| drop(policies.insert(port, Arc::new(policy))));
    }

    /// Tells the profile of an address, before anybody asks for it.
    pub(crate) fn profile(&self, addr: SocketAddr, profile: Profile) {
        self.known.profiles.lock().unwrap().insert(addr.to_string(), Arc::new(profile));
    }
}

async fn serve(listener: TcpListener, known: Arc<Known>) {
    let (identities, policies) = (identity::server(Arc::clone(&known)), inbound::server(Arc::clone(&known)));
    let destinations = destination::server(known);
    while let Ok((io, _)) = listener.accept().await {
        let (identities, policies, destinations) = (identities.clone(), policies.clone(), destinations.clone());
        let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let (mut identities, mut policies, mut destinations) = (identities.clone(), policies.clone(), destinations.clone());
            async move {
                match request.uri().path() {
                    path if path.starts_with("/io.linkerd.proxy.identity.") => identities.call(request).await,
                    path if path.starts_with("/io.linkerd.proxy.destination.") => destinations.call(request).await,
                    path if path.starts_with("/io.linkerd.proxy.inbound.") => policies.call(request).await,
                    _ => Ok(tonic::Status::unimplemented("not played here").into_http()),
                }
            }
        });
        tokio::spawn(hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service));
    }
}

impl Certify for Known {
    async fn certify(&self, request: CertifyRequest) -> Result<Certified, Refused> {
        let leaf = sign(&self.authority, &request.csr);
        // The proxy's own clock is the machine's.
        #[allow(clippy::disallowed_methods)]
        let now = SystemTime::now();
        Ok(Certified { leaf, intermediates: Vec::new(), valid_until: now + Duration::from_secs(3600) })
    }
}

impl Resolve for Known {
    fn endpoints(&self, path: &str, _: &str) -> Result<(Answers<Update>, BTreeMap<String, String>), Refused> {
        Err(Refused::new(Code::INVALID_ARGUMENT, format!("nothing is known of {path}")))
    }

    fn profile(&self, path: &str, _: &str) -> Result<Answers<Arc<Profile>>, Refused> {
        let profile = self.profiles.lock().unwrap().get(path).cloned().unwrap_or_default();
        Ok(stream::iter([profile]).chain(stream::pending()).boxed())
    }
}

impl Policies for Known {
    fn policy(&self, _: &str, port: u16) -> Result<Answers<Arc<Policy>>, Refused> {
        // Until the test tells one, the defaults of the proxy hold.
        let told = stream::unfold((self.policies.subscribe(), None), move |(mut policies, last)| async move {
            loop {
                let policy = policies.borrow_and_update().get(&port).cloned();
                if policy.is_some() && policy != last {
                    return Some((policy.clone()?, (policies, policy)));
                }
                policies.changed().await.ok()?;
            }
        });
        Ok(told.boxed())
    }
}

//! One destination: what is known of it, and its endpoints.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use ::http::{Request, Response};
use futures_util::future::Either;
use meshkit_balance::{Balance, Config, track, updates};
use meshkit_core::{Cause, Endpoint, Error, Update};
use meshkit_http::Body;
use meshkit_tls::TlsIo;
use meshkit_wire::profile::Profile;
use tokio::{net::TcpStream, sync::watch, task::JoinHandle, time::timeout};
use tower::{Service as _, ServiceExt as _};

use super::Settings;
use crate::{
    control::{
        Discovery,
        discovery::{ProfileState, Watching},
    },
    endpoint::{EndpointService, Handles, Transport},
    metrics::{Counted, Edge, Labels, Metrics, target},
};

/// A destination by its original address.
#[derive(Debug)]
pub(crate) struct Destination {
    addr: SocketAddr,
    profile: Watching<watch::Receiver<ProfileState>>,
    discovery: Discovery,
    settings: Settings,
    metrics: Metrics,
    http: OnceLock<Driven<Balance<EndpointService>>>,
    tcp: OnceLock<Driven<Balance<Transport, track::Connect>>>,
}

/// A balancer and the task that drives it, which ends with it.
#[derive(Debug)]
struct Driven<B> {
    balance: B,
    driver: Mutex<Option<JoinHandle<()>>>,
}

impl<B> Drop for Driven<B> {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take() {
            driver.abort();
        }
    }
}

impl Destination {
    pub(super) fn new(addr: SocketAddr, settings: &Settings, discovery: &Discovery, metrics: &Metrics) -> Self {
        Self {
            addr,
            profile: discovery.profile(addr.to_string()),
            discovery: discovery.clone(),
            settings: settings.clone(),
            metrics: metrics.clone(),
            http: OnceLock::new(),
            tcp: OnceLock::new(),
        }
    }

    /// Waits for the first answer about the destination; after the limit, it goes without.
    pub(super) async fn discovered(&self, limit: Duration) {
        let mut state = self.profile.values().clone();
        let _ = timeout(limit, state.wait_for(Option::is_some)).await;
    }

    fn profile(&self) -> Option<Arc<Profile>> {
        self.profile.values().borrow().clone().flatten()
    }

    /// Are its bytes not to be looked at?
    pub(super) fn is_opaque(&self) -> bool {
        self.profile().is_some_and(|profile| profile.opaque)
    }

    /// The name that requests without an authority are for: the Service's, or the address.
    pub(super) fn authority(&self) -> String {
        match self.profile().and_then(|profile| profile.name.clone()) {
            Some(name) => format!("{name}:{}", self.addr.port()),
            None => self.addr.to_string(),
        }
    }

    /// Sends a request to one of the endpoints.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let mut balance = self.http.get_or_init(|| self.balance()).balance.clone();
        // Readiness means that there is room to wait, or no need to. Where there is neither, waiting would not help.
        let ready = std::future::poll_fn(|cx| std::task::Poll::Ready(balance.poll_ready(cx))).await;
        match ready {
            std::task::Poll::Ready(Ok(())) => {}
            std::task::Poll::Ready(Err(error)) => return Err(error),
            std::task::Poll::Pending => return Err(Error::new(Cause::LoadShed).within(format!("logical service {}", self.authority()))),
        }
        let response = balance.call(request).await.map_err(|e| e.within(format!("logical service {}", self.authority())))?;
        Ok(response.map(Body::wrap))
    }

    /// Connects to one of the endpoints.
    pub(super) async fn connect(&self) -> Result<Counted<TlsIo<TcpStream>>, Error> {
        let balance = self.tcp.get_or_init(|| self.connections()).balance.clone();
        balance.oneshot(()).await
    }

    fn config(&self) -> Config {
        Config::default()
            .queue_capacity(self.settings.queue_capacity)
            .failfast(self.settings.failfast)
            // Every balancer rolls its own dice.
            .seed(self.settings.endpoint.dice.roll())
    }

    fn balance(&self) -> Driven<Balance<EndpointService>> {
        let authority = self.authority();
        let (settings, metrics) = (self.settings.clone(), self.metrics.clone());
        let make = move |endpoint: Arc<Endpoint>| {
            let endpoint = local(endpoint, &settings);
            let handles = handles(&metrics, &endpoint, &authority);
            EndpointService::new(endpoint, &settings.endpoint, handles)
        };
        let (balance, driver) = Balance::new(self.config(), make);
        let driver = tokio::spawn(driver.run(self.updates()));
        Driven { balance, driver: Mutex::new(Some(driver)) }
    }

    fn connections(&self) -> Driven<Balance<Transport, track::Connect>> {
        let authority = self.authority();
        let (settings, metrics) = (self.settings.clone(), self.metrics.clone());
        let make = move |endpoint: Arc<Endpoint>| {
            let endpoint = local(endpoint, &settings);
            let tcp = handles(&metrics, &endpoint, &authority).tcp;
            Transport::new(endpoint, None, &settings.endpoint, tcp)
        };
        let (balance, driver) = Balance::connect(self.config(), make);
        let driver = tokio::spawn(driver.run(self.updates()));
        Driven { balance, driver: Mutex::new(Some(driver)) }
    }

    /// The endpoints: those of the Service, the one that the profile names, or the address itself.
    fn updates(&self) -> impl futures_util::Stream<Item = Update> + Send + 'static + use<> {
        match self.profile() {
            Some(profile) if profile.endpoint.is_some() => Either::Left(updates::fixed(profile.endpoint.clone())),
            Some(profile) if profile.name.is_some() => Either::Right(self.discovery.endpoints(self.authority())),
            _ => Either::Left(updates::fixed([Endpoint::new(self.addr)])),
        }
    }
}

/// An endpoint in this very workload is reached without a detour.
fn local(endpoint: Arc<Endpoint>, settings: &Settings) -> Arc<Endpoint> {
    if !settings.local_ips.contains(&endpoint.addr.ip()) {
        return endpoint;
    }
    let mut plain = Endpoint::new(endpoint.addr).weight(endpoint.weight);
    plain.labels = Arc::clone(&endpoint.labels);
    Arc::new(plain)
}

fn handles(metrics: &Metrics, endpoint: &Endpoint, authority: &str) -> Handles {
    let tls = match &endpoint.tls {
        Some(tls) => [("tls", "true".to_owned()), ("server_id", tls.identity.to_string())],
        None => [("tls", "no_identity".to_owned()), ("no_tls_reason", "not_provided_by_service_discovery".to_owned())],
    };
    let own = |(k, v): (&str, String)| (k.to_owned(), v);
    let mut labels = vec![("direction".to_owned(), "outbound".to_owned())];
    let mut tcp = vec![("direction", "outbound".to_owned()), ("peer", "dst".to_owned())];
    tcp.extend(target(endpoint.addr));
    tcp.extend(tls.clone());
    labels.push(("authority".to_owned(), authority.to_owned()));
    labels.extend(target(endpoint.addr).map(own));
    labels.extend(tls.map(own));
    labels.extend(endpoint.labels.iter().map(|(k, v)| (format!("dst_{k}"), v.clone())));
    let known = ["deployment", "statefulset", "daemonset", "k8s_job", "pod"];
    let edge = known.iter().find_map(|key| endpoint.labels.get(*key)).map(|name| Edge(name.clone()));
    Handles { http: metrics.http.handle(&Labels::new(labels), edge.as_ref()), tcp: metrics.tcp.handle(tcp) }
}

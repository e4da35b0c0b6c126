//! One destination: what is known of it, and its endpoints.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use ::http::{Request, Response};
use futures_util::{Stream, future::Either};
use meshkit_balance::{Balance, Config, accrual, track, track::Penalty, updates};
use meshkit_core::{Cause, Endpoint, Error, Ratio, Update};
use meshkit_http::Body;
use meshkit_policy::tls;
use meshkit_retry::TimeoutLayer;
use meshkit_tls::TlsIo;
use meshkit_wire::{
    outbound::{Accrual, Backend, Dispatch, Policy, Protocol},
    profile::Profile,
};
use tokio::{net::TcpStream, sync::watch, task::JoinHandle, time::timeout};
use tower::{Layer as _, Service as _, ServiceExt as _};

use super::{
    Settings,
    routes::{Balancer, Routes, poll_ready},
};
use crate::{
    control::{
        Discovery,
        discovery::{PolicyState, ProfileState, Watching},
    },
    endpoint::{AnyBody, EndpointService, Handles, Transport},
    metrics::{Counted, Edge, Labels, Metrics, target},
};

/// A destination by its original address.
#[derive(Debug)]
pub(crate) struct Destination {
    addr: SocketAddr,
    profile: Watching<watch::Receiver<ProfileState>>,
    policy: Watching<watch::Receiver<PolicyState>>,
    discovery: Discovery,
    settings: Settings,
    metrics: Metrics,
    /// The stacks of the newest policy that a request has met.
    routes: Mutex<Option<Arc<Routes>>>,
    /// Where requests go that no policy speaks of.
    http: OnceLock<Balancer>,
    tcp: OnceLock<Driven<Balance<Transport, track::Connect>>>,
}

/// A balancer and the task that drives it, which ends with it.
#[derive(Debug)]
pub(super) struct Driven<B> {
    balance: B,
    driver: Mutex<Option<JoinHandle<()>>>,
}

impl<B> Driven<B> {
    pub(super) const fn balance(&self) -> &B {
        &self.balance
    }
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
            policy: discovery.policy(addr),
            discovery: discovery.clone(),
            settings: settings.clone(),
            metrics: metrics.clone(),
            routes: Mutex::default(),
            http: OnceLock::new(),
            tcp: OnceLock::new(),
        }
    }

    /// Waits for the first answer about the destination; after the limit, it goes without.
    pub(super) async fn discovered(&self, limit: Duration) {
        let (mut profile, mut policy) = (self.profile.values().clone(), self.policy.values().clone());
        let both = async {
            let _ = profile.wait_for(Option::is_some).await;
            let _ = policy.wait_for(Option::is_some).await;
        };
        let _ = timeout(limit, both).await;
    }

    fn policy(&self) -> Option<Arc<Policy>> {
        self.policy.values().borrow().clone().flatten()
    }

    fn profile(&self) -> Option<Arc<Profile>> {
        self.profile.values().borrow().clone().flatten()
    }

    /// Are its bytes not to be looked at?
    pub(super) fn is_opaque(&self) -> bool {
        let by_policy = || self.policy().is_some_and(|policy| matches!(policy.protocol, Protocol::Opaque(_)));
        self.profile().is_some_and(|profile| profile.opaque) || by_policy()
    }

    /// May connections be opened at all?
    pub(super) fn refusal(&self) -> Option<Error> {
        match &self.policy()?.protocol {
            Protocol::Opaque(Some(route)) => tls::apply(&route.policy.filters, tls::Traffic::Tcp).err(),
            _ => None,
        }
    }

    /// The name that requests without an authority are for: the Service's, or the address.
    pub(super) fn authority(&self) -> String {
        match self.profile().and_then(|profile| profile.name.clone()) {
            Some(name) => format!("{name}:{}", self.addr.port()),
            None => self.addr.to_string(),
        }
    }

    /// Sends a request where the policy says, or to one of the endpoints where there is none.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let place = || format!("logical service {}", self.authority());
        if let Some(policy) = self.policy() {
            return self.routes(&policy).send(request).await.map_err(|e| e.within(place()));
        }
        let mut balance = self.http.get_or_init(|| self.balance(self.config(), self.updates())).balance.clone();
        // Readiness means that there is room to wait, or no need to. Where there is neither, waiting would not help.
        let ready = std::future::poll_fn(|cx| std::task::Poll::Ready(poll_ready(&mut balance, cx))).await;
        match ready {
            std::task::Poll::Ready(Ok(())) => {}
            std::task::Poll::Ready(Err(error)) => return Err(error),
            std::task::Poll::Pending => return Err(Error::new(Cause::LoadShed).within(place())),
        }
        let response = balance.call(request).await.map_err(|e| e.within(place()))?;
        Ok(response.map(Body::wrap))
    }

    fn routes(&self, policy: &Arc<Policy>) -> Arc<Routes> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        match routes.as_ref() {
            Some(known) if known.is_of(policy) => Arc::clone(known),
            before => {
                let make = |backend: &Backend| self.balancer(backend);
                let made = Routes::new(Arc::clone(policy), before.map(|b| &**b), &self.settings.endpoint.dice, &make);
                Arc::clone(routes.insert(Arc::new(made)))
            }
        }
    }

    /// A balancer for a backend of a policy; `None` for one that cannot be reached.
    fn balancer(&self, backend: &Backend) -> Option<Balancer> {
        match &backend.dispatch {
            Dispatch::Fail => None,
            Dispatch::Forward(endpoint) => Some(self.balance(self.config(), Updates::Left(updates::fixed([endpoint.clone()])))),
            Dispatch::Balance { path, load } => {
                let mut config = self.config().default_rtt(load.default_rtt).decay(load.decay);
                if let Some((rtt, max_retry_after)) = load.penalty {
                    config = config.penalty(Penalty::default().rtt(rtt).max_retry_after(max_retry_after));
                }
                if let Some(accrual) = backend.accrual.as_ref().and_then(breaker) {
                    config = config.accrual(accrual);
                }
                Some(self.balance(config, Updates::Right(self.discovery.endpoints(path.clone()))))
            }
        }
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

    fn balance(&self, config: Config, updates: impl Stream<Item = Update> + Send + 'static) -> Balancer {
        let authority = self.authority();
        let (settings, metrics) = (self.settings.clone(), self.metrics.clone());
        let make = move |endpoint: Arc<Endpoint>| {
            let endpoint = local(endpoint, &settings);
            let handles = handles(&metrics, &endpoint, &authority);
            TimeoutLayer::default().layer(AnyBody(EndpointService::new(endpoint, &settings.endpoint, handles)))
        };
        let (balance, driver) = Balance::new(config, make);
        let driver = tokio::spawn(driver.run::<_, Request<Body>>(updates));
        Arc::new(Driven { balance, driver: Mutex::new(Some(driver)) })
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
    fn updates(&self) -> Updates {
        match self.profile() {
            Some(profile) if profile.endpoint.is_some() => Either::Left(updates::fixed(profile.endpoint.clone())),
            Some(profile) if profile.name.is_some() => Either::Right(self.discovery.endpoints(self.authority())),
            _ => Either::Left(updates::fixed([Endpoint::new(self.addr)])),
        }
    }
}

/// Endpoints that never change, or those that discovery knows.
type Updates = Either<updates::Fixed, updates::Receiver>;

/// When an endpoint is given a rest; `None` where the numbers do not say.
fn breaker(accrual: &Accrual) -> Option<accrual::Config> {
    Some(match *accrual {
        Accrual::Consecutive { max_failures, backoff } => accrual::Config::consecutive(max_failures, backoff),
        Accrual::Unified { success_rate, window, min_requests, max_failures, backoff } => {
            accrual::Config::unified(window, Ratio::new(success_rate)?, min_requests, max_failures, backoff)
        }
    })
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

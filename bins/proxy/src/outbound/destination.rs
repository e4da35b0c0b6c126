//! One destination: what is known of it, and the stacks made from that.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::http::{Request, Response};
use meshkit_core::{Authority, Cause, Error};
use meshkit_http::Body;
use meshkit_wire::{
    extension::FaultPlan,
    outbound::{Policy, Protocol, Target},
    profile::Profile,
};
use tokio::{sync::watch, time::timeout};

use super::{
    Settings,
    backends::Backends,
    connections::{Connections, Forwarded},
    logical,
    profile::Profiled,
    routes::Routes,
};
use crate::{
    control::{
        Discovery,
        discovery::{PolicyState, ProfileState, Watching},
    },
    metrics::Metrics,
};

/// A destination by its original address, or by its name.
#[derive(Debug)]
pub(crate) struct Destination {
    target: Target,
    port: u16,
    profile: Watching<watch::Receiver<ProfileState>>,
    policy: Watching<watch::Receiver<PolicyState>>,
    faults: Watching<watch::Receiver<Arc<FaultPlan>>>,
    backends: Backends,
    /// What is known where the policy API has no policy: one that is made from the profile.
    made_up: Mutex<Option<Snapshot>>,
    /// The stacks of the newest snapshot that a request has met.
    http: Mutex<Option<Arc<Http>>>,
    /// The same of connections that are not looked at.
    tcp: Mutex<Option<Arc<Connections>>>,
}

/// What is known of a destination, at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) profile: Option<Arc<Profile>>,
    pub(super) policy: Arc<Policy>,
    pub(super) faults: Arc<FaultPlan>,
}

/// Where requests go.
#[derive(Debug)]
pub(super) struct Http {
    of: Snapshot,
    routes: By,
}

#[derive(Debug)]
enum By {
    Policy(Routes),
    Profile(Profiled),
}

impl Destination {
    pub(super) fn new(target: Target, settings: &Settings, discovery: &Discovery, metrics: &Metrics) -> Self {
        let (name, port) = match &target {
            Target::Addr(addr) => (addr.to_string(), addr.port()),
            Target::Authority(name) => (name.clone(), Authority::parse(name, 80).map_or(80, |authority| authority.port())),
        };
        let backends = Backends { authority: name, settings: settings.clone(), discovery: discovery.clone(), metrics: metrics.clone() };
        Self {
            port,
            profile: discovery.profile(&target),
            policy: discovery.policy(target.clone()),
            faults: discovery.faults(&target),
            target,
            backends,
            made_up: Mutex::default(),
            http: Mutex::default(),
            tcp: Mutex::default(),
        }
    }

    /// Waits for the first answers about the destination; after the limit, it goes without.
    pub(super) async fn discovered(&self, limit: Duration) {
        let (mut profile, mut policy) = (self.profile.values().clone(), self.policy.values().clone());
        if profile.borrow().is_some() && policy.borrow().is_some() {
            return;
        }
        let both = async {
            let _ = profile.wait_for(Option::is_some).await;
            let _ = policy.wait_for(Option::is_some).await;
        };
        let _ = timeout(limit, both).await;
    }

    /// What is known now; `None` of a name that nobody knows.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        let profile = self.profile.values().borrow().clone().flatten();
        let faults = Arc::clone(&self.faults.values().borrow());
        if let Some(policy) = self.policy.values().borrow().clone().flatten() {
            return Some(Snapshot { profile, policy, faults });
        }
        let mut made_up = self.made_up.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made_up.as_ref().filter(|known| same(known.profile.as_ref(), profile.as_ref())) {
            return Some(Snapshot { faults, ..known.clone() });
        }
        let policy = Arc::new(logical::policy(profile.as_deref(), self.addr(), self.port)?);
        Some(made_up.insert(Snapshot { profile, policy, faults }).clone())
    }

    fn addr(&self) -> Option<SocketAddr> {
        match self.target {
            Target::Addr(addr) => Some(addr),
            Target::Authority(_) => None,
        }
    }

    /// The name that requests without an authority are for: the Service's, or the address.
    pub(super) fn authority(&self) -> String {
        match self.profile.values().borrow().clone().flatten().and_then(|profile| profile.name.clone()) {
            Some(name) => format!("{name}:{}", self.port),
            None => self.backends.authority.clone(),
        }
    }

    /// Sends a request where the profile or the policy says.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let place = || format!("logical service {}", self.authority());
        let http = self.http().ok_or_else(|| Error::new(Cause::NoRoute).message("there is no such service").within(place()))?;
        let sent = match &http.routes {
            By::Policy(routes) => routes.send(request).await,
            By::Profile(routes) => routes.send(request).await,
        };
        sent.map_err(|e| e.within(place()))
    }

    /// Connects where the profile or the policy says, without looking at the bytes.
    pub(super) async fn connect(&self) -> Result<Forwarded, Error> {
        self.tcp()?.opaque().await
    }

    /// Connects where the policy says for a TLS server of this name.
    pub(super) async fn connect_tls(&self, name: &str) -> Result<Forwarded, Error> {
        self.tcp()?.tls(name).await
    }

    fn http(&self) -> Option<Arc<Http>> {
        let now = self.snapshot()?;
        let mut known = self.http.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match known.as_ref() {
            // A connection keeps to the protocol that it began with: where a new policy has no routes for it, it keeps its old ones.
            Some(known) if known.of.is(&now) || !now.speaks_http() => return Some(Arc::clone(known)),
            before => before.map(|known| &known.routes),
        };
        let backends = self.named();
        let routes = match &now.profile {
            Some(profile) if !profile.routes.is_empty() || !profile.targets.is_empty() => {
                let before = before.and_then(|b| if let By::Profile(before) = b { Some(before) } else { None });
                By::Profile(Profiled::new(profile, &now.faults, before, &backends, &self.authority()))
            }
            _ => {
                let before = before.and_then(|b| if let By::Policy(before) = b { Some(before) } else { None });
                By::Policy(Routes::new(&now.policy, &now.faults, before, &backends))
            }
        };
        Some(Arc::clone(known.insert(Arc::new(Http { of: now, routes }))))
    }

    fn tcp(&self) -> Result<Arc<Connections>, Error> {
        let now = self.snapshot().ok_or_else(|| Error::new(Cause::NoRoute).message("there is no such service"))?;
        let mut known = self.tcp.lock().unwrap_or_else(PoisonError::into_inner);
        match known.as_ref() {
            Some(known) if known.of().is(&now) => Ok(Arc::clone(known)),
            before => {
                let made = Connections::new(now, before.map(|b| &**b), &self.named(), (self.addr(), self.port));
                Ok(Arc::clone(known.insert(Arc::new(made))))
            }
        }
    }

    fn named(&self) -> Backends {
        Backends { authority: self.authority(), ..self.backends.clone() }
    }
}

impl Snapshot {
    /// Is it this very one?
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.policy, &other.policy)
            && Arc::ptr_eq(&self.faults, &other.faults)
            && same(self.profile.as_ref(), other.profile.as_ref())
    }

    /// Are its bytes not to be looked at?
    pub(super) fn is_opaque(&self) -> bool {
        self.profile.as_ref().is_some_and(|profile| profile.opaque) || matches!(self.policy.protocol, Protocol::Opaque(_))
    }

    fn speaks_http(&self) -> bool {
        !self.is_opaque() && !matches!(self.policy.protocol, Protocol::Tls(_))
    }
}

fn same(one: Option<&Arc<Profile>>, other: Option<&Arc<Profile>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

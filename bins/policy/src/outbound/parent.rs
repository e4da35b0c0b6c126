//! What is the same for all routes of a destination.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use meshkit_core::{Backoff, Endpoint};
use meshkit_manifest::{annotations, core::Service, traffic::TrafficPolicy};
use meshkit_policy::Meta;
use meshkit_retry::{CodeSet, Conditions, Params, StatusRanges, Timeouts};
use meshkit_wire::outbound::{Accrual, Backend, Dispatch, Load};

use super::object;
use crate::{model::Model, settings::contains, view::GROUP};

pub(super) mod notes;

/// `metadata.annotations`.
pub(super) type Notes = BTreeMap<String, String>;

const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";

/// A port of a Service, or an address of an EgressNetwork.
pub(super) struct Parent<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) port: u16,
    pub(super) meta: Meta,
    /// Set for an EgressNetwork: what becomes of calls that no route describes, and where they would have gone.
    pub(super) egress: Option<(TrafficPolicy, SocketAddr)>,
    service: Option<&'a Service>,
    opaque_ports: &'a str,
    domain: &'a str,
    /// What is special about the load and the circuit of a backend is said by the parent, never by the backend itself.
    load: Load,
    accrual: Option<Accrual>,
    pub(super) timeouts: Timeouts,
    pub(super) http_retry: Option<Params>,
    pub(super) grpc_retry: Option<Params>,
}

/// How a backend is used: connections that are not looked at have no requests that could fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Requests,
    Connections,
}

impl<'a> Parent<'a> {
    /// A Service's port. Where there is no such Service, it is as one without annotations.
    pub(super) fn service(model: &Model<'a>, namespace: &'a str, name: &'a str, port: u16) -> Self {
        let service = model.view.cluster().service(namespace, name).map(|service| &**service);
        let notes = service.map(|service| &service.metadata.annotations);
        let load = notes.map(notes::load).unwrap_or_default();
        Self { service, load, ..Self::new(model, service_meta(namespace, name, port), (namespace, name, port), notes) }
    }

    /// An address of an EgressNetwork.
    pub(super) fn egress(model: &Model<'a>, namespace: &'a str, name: &'a str, addr: SocketAddr) -> Self {
        let network = model.view.egress_network(namespace, name);
        // Nobody may call what is gone.
        let traffic = network.and_then(|network| network.spec.traffic_policy).unwrap_or(TrafficPolicy::Deny);
        let notes = network.map(|network| &network.metadata.annotations);
        let meta = egress_meta(namespace, name, addr.port());
        Self { egress: Some((traffic, addr)), ..Self::new(model, meta, (namespace, name, addr.port()), notes) }
    }

    fn new(model: &Model<'a>, meta: Meta, (namespace, name, port): (&'a str, &'a str, u16), notes: Option<&'a Notes>) -> Self {
        // What these annotations get wrong counts as absent: a webhook does not look at them.
        let own = |notes: &Notes| (timeouts(notes), http_retry(notes), grpc_retry(notes));
        let (timeouts, http_retry, grpc_retry) = notes.map(own).unwrap_or_default();
        Self {
            namespace,
            name,
            port,
            meta,
            egress: None,
            service: None,
            opaque_ports: notes.and_then(|notes| notes.get(OPAQUE_PORTS)).unwrap_or(&model.settings.opaque_ports),
            domain: &model.mesh.domain,
            load: Load::default(),
            accrual: notes.and_then(notes::accrual),
            timeouts,
            http_retry,
            grpc_retry,
        }
    }

    pub(super) fn app_protocol(&self) -> Option<&str> {
        self.service?.spec.ports.iter().find(|declared| declared.port == self.port)?.app_protocol.as_deref()
    }

    pub(super) fn is_opaque(&self) -> bool {
        contains(self.opaque_ports, self.port)
    }

    /// The parent itself as a backend: where what goes to it goes if no route says otherwise.
    pub(super) fn own(&self, usage: Use) -> Arc<Backend> {
        match self.egress {
            Some((_, addr)) => self.forward(addr, usage),
            None => self.balance(self.namespace, self.name, self.port, usage),
        }
    }

    /// The address that was asked for.
    pub(super) fn forward(&self, addr: SocketAddr, usage: Use) -> Arc<Backend> {
        self.backend(self.meta.clone(), Dispatch::Forward(Endpoint::new(addr)), usage)
    }

    /// A Service's port.
    pub(super) fn balance(&self, namespace: &str, name: &str, port: u16, usage: Use) -> Arc<Backend> {
        let path = format!("{name}.{namespace}.svc.{}:{port}", self.domain);
        let load = if usage == Use::Requests { self.load } else { Load::default() };
        self.backend(service_meta(namespace, name, port), Dispatch::Balance { path, load }, usage)
    }

    /// A backend that takes nothing.
    pub(super) fn failing(&self, meta: Meta, usage: Use) -> Arc<Backend> {
        self.backend(meta, Dispatch::Fail, usage)
    }

    fn backend(&self, meta: Meta, dispatch: Dispatch, usage: Use) -> Arc<Backend> {
        let accrual = self.accrual.filter(|_| usage == Use::Requests);
        Arc::new(Backend { meta, dispatch, accrual })
    }
}

pub(super) fn service_meta(namespace: &str, name: &str, port: u16) -> Meta {
    object("core", "Service", namespace, name, port)
}

pub(super) fn egress_meta(namespace: &str, name: &str, port: u16) -> Meta {
    object(GROUP, "EgressNetwork", namespace, name, port)
}

/// What annotations say of timeouts; nothing if they cannot be read.
pub(super) fn timeouts(notes: &Notes) -> Timeouts {
    let told = annotations::timeouts(notes).unwrap_or_default();
    Timeouts { request: told.request, response: told.response, idle: told.idle }
}

/// What annotations say of retries; nothing if they cannot be read.
pub(super) fn http_retry(notes: &Notes) -> Option<Params> {
    let retry = annotations::http_retry(notes).ok().flatten()?;
    let conditions = Conditions { statuses: StatusRanges::new(retry.conditions), codes: CodeSet::EMPTY };
    Some(params(conditions, retry.limit, retry.timeout))
}

/// What annotations say of retries; nothing if they cannot be read.
pub(super) fn grpc_retry(notes: &Notes) -> Option<Params> {
    let retry = annotations::grpc_retry(notes).ok().flatten()?;
    let conditions = Conditions { statuses: StatusRanges::EMPTY, codes: CodeSet::new(retry.conditions) };
    Some(params(conditions, retry.limit, retry.timeout))
}

fn params(conditions: Conditions, limit: u16, timeout: Option<Duration>) -> Params {
    let backoff = Backoff::new(Duration::from_millis(25), Duration::from_millis(250), 1.0).ok();
    Params { max_retries: limit.into(), conditions, per_try_timeout: timeout, backoff, ..Params::DEFAULT }
}

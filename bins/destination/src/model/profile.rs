//! What is known of a destination.

use std::{net::SocketAddr, num::NonZeroU16, sync::Arc};

use meshkit_core::{Endpoint, grpc::Code};
use meshkit_policy::{Meta, Resource};
use meshkit_retry::budget;
use meshkit_wire::{Refused, profile::Profile};

use super::{
    Fault, Model, Reading,
    endpoint::{POD_LABEL, Side, labelled},
    external_name, service_profile,
    view::{Member, Pod, Service, ServiceKind, Slot, State, Target as Behind},
};
use crate::{
    settings::Families,
    target::{Context, Name, Target},
};

/// What a question is about. Questions about one subject share their answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// A port of a Service.
    #[non_exhaustive]
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The port.
        port: u16,
        /// The namespace of the ServiceProfile that counts for the client.
        profile: Option<String>,
    },
    /// A port that a Service does not declare.
    Undeclared,
    /// An address of a Pod.
    #[non_exhaustive]
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The address.
        addr: SocketAddr,
    },
    /// An address of a workload outside.
    #[non_exhaustive]
    Workload {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The address.
        addr: SocketAddr,
    },
    /// An address of which nothing is known.
    Stranger(SocketAddr),
}

impl Model<'_> {
    /// What a client asks about.
    ///
    /// # Errors
    /// The name stands for nothing, or the address for more than one thing.
    pub fn subject(&self, target: &Target, client: &Context) -> Result<Subject, Refused> {
        match target {
            Target::Name(name) if name.instance.is_some() => self.instance(name),
            Target::Name(name) => {
                // The compatible system passes on what its cache said, without a code of its own.
                let missing = || Refused::new(Code::UNKNOWN, format!("service \"{}\" not found", name.service));
                let service = self.view.service(&name.namespace, &name.service).ok_or_else(missing)?;
                self.service(service, name.port, client)
            }
            Target::Addr(addr) => match self.view.services_at(addr.ip()) {
                [] => self.address(*addr),
                [service] => self.service(service, addr.port(), client),
                several => Err(conflict(addr, "Services", several.iter().map(|s| &*s.key.name))),
            },
        }
    }

    /// The profile of a subject.
    ///
    /// # Errors
    /// The ServiceProfile cannot be used; what was in force before should stay in force.
    pub fn profile(&self, subject: &Subject) -> Result<Reading, Fault> {
        let profile = self.plain_profile(subject);
        let Subject::Service { name, namespace, port, profile: Some(of) } = subject else {
            return Ok(Reading { profile, faults: Vec::new() });
        };
        let Some(object) = self.view.profile(of, &self.full_name(namespace, name)) else {
            return Ok(Reading { profile, faults: Vec::new() });
        };
        let meta = resource("linkerd.io", "ServiceProfile", of, &object.metadata.name, None);
        service_profile::read(&object.spec, *port, Profile { object: Some(meta), ..profile })
    }

    /// The profile of a subject without its ServiceProfile.
    #[must_use]
    pub fn plain_profile(&self, subject: &Subject) -> Profile {
        match subject {
            Subject::Undeclared => Profile::default(),
            Subject::Service { namespace, name, port, .. } => Profile {
                name: Some(self.full_name(namespace, name).into()),
                opaque: self.view.service(namespace, name).is_some_and(|service| self.is_service_opaque(service, *port)),
                budget: Some(budget::Params::default()),
                parent: Some(resource("core", "Service", namespace, name, NonZeroU16::new(*port))),
                ..Profile::default()
            },
            Subject::Pod { namespace, name, addr } => match self.view.pods().named(namespace, name) {
                Some((slot, pod)) => {
                    let endpoint = labelled(self.pod_endpoint(slot, pod, *addr, ""), POD_LABEL, name);
                    endpoint_profile(
                        labelled(Side::default().sees(endpoint), "namespace", namespace),
                        self.is_pod_opaque(slot, pod, addr.port()),
                    )
                }
                None => self.stranger(*addr),
            },
            Subject::Workload { namespace, name, addr } => match self.view.workload(namespace, name) {
                Some(workload) => {
                    let endpoint = Side::default().sees(self.workload_endpoint(workload, *addr, ""));
                    endpoint_profile(labelled(endpoint, "namespace", namespace), self.is_workload_opaque(workload, addr.port()))
                }
                None => self.stranger(*addr),
            },
            Subject::Stranger(addr) => self.stranger(*addr),
        }
    }

    fn stranger(&self, addr: SocketAddr) -> Profile {
        endpoint_profile(Endpoint::new(addr), self.settings.default_opaque.contains(addr.port()))
    }

    fn service(&self, service: &Service, port: u16, client: &Context) -> Result<Subject, Refused> {
        if !service.ports.iter().any(|p| p.number == port) {
            return Ok(Subject::Undeclared);
        }
        if service.kind == ServiceKind::External {
            return Err(external_name(service));
        }
        let (name, namespace) = (&*service.key.name, &*service.key.namespace);
        let full = self.full_name(namespace, name);
        // The client's own opinion of a Service comes before that of its owner.
        let profile = [&client.ns, namespace].into_iter().find(|ns| !ns.is_empty() && self.view.profile(ns, &full).is_some());
        Ok(Subject::Service { namespace: namespace.to_owned(), name: name.to_owned(), port, profile: profile.map(str::to_owned) })
    }

    /// An endpoint by its own name below a Service's, whether it is ready or not.
    fn instance(&self, name: &Name) -> Result<Subject, Refused> {
        let missing =
            || Refused::new(Code::NOT_FOUND, format!("no Pod is called {:?} below {}.{}", name.instance, name.service, name.namespace));
        let members = self.view.slices(&name.namespace, &name.service).iter().flat_map(|slice| &slice.endpoints);
        let is_v4_only = self.settings.families == Families::V4;
        let named = |member: &&Member| {
            let is_family = member.ip.is_ipv4() || !is_v4_only;
            is_family && member.hostname.is_some() && member.hostname.as_deref() == name.instance.as_deref()
        };
        let member = members.into_iter().find(named).ok_or_else(missing)?;
        let Behind::Pod(id) = member.target else { return Err(missing()) };
        let (slot, pod) = self.view.pods().get(id).ok_or_else(missing)?;
        Ok(pod_subject(slot, pod, SocketAddr::new(member.ip, name.port)))
    }

    /// What has the address: a Pod, a Pod that shares its node's address, a workload outside, or nothing that is known.
    fn address(&self, addr: SocketAddr) -> Result<Subject, Refused> {
        let own = self.view.pods().at(addr.ip());
        let pods = if own.is_empty() { self.view.pods().at_host(addr) } else { own };
        match pods.as_slice() {
            [] => {}
            [(slot, pod)] => return Ok(pod_subject(slot, pod, addr)),
            several => return Err(conflict(&addr, "Pods", several.iter().map(|(slot, _)| &*slot.name))),
        }
        match self.view.workloads_at(addr) {
            [] => Ok(Subject::Stranger(addr)),
            [workload] => {
                let metadata = &workload.metadata;
                Ok(Subject::Workload { namespace: metadata.namespace.clone(), name: metadata.name.clone(), addr })
            }
            several => Err(conflict(&addr, "ExternalWorkloads", several.iter().map(|w| w.metadata.name.as_str()))),
        }
    }

    fn full_name(&self, namespace: &str, name: &str) -> String {
        format!("{name}.{namespace}.svc.{}", self.mesh.domain)
    }
}

/// A Pod that does not run has an address like any other.
fn pod_subject(slot: &Slot, pod: &Pod, addr: SocketAddr) -> Subject {
    if !matches!(pod.state, State::Running | State::Leaving) {
        return Subject::Stranger(addr);
    }
    Subject::Pod { namespace: slot.namespace.to_string(), name: slot.name.to_string(), addr }
}

fn endpoint_profile(endpoint: Endpoint, opaque: bool) -> Profile {
    Profile { opaque, budget: Some(budget::Params::default()), endpoint: Some(endpoint), ..Profile::default() }
}

fn resource(group: &str, kind: &str, namespace: &str, name: &str, port: Option<NonZeroU16>) -> Meta {
    let [group, kind, namespace, name] = [group, kind, namespace, name].map(str::to_owned);
    Meta::Resource(Arc::new(Resource { group, kind, namespace, name, section: String::new(), port }))
}

fn conflict<'a>(addr: &SocketAddr, kind: &str, names: impl Iterator<Item = &'a str>) -> Refused {
    let names: Vec<_> = names.collect();
    Refused::new(Code::FAILED_PRECONDITION, format!("{kind} {} have the same address {}", names.join(", "), addr.ip()))
}

//! Which endpoints a name has.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    ptr,
    sync::Arc,
};

use meshkit_core::{Endpoint, grpc::Code};
use meshkit_wire::Refused;

use super::{
    EndpointSet, Model, REMOTE_SERVICE,
    endpoint::Side,
    external_name,
    set::Entry,
    view::{Member, Pod, Service, ServiceKind, Site, Slice, Slot, Target, Text},
};
use crate::{
    settings::Families,
    target::{Context, Name},
};

/// What an answer depends on besides the name: clients of one scope share their answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Only endpoints of this node, if the Service keeps calls on their node.
    node: Option<String>,
    /// The client's zone; empty if nobody knows.
    zone: String,
}

/// An endpoint, with what selects it.
struct Candidate<'a> {
    entry: Entry,
    /// The object behind it.
    object: &'a Target,
    /// The node of its Pod.
    node: Option<&'a str>,
    site: &'a Site,
}

/// Facts that hold for all Pods of a workload in one place, by all that they depend on.
type Known = HashMap<(*const str, *const (), *const Site, u16), Arc<Endpoint>>;

impl<'a> Model<'a> {
    /// Can the endpoints of a name be found?
    ///
    /// # Errors
    /// There is no such Service, or it stands for something that this control plane does not see.
    pub fn resolvable(&self, name: &Name) -> Result<(), Refused> {
        self.source(name).map(drop)
    }

    /// The Service that has the endpoints of a name.
    ///
    /// This is where other clusters come in: a Service may be found in one, or be made up of Services of several. None is known here. So the
    /// first kind is refused, and of the second only the member of this cluster counts; `None` if it has none.
    fn source(&self, name: &Name) -> Result<Option<&'a Arc<Service>>, Refused> {
        let missing = || Refused::new(Code::NOT_FOUND, format!("Service {}.{} not found", name.service, name.namespace));
        let service = self.view.service(&name.namespace, &name.service).ok_or_else(missing)?;
        if service.kind == ServiceKind::External {
            return Err(external_name(service));
        }
        let Some(abroad) = service.abroad.as_deref() else { return Ok(Some(service)) };
        if abroad.remote_members.is_some() || abroad.local_member.is_some() {
            let member = abroad.local_member.as_deref().and_then(|member| self.view.service(&name.namespace, member));
            return Ok(member.filter(|member| member.kind != ServiceKind::External));
        }
        match (&abroad.found_in, &abroad.found_as) {
            (None, _) => Ok(Some(service)),
            (Some(_), None) => {
                Err(Refused::new(Code::FAILED_PRECONDITION, format!("Service {} lacks the label {REMOTE_SERVICE}", name.service)))
            }
            (Some(cluster), Some(_)) => Err(Refused::new(Code::NOT_FOUND, format!("Remote cluster not found: {cluster}"))),
        }
    }

    /// Which of a name's answers a client gets.
    #[must_use]
    pub fn scope(&self, name: &Name, client: &Context) -> Scope {
        let is_local = self.source(name).ok().flatten().is_some_and(|service| service.is_local);
        Scope { node: is_local.then(|| client.node_name.clone()), zone: self.view.zone(&client.node_name).to_owned() }
    }

    /// The ready endpoints of a name.
    ///
    /// # Errors
    /// As [`resolvable`](Self::resolvable).
    pub fn endpoints(&self, name: &Name, scope: &Scope) -> Result<EndpointSet, Refused> {
        let Some(service) = self.source(name)? else { return Ok(EndpointSet::default()) };
        let mut known = Known::new();
        let mut found = Vec::new();
        let outside = self.view.external_slices(service);
        for slice in self.view.slices(&service.key.namespace, &service.key.name).iter().chain(&outside) {
            let Some(port) = endpoint_port(service, slice, name.port) else { continue };
            let ready = slice.endpoints.iter().filter(|member| member.is_ready);
            let named = ready.filter(|member| name.instance.is_none() || member.hostname.as_deref() == name.instance.as_deref());
            found.extend(named.filter_map(|member| self.candidate(slice, member, SocketAddr::new(member.ip, port), name.port, &mut known)));
        }
        self.keep_families(&mut found);
        match &scope.node {
            Some(node) => found.retain(|c| c.node.is_some_and(|of| of == node)),
            None => keep_hinted(&mut found, &scope.zone),
        }
        let side = Side { zone: scope.zone.as_str().into(), weights: self.settings.zone_weights };
        Ok(EndpointSet::new(found.into_iter().map(|c| c.entry).collect(), side))
    }

    /// The labels that all endpoints of a Service have.
    #[must_use]
    pub fn set_labels(&self, name: &Name) -> BTreeMap<String, String> {
        let mut labels = vec![("service", name.service.as_str()), ("namespace", name.namespace.as_str())];
        let abroad = self.view.service(&name.namespace, &name.service).and_then(|service| service.abroad.as_deref());
        if let Some((abroad, cluster)) = abroad.and_then(|abroad| Some((abroad, abroad.mirror_of.as_deref()?))) {
            labels.push(("target_cluster", cluster));
            let remote = abroad.remote_name.iter().flat_map(|name| name.split('.'));
            labels.extend(["target_service", "target_service_namespace"].into_iter().zip(remote));
        }
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn candidate<'b>(&self, slice: &'b Slice, member: &'b Member, addr: SocketAddr, port: u16, known: &mut Known) -> Option<Candidate<'b>>
    where
        'a: 'b,
    {
        let (mut node, mut pod_name) = (None, None);
        let zone = member.site.zone.as_deref().unwrap_or_default();
        let facts = match &member.target {
            Target::Nothing => Entry::facts(self.gateway_endpoint(slice.gateway.as_deref(), port, addr)),
            Target::Pod(id) => {
                let (slot, pod) = self.view.pods().get(*id)?;
                node = pod.place.node.as_deref();
                pod_name = Some(Text::clone(&slot.name));
                self.pod_facts(slot, pod, addr, &member.site, known)
            }
            Target::Workload(of) => Entry::facts(self.workload_endpoint(self.view.workload(&of.0, &of.1)?, addr, zone)),
            Target::Unknown => return None,
        };
        Some(Candidate { entry: Entry::new(addr, pod_name, facts), object: &member.target, node, site: &member.site })
    }

    /// What holds for a Pod's endpoint besides its address and name. It is worked out once for each workload, place and port.
    fn pod_facts(&self, slot: &Slot, pod: &Pod, addr: SocketAddr, site: &Arc<Site>, known: &mut Known) -> Arc<Endpoint> {
        let zone = site.zone.as_deref().unwrap_or_default();
        let facts = || Entry::facts(self.pod_endpoint(slot, pod, addr, zone));
        // A Server may select a single one by its labels.
        if pod.template.differs() && self.view.opaque_servers(&slot.namespace).next().is_some() {
            return facts();
        }
        let key = (Arc::as_ptr(&slot.namespace), Arc::as_ptr(&pod.template).cast(), ptr::from_ref(&**site), addr.port());
        Arc::clone(known.entry(key).or_insert_with(facts))
    }

    /// Of what has addresses of both families, the IPv6 one is told.
    fn keep_families(&self, found: &mut Vec<Candidate<'_>>) {
        match self.settings.families {
            Families::V4 => found.retain(|c| c.entry.addr().is_ipv4()),
            Families::Both => {
                let six: HashSet<_> = found.iter().filter(|c| c.entry.addr().is_ipv6()).map(|c| c.object).cloned().collect();
                let is_twin = |c: &Candidate<'_>| *c.object != Target::Nothing && six.contains(c.object);
                found.retain(|c| c.entry.addr().is_ipv6() || !is_twin(c));
            }
        }
    }
}

/// The number of the endpoints' port. A port that the Service does not declare is taken for it.
fn endpoint_port(service: &Service, slice: &Slice, port: u16) -> Option<u16> {
    let declared = || service.ports.iter().filter(|p| p.number == port);
    // DNS and the like declare one number twice.
    match declared().find(|p| p.is_tcp()).or_else(|| declared().next()) {
        Some(wanted) => slice.ports.iter().find(|(name, _)| *name == wanted.name).map(|(_, port)| *port).filter(|port| *port != 0),
        None => Some(port),
    }
}

/// Keeps what is hinted for the client's zone: all or nothing, for hints that are not for everyone would unbalance the load.
fn keep_hinted(found: &mut Vec<Candidate<'_>>, zone: &str) {
    let is_for = |c: &Candidate<'_>| c.site.hints.iter().any(|hint| **hint == *zone);
    if !zone.is_empty() && found.iter().all(|c| !c.site.hints.is_empty()) && found.iter().any(is_for) {
        found.retain(is_for);
    }
}

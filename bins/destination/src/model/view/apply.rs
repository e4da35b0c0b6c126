//! What a change of an object does to the view.

use std::{
    collections::{HashMap, HashSet},
    mem,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use meshkit_manifest::{
    Event, Key, Kind, Object,
    core::{EndpointSlice, Service as ServiceManifest},
    external::ExternalWorkload,
    meta::Metadata,
    policy::{ProxyProtocol, Server},
    profile::ServiceProfile,
};

use super::{Changed, Entry, Namespace, Pod, Pools, Service, ServiceKey, Slice, Text, View, pod};
use crate::model::{SERVICE_NAME, ZONE};

impl View {
    /// Takes in a change of a source that tells only of the objects that `source` names.
    pub fn apply(&mut self, event: Event, source: impl Fn(&Key) -> bool, changed: &mut Changed) {
        match event {
            Event::Applied(object) if source(&object.key()) => self.set(object, changed),
            Event::Deleted(key) if source(&key) => self.remove(&key, changed),
            Event::Applied(_) | Event::Deleted(_) => {}
            Event::Reset(objects) => {
                let mut left: HashSet<_> = self.keys().into_iter().filter(&source).collect();
                for object in objects {
                    let key = object.key();
                    if source(&key) {
                        left.remove(&key);
                        self.set(object, changed);
                    }
                }
                left.iter().for_each(|key| self.remove(key, changed));
            }
        }
        self.touch_unions(changed);
    }

    pub(super) fn set(&mut self, object: Object, changed: &mut Changed) {
        match object {
            Object::Service(service) => self.set_service(&service, changed),
            Object::EndpointSlice(slice) => self.set_slice(&slice, changed),
            Object::Pod(pod) => {
                let read = Pod::read(&pod, &mut self.pools);
                let namespace = self.pools.texts.text(&pod.metadata.namespace);
                self.pods.set(&namespace, &pod.metadata.name, Some(read), changed);
            }
            Object::Node(node) => {
                let zone = node.metadata.labels.get(ZONE).map(String::as_str).filter(|zone| !zone.is_empty());
                self.set_zone(&node.metadata.name, zone, changed);
            }
            Object::ExternalWorkload(workload) => {
                let metadata = workload.metadata.clone();
                self.set_workload(&metadata.namespace, &metadata.name, Some(workload), changed);
            }
            Object::ServiceProfile(profile) => {
                let metadata = profile.metadata.clone();
                self.set_profile(&metadata.namespace, &metadata.name, Some(profile), changed);
            }
            Object::Server(server) => {
                let metadata = server.metadata.clone();
                let is_opaque = server.spec.proxy_protocol == Some(ProxyProtocol::Opaque);
                self.set_server(&metadata.namespace, &metadata.name, is_opaque.then_some(server), changed);
            }
            Object::ReplicaSet(maker) => self.set_maker(Kind::ReplicaSet, &maker.metadata, changed),
            Object::Job(maker) => self.set_maker(Kind::Job, &maker.metadata, changed),
            _ => {}
        }
    }

    fn remove(&mut self, key: &Key, changed: &mut Changed) {
        let Key { kind, namespace, name } = key;
        match kind {
            Kind::Service => self.remove_service(namespace, name, changed),
            Kind::EndpointSlice => self.remove_slice(namespace, name, changed),
            Kind::Pod => {
                let namespace = self.pools.texts.text(namespace);
                self.pods.set(&namespace, name, None, changed);
            }
            Kind::Node => self.set_zone(name, None, changed),
            Kind::ExternalWorkload => self.set_workload(namespace, name, None, changed),
            Kind::ServiceProfile => self.set_profile(namespace, name, None, changed),
            Kind::Server => self.set_server(namespace, name, None, changed),
            Kind::ReplicaSet | Kind::Job => {
                let gone = Metadata { namespace: namespace.clone(), name: name.clone(), ..Metadata::default() };
                self.set_maker(*kind, &gone, changed);
            }
            _ => {}
        }
        self.forget_empty(namespace);
    }

    fn set_service(&mut self, manifest: &ServiceManifest, changed: &mut Changed) {
        let metadata = &manifest.metadata;
        let entry = entry(&mut self.namespaces, &mut self.pools, &metadata.namespace, &metadata.name);
        let next = Service::read(manifest, Arc::clone(&entry.key), &mut self.pools);
        if entry.service.as_deref() == Some(&next) {
            return;
        }
        let next = Arc::new(next);
        let before = entry.service.replace(Arc::clone(&next));
        forget_ips(&mut self.services, before.as_deref());
        for ip in &next.ips {
            let all = self.services.entry(*ip).or_default();
            all.push(Arc::clone(&next));
            all.sort_unstable_by(|a, b| (&a.key.namespace, &a.key.name).cmp(&(&b.key.namespace, &b.key.name)));
        }
        changed.services.insert(Arc::clone(&next.key));
        changed.ips.extend(before.iter().chain([&next]).flat_map(|service| service.ips.iter().copied()));
        if let Some(here) = self.namespaces.get_mut(&next.key.namespace) {
            match next.abroad.as_ref().and_then(|abroad| abroad.local_member.as_ref()) {
                Some(member) => drop(here.unions.insert(Arc::clone(&next.key.name), Arc::clone(member))),
                None => drop(here.unions.remove(&next.key.name)),
            }
        }
    }

    fn remove_service(&mut self, namespace: &str, name: &str, changed: &mut Changed) {
        let Some(entry) = self.namespaces.get_mut(namespace).and_then(|ns| ns.services.get_mut(name)) else { return };
        let (key, before) = (Arc::clone(&entry.key), entry.service.take());
        forget_ips(&mut self.services, before.as_deref());
        let Some(before) = before else { return };
        changed.ips.extend(&before.ips);
        changed.services.insert(Arc::clone(&key));
        if let Some(here) = self.namespaces.get_mut(namespace) {
            here.unions.remove(name);
        }
        self.forget_entry(&key);
    }

    fn set_slice(&mut self, manifest: &EndpointSlice, changed: &mut Changed) {
        let metadata = &manifest.metadata;
        let owner = || metadata.owner_references.iter().find(|o| o.kind == "Service").map(|o| &o.name);
        let Some(service) = metadata.labels.get(SERVICE_NAME).or_else(owner) else {
            return self.remove_slice(&metadata.namespace, &metadata.name, changed);
        };
        let before = self.namespaces.get(&*metadata.namespace).and_then(|ns| ns.slices.get(&*metadata.name));
        if before.is_some_and(|before| **before != **service) {
            self.remove_slice(&metadata.namespace, &metadata.name, changed);
        }
        let entry = entry(&mut self.namespaces, &mut self.pools, &metadata.namespace, service);
        let key = Arc::clone(&entry.key);
        let next = Slice::read(manifest, &key, &mut self.pools, &mut self.pods);
        let released = match entry.slices.binary_search_by(|known| (*known.name).cmp(&metadata.name)) {
            Ok(known) if entry.slices[known] == next => Some(next),
            found => {
                let before = match found {
                    Ok(known) => Some(mem::replace(&mut entry.slices[known], next)),
                    Err(place) => {
                        entry.slices.insert(place, next);
                        None
                    }
                };
                changed.services.insert(Arc::clone(&key));
                before
            }
        };
        if let Some(released) = released {
            released.release(&key, &mut self.pods);
        }
        if let Some(namespace) = self.namespaces.get_mut(&key.namespace) {
            namespace.slices.entry(metadata.name.as_str().into()).or_insert_with(|| Arc::clone(&key.name));
        }
    }

    fn remove_slice(&mut self, namespace: &str, name: &str, changed: &mut Changed) {
        let Some(of) = self.namespaces.get_mut(namespace).and_then(|ns| {
            let service = ns.slices.remove(name)?;
            ns.services.get_mut(&service)
        }) else {
            return;
        };
        let key = Arc::clone(&of.key);
        if let Ok(found) = of.slices.binary_search_by(|known| (*known.name).cmp(name)) {
            of.slices.remove(found).release(&key, &mut self.pods);
        }
        changed.services.insert(Arc::clone(&key));
        self.forget_entry(&key);
    }

    fn set_zone(&mut self, node: &str, zone: Option<&str>, changed: &mut Changed) {
        if self.zones.get(node).map(|zone| &**zone) == zone {
            return;
        }
        let node = self.pools.texts.text(node);
        match zone.map(|zone| self.pools.texts.text(zone)) {
            Some(zone) => self.zones.insert(Arc::clone(&node), zone),
            None => self.zones.remove(&node),
        };
        changed.nodes.insert(node);
    }

    fn set_workload(&mut self, namespace: &str, name: &str, workload: Option<Arc<ExternalWorkload>>, changed: &mut Changed) {
        let before = self.namespaces.get(namespace).and_then(|ns| ns.workloads.get(name)).cloned();
        let is_same = match (&before, &workload) {
            (Some(before), Some(workload)) => is_same_workload(before, workload),
            (None, None) => true,
            _ => false,
        };
        if is_same {
            return;
        }
        for addr in before.iter().flat_map(|workload| workload_addrs(workload)) {
            if let Some(all) = self.workloads.get_mut(&addr) {
                all.retain(|known| known.metadata.namespace != namespace || known.metadata.name != name);
                if all.is_empty() {
                    self.workloads.remove(&addr);
                }
            }
            changed.ips.insert(addr.ip());
        }
        let text = self.pools.texts.text(namespace);
        let here = self.namespaces.entry(text).or_default();
        match workload {
            Some(workload) => {
                for addr in workload_addrs(&workload) {
                    self.workloads.entry(addr).or_default().push(Arc::clone(&workload));
                    changed.ips.insert(addr.ip());
                }
                here.workloads.insert(name.to_owned(), workload);
            }
            None => drop(here.workloads.remove(name)),
        }
        // Any of them may select it.
        changed.services.extend(here.services.values().map(|entry| Arc::clone(&entry.key)));
    }

    fn set_profile(&mut self, namespace: &str, name: &str, profile: Option<Arc<ServiceProfile>>, changed: &mut Changed) {
        let text = self.pools.texts.text(namespace);
        let here = self.namespaces.entry(text).or_default();
        let is_same = here.profiles.get(name).map(|known| &known.spec) == profile.as_ref().map(|profile| &profile.spec);
        match profile {
            Some(profile) => drop(here.profiles.insert(name.to_owned(), profile)),
            None => drop(here.profiles.remove(name)),
        }
        // It is called after the full name of its Service.
        let mut labels = name.split('.');
        let (Some(service), Some(of), false) = (labels.next(), labels.next(), is_same) else { return };
        if let Some(entry) = self.namespaces.get(of).and_then(|ns| ns.services.get(service)) {
            changed.services.insert(Arc::clone(&entry.key));
            changed.ips.extend(entry.service.iter().flat_map(|service| service.ips.iter().copied()));
        }
    }

    fn set_server(&mut self, namespace: &str, name: &str, server: Option<Arc<Server>>, changed: &mut Changed) {
        let text = self.pools.texts.text(namespace);
        let here = self.namespaces.entry(text).or_default();
        if here.opaque.get(name).map(|known| &known.spec) == server.as_ref().map(|server| &server.spec) {
            return;
        }
        match server {
            Some(server) => drop(here.opaque.insert(name.to_owned(), server)),
            None => drop(here.opaque.remove(name)),
        }
        let workloads = here.workloads.values().flat_map(|workload| &workload.spec.workload_ips);
        changed.ips.extend(workloads.map(|w| w.ip));
        if !here.workloads.is_empty() {
            changed.services.extend(here.services.values().map(|entry| Arc::clone(&entry.key)));
        }
        for (id, _, _) in self.pods.iter().filter(|(_, slot, _)| *slot.namespace == *namespace) {
            self.pods.touch(id, changed);
        }
    }

    fn set_maker(&mut self, kind: Kind, metadata: &Metadata, changed: &mut Changed) {
        let owner = pod::owner(metadata).map(|(kind, name)| (self.pools.texts.text(kind), self.pools.texts.text(name)));
        let namespace = self.pools.texts.text(&metadata.namespace);
        let here = self.namespaces.entry(namespace).or_default();
        let key = (kind, Box::from(metadata.name.as_str()));
        if here.makers.get(&key) == owner.as_ref() {
            return;
        }
        match owner {
            Some(owner) => drop(here.makers.insert(key, owner)),
            None => drop(here.makers.remove(&key)),
        }
        let is_its = |owner: &(Text, Text)| *owner.0 == *kind.as_str() && *owner.1 == *metadata.name;
        let its = self
            .pods
            .iter()
            .filter(|(_, slot, pod)| *slot.namespace == *metadata.namespace && pod.template.owner.as_ref().is_some_and(is_its));
        its.for_each(|(id, _, _)| self.pods.touch(id, changed));
    }

    /// A Service that is made up of others changes with them.
    fn touch_unions(&self, changed: &mut Changed) {
        for (namespace, here) in self.namespaces.iter().filter(|(_, here)| !here.unions.is_empty()) {
            for (union, member) in &here.unions {
                let member = ServiceKey { namespace: Arc::clone(namespace), name: Arc::clone(member) };
                if changed.services.contains(&member) {
                    changed.services.extend(here.services.get(union).map(|entry| Arc::clone(&entry.key)));
                }
            }
        }
    }

    /// Every object of which something is kept.
    fn keys(&self) -> Vec<Key> {
        let key = |kind, namespace: &str, name: &str| Key { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        let mut keys: Vec<_> = self.zones.keys().map(|node| key(Kind::Node, "", node)).collect();
        keys.extend(self.pods.iter().map(|(_, slot, _)| key(Kind::Pod, &slot.namespace, &slot.name)));
        for (namespace, here) in &self.namespaces {
            let services = here.services.values().filter(|entry| entry.service.is_some());
            keys.extend(services.map(|entry| key(Kind::Service, namespace, &entry.key.name)));
            keys.extend(here.slices.keys().map(|name| key(Kind::EndpointSlice, namespace, name)));
            keys.extend(here.workloads.keys().map(|name| key(Kind::ExternalWorkload, namespace, name)));
            keys.extend(here.profiles.keys().map(|name| key(Kind::ServiceProfile, namespace, name)));
            keys.extend(here.opaque.keys().map(|name| key(Kind::Server, namespace, name)));
            keys.extend(here.makers.keys().map(|(kind, name)| key(*kind, namespace, name)));
        }
        keys
    }

    /// What slices tell of a Service goes with the last of them.
    fn forget_entry(&mut self, key: &ServiceKey) {
        if let Some(here) = self.namespaces.get_mut(&key.namespace)
            && here.services.get(&key.name).is_some_and(|entry| entry.service.is_none() && entry.slices.is_empty())
        {
            here.services.remove(&key.name);
        }
        self.forget_empty(&key.namespace);
    }

    fn forget_empty(&mut self, namespace: &str) {
        let is_empty = |here: &Namespace| {
            here.services.is_empty()
                && here.slices.is_empty()
                && here.workloads.is_empty()
                && here.profiles.is_empty()
                && here.opaque.is_empty()
                && here.makers.is_empty()
        };
        if self.namespaces.get(namespace).is_some_and(is_empty) {
            self.namespaces.remove(namespace);
        }
    }
}

fn entry<'a>(namespaces: &'a mut HashMap<Text, Namespace>, pools: &mut Pools, namespace: &str, name: &str) -> &'a mut Entry {
    let (namespace, name) = (pools.texts.text(namespace), pools.texts.text(name));
    let here = namespaces.entry(Arc::clone(&namespace)).or_default();
    here.services.entry(Arc::clone(&name)).or_insert_with(|| Entry {
        key: Arc::new(ServiceKey { namespace, name }),
        service: None,
        slices: Vec::new(),
    })
}

fn forget_ips(services: &mut HashMap<IpAddr, Vec<Arc<Service>>>, gone: Option<&Service>) {
    for (ip, gone) in gone.into_iter().flat_map(|gone| gone.ips.iter().map(move |ip| (ip, gone))) {
        if let Some(all) = services.get_mut(ip) {
            all.retain(|known| known.key != gone.key);
            if all.is_empty() {
                services.remove(ip);
            }
        }
    }
}

/// Do all answers take one workload for the other?
fn is_same_workload(one: &ExternalWorkload, other: &ExternalWorkload) -> bool {
    let said = |workload: &ExternalWorkload| {
        let Metadata { labels, annotations, owner_references, .. } = workload.metadata.clone();
        (labels, annotations, owner_references, workload.is_ready())
    };
    one.spec == other.spec && said(one) == said(other)
}

fn workload_addrs(workload: &ExternalWorkload) -> impl Iterator<Item = SocketAddr> {
    let ports = workload.spec.ports.iter().map(|p| p.port);
    ports.flat_map(|port| workload.spec.workload_ips.iter().map(move |w| SocketAddr::new(w.ip, port)))
}

//! Slices for workloads outside the cluster: what Kubernetes writes for Pods, somebody has to write for ExternalWorkloads.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use meshkit_manifest::{
    core::{Conditions, EndpointSlice, Service, ServicePort, SliceEndpoint, SlicePort, TargetRef},
    external::ExternalWorkload,
    meta::{IntOrString, Metadata, OwnerReference},
};

use super::{SERVICE_NAME, ZONE};

/// Says who writes a slice.
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Who writes slices of workloads outside the cluster.
pub(super) const CONTROLLER: &str = "linkerd-external-workloads-controller";
/// Endpoints of a slice.
const MAX_ENDPOINTS: usize = 100;

/// The slices of a Service's workloads outside the cluster. Each slice has addresses of one family and endpoints that have the same ports.
///
/// Only addresses of the Service's own families count, if it names any. A Service has none without a selector, if it is a name outside, or in `kube-system`. A workload that declares none of the Service's ports
/// is left out.
#[must_use]
pub fn slices<'a>(service: &Service, workloads: impl IntoIterator<Item = &'a Arc<ExternalWorkload>>) -> Vec<EndpointSlice> {
    let (spec, metadata) = (&service.spec, &service.metadata);
    if spec.selector.is_empty() || spec.kind.as_deref() == Some("ExternalName") || metadata.namespace == "kube-system" {
        return Vec::new();
    }
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    let is_selected = |workload: &&Arc<ExternalWorkload>| {
        workload.metadata.namespace == metadata.namespace
            && spec.selector.iter().all(|(key, value)| workload.metadata.labels.get(key) == Some(value))
    };
    let is_family =
        |ip: IpAddr| spec.ip_families.is_empty() || spec.ip_families.iter().any(|f| f == if ip.is_ipv6() { "IPv6" } else { "IPv4" });
    let mut groups = BTreeMap::<_, (Vec<SlicePort>, Vec<SliceEndpoint>)>::new();
    for workload in workloads.into_iter().filter(is_selected) {
        let ports: Vec<_> = spec.ports.iter().filter_map(|port| slice_port(workload, port)).collect();
        if ports.is_empty() {
            continue;
        }
        for ip in workload.spec.workload_ips.iter().map(|w| w.ip).filter(|ip| is_family(*ip)) {
            let key = (ip.is_ipv6(), ports.iter().map(|p| (p.name.clone(), p.port)).collect::<Vec<_>>());
            let group = groups.entry(key).or_insert_with(|| (ports.clone(), Vec::new()));
            group.1.push(endpoint(workload, ip, is_headless));
        }
    }
    let groups = groups.into_iter().flat_map(|((is_ipv6, _), (ports, endpoints))| {
        let chunks: Vec<_> = endpoints.chunks(MAX_ENDPOINTS).map(<[_]>::to_vec).collect();
        chunks.into_iter().map(move |endpoints| (is_ipv6, ports.clone(), endpoints))
    });
    let slice = |(index, (is_ipv6, ports, endpoints)): (usize, (bool, _, _))| EndpointSlice {
        metadata: Metadata {
            name: format!("linkerd-external-{}-{index}", metadata.name),
            namespace: metadata.namespace.clone(),
            labels: [(MANAGED_BY, CONTROLLER), (SERVICE_NAME, &metadata.name)].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            owner_references: vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Service".to_owned(),
                name: metadata.name.clone(),
                uid: metadata.uid.clone().unwrap_or_default(),
                controller: Some(true),
            }],
            ..Metadata::default()
        },
        endpoints,
        ports,
        address_type: Some(if is_ipv6 { "IPv6" } else { "IPv4" }.to_owned()),
    };
    groups.enumerate().map(slice).collect()
}

/// One step of keeping slices in step with workloads. Steps may be repeated, and a plan may be cut off after any of them.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums)] // There is nothing else to be done with a slice.
pub enum Write {
    /// The slice is to be so: it is new, or another than it should be.
    Apply(Box<EndpointSlice>),
    /// The slice of this name, in the Service's namespace, is to go.
    Delete(String),
}

/// What is to be written so that a Service's slices are those of its workloads outside, given the slices of its namespace. Slices that somebody
/// else writes are left alone. What is new comes first, so that no endpoint is missing in between.
#[must_use]
pub fn plan<'a>(
    service: &Service,
    workloads: impl IntoIterator<Item = &'a Arc<ExternalWorkload>>,
    present: impl IntoIterator<Item = &'a EndpointSlice>,
) -> Vec<Write> {
    let label = |slice: &EndpointSlice, key: &str, value: &str| slice.metadata.labels.get(key).is_some_and(|known| known == value);
    let is_own = |slice: &&EndpointSlice| label(slice, MANAGED_BY, CONTROLLER) && label(slice, SERVICE_NAME, &service.metadata.name);
    let mut present: BTreeMap<_, _> = present.into_iter().filter(is_own).map(|slice| (slice.metadata.name.as_str(), slice)).collect();
    let is_same = |one: &EndpointSlice, other: &EndpointSlice| {
        (&one.endpoints, &one.ports, &one.address_type) == (&other.endpoints, &other.ports, &other.address_type)
    };
    let wanted = slices(service, workloads);
    let mut writes = Vec::new();
    for slice in wanted {
        if present.remove(slice.metadata.name.as_str()).is_none_or(|known| !is_same(known, &slice)) {
            writes.push(Write::Apply(Box::new(slice)));
        }
    }
    writes.extend(present.into_keys().map(|name| Write::Delete(name.to_owned())));
    writes
}

/// The workload's port that a Service's port leads to, by number or name, and protocol.
fn slice_port(workload: &ExternalWorkload, port: &ServicePort) -> Option<SlicePort> {
    let protocol = |p: &Option<String>| p.as_deref().unwrap_or("TCP").to_owned();
    let same = |number: &i64, declared: u16| i64::from(declared) == *number;
    let mut declared = workload.spec.ports.iter().filter(|d| protocol(&d.protocol) == protocol(&port.protocol));
    let found = declared.find(|d| match &port.target_port {
        Some(IntOrString::String(name)) => d.name == *name,
        Some(IntOrString::Int(number)) if *number != 0 => same(number, d.port),
        _ => d.port == port.port,
    })?;
    let app_protocol = port.app_protocol.clone();
    Some(SlicePort { name: port.name.clone(), port: found.port, protocol: Some(protocol(&port.protocol)), app_protocol })
}

fn endpoint(workload: &ExternalWorkload, ip: IpAddr, is_headless: bool) -> SliceEndpoint {
    let metadata = &workload.metadata;
    SliceEndpoint {
        addresses: vec![ip],
        conditions: Conditions { ready: Some(workload.is_ready()), ..Conditions::default() },
        hostname: is_headless.then(|| metadata.name.clone()),
        target_ref: Some(TargetRef {
            kind: "ExternalWorkload".to_owned(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
        }),
        zone: metadata.labels.get(ZONE).cloned(),
        ..SliceEndpoint::default()
    }
}

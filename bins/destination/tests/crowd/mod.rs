//! A cluster of many Services, each with many endpoints and their Pods, as an API server tells of it.

use std::{net::IpAddr, path::Path, sync::Arc};

use meshkit_destination::Mesh;
use meshkit_manifest::{
    Event, Manifest, Object,
    core::{EndpointSlice, Plain, Pod, Service, SliceEndpoint, TargetRef, Workload},
};

/// One Service with its ReplicaSet, a Pod as the injector leaves it, and a slice.
const ONE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: crowd, uid: 5f1c64d0-6c6f-4b6b-9a51-0f6f5ad0f6a1, resourceVersion: '1', labels: {app: web}}
spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], type: ClusterIP, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http, protocol: TCP}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-5d8f7c9b6d, namespace: crowd, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: u, controller: true}]}
spec: {template: {}}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-5d8f7c9b6d-abcde
  namespace: crowd
  uid: 0e4b5b7e-3c30-4a39-8f42-6a6d0d3b9e0f
  resourceVersion: '2'
  creationTimestamp: '2026-01-01T00:00:00Z'
  labels: {app: web, pod-template-hash: 5d8f7c9b6d, linkerd.io/control-plane-ns: linkerd, linkerd.io/proxy-deployment: web, linkerd.io/workload-ns: crowd}
  annotations: {linkerd.io/inject: enabled, linkerd.io/proxy-version: '1', linkerd.io/trust-root-sha256: 1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f5a6b7c8d9e0f1a2b}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d8f7c9b6d, uid: u, controller: true}]
spec:
  serviceAccountName: web
  nodeName: node-1
  initContainers:
  - name: linkerd-proxy
    restartPolicy: Always
    image: proxy
    ports: [{name: linkerd-proxy, containerPort: 4143}, {name: linkerd-admin, containerPort: 4191}]
    env: [{name: LINKERD2_PROXY_INBOUND_LISTEN_ADDR, value: '0.0.0.0:4143'}, {name: LINKERD2_PROXY_ADMIN_LISTEN_ADDR, value: '0.0.0.0:4191'}]
  containers: [{name: web, image: web, args: [serve], ports: [{name: http, containerPort: 8080, protocol: TCP}]}]
status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}], hostIP: 172.18.0.1, phase: Running, conditions: [{type: Ready, status: 'True'}, {type: PodScheduled, status: 'True'}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x7k2p, namespace: crowd, resourceVersion: '3', labels: {kubernetes.io/service-name: web, endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io}, ownerReferences: [{apiVersion: v1, kind: Service, name: web, uid: u, controller: true}]}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: []
";

/// Where nodes stand.
const ZONES: [&str; 3] = ["east", "west", "south"];

/// Makes the objects.
pub(crate) struct Crowd {
    service: Service,
    maker: Workload,
    pod: Pod,
    slice: EndpointSlice,
    /// How many endpoints each Service has.
    pub(crate) endpoints: u16,
}

/// Where the control plane is.
pub(crate) fn mesh() -> Mesh {
    Mesh { namespace: "linkerd".to_owned(), domain: "cluster.local".to_owned(), trust_domain: "cluster.local".to_owned() }
}

/// What a proxy asks for.
pub(crate) fn path(service: u16) -> String {
    format!("web-{service}.crowd.svc.cluster.local:80")
}

impl Crowd {
    pub(crate) fn new(endpoints: u16) -> Self {
        let objects = Manifest::parse(Path::new("crowd.yaml"), ONE).unwrap().objects;
        let [Object::Service(service), Object::ReplicaSet(maker), Object::Pod(pod), Object::EndpointSlice(slice)] =
            <[Object; 4]>::try_from(objects).unwrap()
        else {
            panic!("other objects than expected");
        };
        let (service, maker, pod, slice) =
            (Arc::unwrap_or_clone(service), Arc::unwrap_or_clone(maker), Arc::unwrap_or_clone(pod), Arc::unwrap_or_clone(slice));
        Self { service, maker, pod, slice, endpoints }
    }

    /// A Service with its ReplicaSet, Pods and slice, one after the other.
    pub(crate) fn service(&self, number: u16, generation: u16) -> impl Iterator<Item = Event> {
        let name = format!("web-{number}");
        let mut service = self.service.clone();
        service.metadata.name = name.clone();
        service.metadata.labels.insert("app".to_owned(), name.clone());
        service.spec.selector.insert("app".to_owned(), name.clone());
        let ip = IpAddr::from([10, 96, number.to_be_bytes()[0], number.to_be_bytes()[1]]).to_string();
        (service.spec.cluster_ip, service.spec.cluster_ips) = (Some(ip.clone()), vec![ip]);
        let mut maker = self.maker.clone();
        maker.metadata.name = format!("{name}-5d8f7c9b6d");
        maker.metadata.owner_references[0].name = name;
        let pods = (0..self.endpoints).map(move |endpoint| self.pod(number, endpoint, generation));
        let first = [Object::Service(Arc::new(service)), Object::ReplicaSet(Arc::new(maker))].map(Event::Applied);
        first.into_iter().chain(pods).chain([self.slice(number, self.endpoints, generation)])
    }

    /// A node, in one of three zones.
    #[allow(dead_code)] // Not all who share this module have nodes.
    pub(crate) fn node(number: u16) -> Event {
        let mut node = Plain::default();
        node.metadata.name = format!("node-{number}");
        node.metadata.labels.insert("topology.kubernetes.io/zone".to_owned(), ZONES[usize::from(number % 3)].to_owned());
        Event::Applied(Object::Node(Arc::new(node)))
    }

    /// One Pod of a Service. Those of another generation have other names and addresses.
    pub(crate) fn pod(&self, service: u16, endpoint: u16, generation: u16) -> Event {
        let mut pod = self.pod.clone();
        let ip = ip(service, endpoint, generation);
        pod.metadata.name = pod_name(service, endpoint, generation);
        for key in ["app", "linkerd.io/proxy-deployment"] {
            pod.metadata.labels.insert(key.to_owned(), format!("web-{service}"));
        }
        pod.metadata.owner_references[0].name = format!("web-{service}-5d8f7c9b6d");
        let node = endpoint % 3;
        pod.spec.node_name = Some(format!("node-{node}"));
        (pod.status.pod_ip, pod.status.pod_ips[0].ip) = (Some(ip), ip);
        pod.status.host_ip = Some(IpAddr::from([172, 18, 0, node.to_be_bytes()[1]]));
        Event::Applied(Object::Pod(Arc::new(pod)))
    }

    /// The slice of a Service, with so many endpoints.
    pub(crate) fn slice(&self, service: u16, endpoints: u16, generation: u16) -> Event {
        let mut slice = self.slice.clone();
        slice.metadata.name = format!("web-{service}-x7k2p");
        slice.metadata.labels.insert("kubernetes.io/service-name".to_owned(), format!("web-{service}"));
        let endpoint = |endpoint| {
            let target = TargetRef { kind: "Pod".to_owned(), namespace: "crowd".to_owned(), name: pod_name(service, endpoint, generation) };
            let zone = Some(ZONES[usize::from(endpoint % 3)].to_owned());
            let node_name = Some(format!("node-{}", endpoint % 3));
            SliceEndpoint {
                addresses: vec![ip(service, endpoint, generation)],
                target_ref: Some(target),
                zone,
                node_name,
                ..SliceEndpoint::default()
            }
        };
        slice.endpoints = (0..endpoints).map(endpoint).collect();
        Event::Applied(Object::EndpointSlice(Arc::new(slice)))
    }
}

pub(crate) fn pod_name(service: u16, endpoint: u16, generation: u16) -> String {
    format!("web-{service}-5d8f7c9b6d-{:05x}", u32::from(generation) << 10 | u32::from(endpoint))
}

fn ip(service: u16, endpoint: u16, generation: u16) -> IpAddr {
    let number = (u32::from(generation % 16) << 20) + u32::from(service) * 256 + u32::from(endpoint);
    IpAddr::from((0x0a00_0000 + number).to_be_bytes())
}

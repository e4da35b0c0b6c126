//! Planned trouble, from the annotations `fault.mesh/*` of routes, Services and Servers.

use std::sync::Arc;

use meshkit_core::{Authority, grpc::Code};
use meshkit_fault::Faults;
use meshkit_manifest::{Cluster, Object, core::Service, meta::Metadata};
use meshkit_policy::Resource;
use meshkit_wire::{Refused, extension::FaultPlan, outbound::Target};

use crate::{
    inbound::{self, Workload},
    outbound,
};

/// The faults of what a workload sends to a destination: each route has its own, or else those of its Service. An address outside of the
/// cluster has none.
///
/// # Errors
/// There is no such destination, or its name is malformed.
pub fn outbound(cluster: &Cluster, source: &Workload, target: &Target) -> Result<FaultPlan, Refused> {
    let (service, port) = match target {
        Target::Authority(text) => {
            let authority = Authority::parse(text, 80).map_err(|e| Refused::new(Code::INVALID_ARGUMENT, e.to_string()))?;
            (outbound::named_service(cluster, &authority)?, authority.port())
        }
        Target::Addr(addr) => match outbound::addressed_service(cluster, addr.ip()) {
            Some(service) => (service, addr.port()),
            None => return Ok(FaultPlan::default()),
        },
    };
    Ok(FaultPlan::new(of_routes(cluster, source, service, port), read(&service.metadata)))
}

/// The faults of what comes to a workload's port: each route has its own, or else those of the port's Server.
///
/// # Errors
/// There is no such workload.
pub fn inbound(cluster: &Cluster, workload: &Workload, port: u16) -> Result<FaultPlan, Refused> {
    let pod = inbound::pod(cluster, workload)?;
    let Some(server) = inbound::server(cluster, pod, port) else { return Ok(FaultPlan::default()) };
    let routes = cluster.objects().filter_map(|object| {
        let (group, kind, metadata, parents) = route(object)?;
        let meant = metadata.namespace == server.metadata.namespace
            && parents.iter().any(|parent| parent.kind.as_deref() == Some("Server") && parent.name == server.metadata.name);
        meant.then(|| own(group, kind, metadata)).flatten()
    });
    Ok(FaultPlan::new(routes.collect(), read(&server.metadata)))
}

fn of_routes(cluster: &Cluster, source: &Workload, service: &Service, port: u16) -> Vec<(Arc<Resource>, Faults)> {
    let routes = cluster.objects().filter_map(|object| {
        let (group, kind, metadata, parents) = route(object)?;
        outbound::applies(metadata, parents, source, &service.metadata, port).then(|| own(group, kind, metadata)).flatten()
    });
    routes.collect()
}

type Found<'a> = (&'static str, &'static str, &'a Metadata, &'a [meshkit_manifest::route::ParentRef]);

fn route(object: &Object) -> Option<Found<'_>> {
    const GATEWAY: &str = "gateway.networking.k8s.io";
    Some(match object {
        Object::HTTPRoute(route) => (GATEWAY, "HTTPRoute", &route.metadata, &route.spec.parent_refs),
        Object::PolicyHTTPRoute(route) => ("policy.linkerd.io", "HTTPRoute", &route.metadata, &route.spec.parent_refs),
        Object::GRPCRoute(route) => (GATEWAY, "GRPCRoute", &route.metadata, &route.spec.parent_refs),
        _ => return None,
    })
}

/// The faults of a route that has any.
fn own(group: &str, kind: &str, metadata: &Metadata) -> Option<(Arc<Resource>, Faults)> {
    let faults = read(metadata);
    let text = |text: &str| text.to_owned();
    let resource = Resource {
        group: text(group),
        kind: text(kind),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        ..Resource::default()
    };
    (!faults.is_empty()).then(|| (Arc::new(resource), faults))
}

/// What the annotations say; one that cannot be read was refused at the door, and means nothing here.
fn read(metadata: &Metadata) -> Faults {
    Faults::from_annotations(|key| metadata.annotations.get(key).map(String::as_str)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use meshkit_fault::{Delay, Fault, Kind};
    use meshkit_manifest::{Event, Manifest};
    use meshkit_policy::Meta;

    use super::*;

    const CLUSTER: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ns, annotations: {fault.mesh/delay: 5ms}}
spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: slow, namespace: ns, annotations: {fault.mesh/delay: 300ms}}
spec: {parentRefs: [{kind: Service, group: "", name: web, port: 80}], rules: [{}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: plain, namespace: ns}
spec: {parentRefs: [{kind: Service, group: "", name: web, port: 80}], rules: [{}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: ns, labels: {app: web}}
spec: {containers: [{name: web, ports: [{containerPort: 8080}]}]}
status: {podIP: 10.1.0.1}
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web, namespace: ns, annotations: {fault.mesh/abort: "503 10%"}}
spec: {podSelector: {matchLabels: {app: web}}, port: 8080}
"#;

    fn cluster() -> Cluster {
        let mut cluster = Cluster::default();
        for object in Manifest::parse(Path::new("cluster.yaml"), CLUSTER).unwrap().objects {
            cluster.apply(Event::Applied(object), |_| true);
        }
        cluster
    }

    fn workload() -> Workload {
        Workload { ns: "ns".to_owned(), pod: "web-1".to_owned() }
    }

    fn delay(millis: u64) -> Faults {
        Fault::new(Kind::Delay(Delay::Fixed(Duration::from_millis(millis)))).into()
    }

    fn http(name: &str) -> Meta {
        let group = "gateway.networking.k8s.io".to_owned();
        let (kind, namespace) = ("HTTPRoute".to_owned(), "ns".to_owned());
        Meta::Resource(Arc::new(Resource { group, kind, namespace, name: name.to_owned(), ..Resource::default() }))
    }

    #[test]
    fn a_route_has_its_own_faults_or_those_of_its_service() {
        let plan = outbound(&cluster(), &workload(), &Target::Addr("10.0.0.1:80".parse().unwrap())).unwrap();
        assert_eq!(plan.of(&http("slow")), &delay(300));
        assert_eq!(plan.of(&http("plain")), &delay(5));
        assert_eq!(plan.of(&Meta::builtin("http")), &delay(5));
        let by_name = outbound(&cluster(), &workload(), &Target::Authority("web.ns.svc.cluster.local:80".to_owned())).unwrap();
        assert_eq!(by_name, plan);
    }

    #[test]
    fn a_server_has_faults_for_its_port_only() {
        let plan = inbound(&cluster(), &workload(), 8080).unwrap();
        assert_eq!(plan.of(&Meta::builtin("default")).len(), 1);
        assert!(inbound(&cluster(), &workload(), 8081).unwrap().is_empty());
        let stranger = Workload { ns: "ns".to_owned(), pod: "nobody".to_owned() };
        assert!(inbound(&cluster(), &stranger, 8080).is_err());
    }

    #[test]
    fn an_address_outside_of_the_cluster_has_none() {
        let plan = outbound(&cluster(), &workload(), &Target::Addr("192.0.2.1:80".parse().unwrap())).unwrap();
        assert!(plan.is_empty());
    }
}

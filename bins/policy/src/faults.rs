//! Planned trouble, from the annotations `fault.mesh/*` of routes, Services and Servers.

use std::sync::Arc;

use meshkit_fault::Faults;
use meshkit_manifest::meta::Metadata;
use meshkit_policy::Resource;
use meshkit_wire::extension::FaultPlan;

use crate::{
    inbound::Port,
    model::Model,
    outbound::{Destination, Subject},
    view::Route,
};

impl Model<'_> {
    /// The faults of what goes to a destination: each route has its own, or else those of its Service. Other destinations have none.
    #[must_use]
    pub fn outbound_faults(&self, subject: &Subject) -> FaultPlan {
        let Destination::Service { namespace, name, .. } = &subject.destination else { return FaultPlan::default() };
        let routes = self.routes(subject).into_iter().filter_map(own).collect();
        let service = self.view.cluster().service(namespace, name);
        FaultPlan::new(routes, service.map(|service| read(&service.metadata)).unwrap_or_default())
    }

    /// The faults of what comes to a port: each route has its own, or else those of the port's Server. A port without a Server has none.
    #[must_use]
    pub fn inbound_faults(&self, port: &Port) -> FaultPlan {
        let Some(server) = port.server().and_then(|name| self.view.server(port.namespace(), name)) else { return FaultPlan::default() };
        FaultPlan::new(self.server_routes(server).filter_map(own).collect(), read(&server.metadata))
    }
}

/// The faults of a route that has any. Connections that are not looked at have none.
fn own(route: &Route) -> Option<(Arc<Resource>, Faults)> {
    if matches!(route, Route::Tls(_) | Route::Tcp(_)) {
        return None;
    }
    let faults = read(route.metadata());
    (!faults.is_empty()).then(|| (Arc::new(route.resource()), faults))
}

/// What the annotations say; one that cannot be read was refused at the door, and means nothing here.
fn read(metadata: &Metadata) -> Faults {
    Faults::from_annotations(|key| metadata.annotations.get(key).map(String::as_str)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshkit_core::grpc::Code;
    use meshkit_fault::{Delay, Fault, Kind};
    use meshkit_policy::Meta;

    use super::*;
    use crate::{fixture::World, workload::Workload};

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

    fn outbound(target: &str) -> FaultPlan {
        let world = World::new(CLUSTER);
        let subject = world.subject("ns", target).unwrap();
        world.model().outbound_faults(&subject)
    }

    fn inbound(pod: &str, port: u16) -> Result<FaultPlan, Code> {
        let world = World::new(CLUSTER);
        let port = world.model().port(&Workload::pod("ns", pod), port).map_err(|refused| refused.code())?;
        Ok(world.model().inbound_faults(&port))
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
        let plan = outbound("10.0.0.1:80");
        assert_eq!(plan.of(&http("slow")), &delay(300));
        assert_eq!(plan.of(&http("plain")), &delay(5));
        assert_eq!(plan.of(&Meta::builtin("http")), &delay(5));
        assert_eq!(outbound("web.ns.svc.cluster.local:80"), plan);
    }

    #[test]
    fn a_server_has_faults_for_its_port_only() {
        assert_eq!(inbound("web-1", 8080).unwrap().of(&Meta::builtin("default")).len(), 1);
        assert!(inbound("web-1", 8081).unwrap().is_empty());
        assert_eq!(inbound("nobody", 8080).unwrap_err(), Code::NOT_FOUND);
    }

    #[test]
    fn what_is_not_there_has_no_faults() {
        for target in ["192.0.2.1:80", "10.0.0.1:81", "gone.ns.svc.cluster.local:80"] {
            assert!(outbound(target).is_empty(), "{target}");
        }
    }
}

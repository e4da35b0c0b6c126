use meshkit_core::{ProtocolHint, grpc::Code};
use meshkit_manifest::{
    Object,
    core::{EndpointSlice, Service},
};

use crate::{
    fixture::{World, objects},
    model::external::{self, Write},
};

const OUTSIDE: &str = "
apiVersion: v1
kind: Service
metadata: {name: vm, namespace: ns}
spec: {selector: {app: vm}, ports: [{name: http, port: 80, targetPort: web}, {name: db, port: 5432}]}
---
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm-1, namespace: ns, labels: {app: vm, topology.kubernetes.io/zone: east}}
spec:
  meshTLS: {identity: 'spiffe://td.local/vm-1', serverName: vm-1.td.local}
  ports: [{name: web, port: 8080}, {name: db, port: 5432}, {name: linkerd-proxy, port: 5143}]
  workloadIPs: [{ip: 192.0.2.1}, {ip: 'fd00::1'}]
status: {conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm-2, namespace: ns, labels: {app: vm}}
spec: {meshTLS: {identity: vm-2.td.local, serverName: vm-2.td.local}, ports: [{name: web, port: 8081}], workloadIPs: [{ip: 192.0.2.2}]}
status: {conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm-3, namespace: ns, labels: {app: vm}}
spec: {meshTLS: {identity: vm-3.td.local, serverName: vm-3.td.local}, ports: [{name: web, port: 8080}], workloadIPs: [{ip: 192.0.2.3}]}
---
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm-4, namespace: other, labels: {app: vm}}
spec: {meshTLS: {identity: vm-4.td.local, serverName: vm-4.td.local}, ports: [{name: web, port: 8080}], workloadIPs: [{ip: 192.0.2.4}]}
status: {conditions: [{type: Ready, status: 'True'}]}
";

#[test]
fn a_service_selects_ready_workloads_outside_by_their_ports() {
    let world = World::new(OUTSIDE);
    let all = world.endpoints("vm.ns.svc.cluster.local:80", "").unwrap();
    assert_eq!(all.iter().map(|e| e.addr.to_string()).collect::<Vec<_>>(), ["192.0.2.2:8081", "[fd00::1]:8080"]);
    assert_eq!(world.addrs("vm.ns.svc.cluster.local:5432", ""), ["[fd00::1]:5432"], "only one declares the port");
    let vm = &all[1];
    let tls = vm.tls.as_ref().unwrap();
    assert_eq!((tls.identity.as_str(), &*tls.server_name), ("spiffe://td.local/vm-1", "vm-1.td.local"));
    assert_eq!((vm.protocol, vm.tagged_port.unwrap().get()), (ProtocolHint::Http2, 5143));
    let expected = [("external_workload", "vm-1"), ("zone", "east"), ("zone_locality", "unknown")];
    assert!(vm.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected), "{:?}", vm.labels);
    assert_eq!(all[0].tagged_port.unwrap().get(), 4143, "unless the workload says otherwise");
}

#[test]
fn a_workload_outside_is_found_by_address_and_port() {
    let world = World::new(&format!(
        "{OUTSIDE}---
{{apiVersion: policy.linkerd.io/v1beta3, kind: Server, metadata: {{name: vm, namespace: ns}}, spec: {{externalWorkloadSelector: {{matchLabels: {{app: vm}}}}, port: web, proxyProtocol: opaque}}}}
---
{{apiVersion: workload.linkerd.io/v1beta1, kind: ExternalWorkload, metadata: {{name: twin, namespace: ns}}, spec: {{meshTLS: {{identity: x.y, serverName: x.y}}, ports: [{{port: 8081}}], workloadIPs: [{{ip: 192.0.2.2}}]}}}}
"
    ));
    let profile = world.profile("192.0.2.3:8080", "");
    assert!(profile.opaque, "a Server says so");
    let endpoint = profile.endpoint.unwrap();
    assert_eq!((endpoint.labels["external_workload"].as_str(), endpoint.labels["namespace"].as_str()), ("vm-3", "ns"));
    assert_eq!(endpoint.protocol, ProtocolHint::Opaque);
    assert!(world.profile("192.0.2.3:22", "").endpoint.unwrap().tls.is_none(), "a port that is not declared is a stranger's");
    assert_eq!(world.reading("192.0.2.2:8081", "").unwrap_err(), Code::FAILED_PRECONDITION);
}

#[test]
fn slices_have_one_family_one_list_of_ports_and_a_hundred_endpoints() {
    let all = objects(OUTSIDE);
    let service = all.iter().find_map(|o| if let Object::Service(s) = o { Some((**s).clone()) } else { None }).unwrap();
    let workloads: Vec<_> = all.iter().filter_map(|o| if let Object::ExternalWorkload(w) = o { Some(w) } else { None }).collect();
    let slices = external::slices(&service, workloads.iter().copied());
    let shape: Vec<_> = slices.iter().map(|s| (s.address_type.as_deref().unwrap(), s.ports.len(), s.endpoints.len())).collect();
    assert_eq!(shape, [("IPv4", 1, 1), ("IPv4", 2, 1), ("IPv4", 1, 1), ("IPv6", 2, 1)].map(|s| s), "{slices:#?}");
    let many = std::iter::repeat_n(workloads[1], 250);
    assert_eq!(external::slices(&service, many).iter().map(|s| s.endpoints.len()).collect::<Vec<_>>(), [100, 100, 50]);
    assert_eq!(slices[0].endpoints[0].hostname, None);
    let mut headless = service.clone();
    headless.spec.cluster_ip = Some("None".to_owned());
    assert!(external::slices(&headless, workloads.iter().copied())[0].endpoints[0].hostname.is_some());
    let mut four = service.clone();
    four.spec.ip_families = vec!["IPv4".to_owned()];
    let shape: Vec<_> = external::slices(&four, workloads.iter().copied()).into_iter().map(|s| s.address_type.unwrap()).collect();
    assert_eq!(shape, ["IPv4", "IPv4", "IPv4"], "the Service has one family");
    let spoils: [fn(&mut Service); 3] = [
        |s| s.spec.selector.clear(),
        |s| s.spec.kind = Some("ExternalName".to_owned()),
        |s| s.metadata.namespace = "kube-system".to_owned(),
    ];
    for spoil in spoils {
        let mut spoilt = service.clone();
        spoil(&mut spoilt);
        assert_eq!(external::slices(&spoilt, workloads.iter().copied()), []);
    }
}

#[test]
fn slices_that_a_controller_wrote_are_taken_as_they_are() {
    let written = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: linkerd-external-vm-x, namespace: ns, labels: {kubernetes.io/service-name: vm, endpointslice.kubernetes.io/managed-by: linkerd-external-workloads-controller}}
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [192.0.2.3], targetRef: {kind: ExternalWorkload, namespace: ns, name: vm-3}}]
";
    assert_eq!(World::new(&format!("{OUTSIDE}---{written}")).addrs("vm.ns.svc.cluster.local:80", ""), ["192.0.2.3:8080"]);
}

#[test]
fn a_plan_leads_from_any_slices_to_those_that_should_be_and_then_there_is_none() {
    let all = objects(OUTSIDE);
    let service = all.iter().find_map(|o| if let Object::Service(s) = o { Some(Service::clone(s)) } else { None }).unwrap();
    let workloads: Vec<_> = all.iter().filter_map(|o| if let Object::ExternalWorkload(w) = o { Some(w) } else { None }).collect();
    let plan = |present: &[EndpointSlice], count: usize| external::plan(&service, workloads[..count].iter().copied(), present);
    let follow = |mut present: Vec<EndpointSlice>, writes: Vec<Write>| {
        for write in writes {
            match write {
                Write::Apply(slice) => {
                    present.retain(|known| known.metadata.name != slice.metadata.name);
                    present.push(*slice);
                }
                Write::Delete(name) => present.retain(|known| known.metadata.name != name),
            }
        }
        present.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        present
    };
    let mut strange = external::slices(&service, workloads.iter().copied()).remove(0);
    strange.metadata.name = "linkerd-external-vm-x7k2p".to_owned();
    let mut foreign = strange.clone();
    foreign.metadata.name = "vm-abcde".to_owned();
    foreign.metadata.labels.insert("endpointslice.kubernetes.io/managed-by".to_owned(), "endpointslice-controller.k8s.io".to_owned());
    let mut present = vec![strange, foreign.clone()];
    for count in [3, 1, 2, 0] {
        present = follow(present.clone(), plan(&present, count));
        let mut wanted = external::slices(&service, workloads[..count].iter().copied());
        wanted.push(foreign.clone());
        assert_eq!(present, wanted, "with {count} workloads");
        assert_eq!(plan(&present, count), [], "what is so already is not written");
    }
}

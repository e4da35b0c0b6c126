use crate::{
    fixture::{World, objects, unchecked},
    remark::Remark,
    workload::Workload,
};

const POD: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: web-1, namespace: ns, labels: {app: web}}, spec: {containers: []}}
---
{apiVersion: policy.linkerd.io/v1beta3, kind: Server, metadata: {name: web-http, namespace: ns}, spec: {podSelector: {}, port: 8080}}
";

const SERVICE: &str =
    "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: ns}, spec: {clusterIP: 10.96.0.7, ports: [{port: 80}]}}";

fn told(remarks: Vec<Remark>) -> Vec<String> {
    remarks.iter().map(|remark| format!("{}: {}", remark.object(), remark.why())).collect()
}

fn inbound(more: &str) -> Vec<String> {
    let world = World::new(&format!("{POD}---\n{more}"));
    told(world.model().inbound_remarks(&world.model().port(&Workload::pod("ns", "web-1"), 8080).unwrap()))
}

fn outbound(annotations: &str, more: &str) -> Vec<String> {
    let service = SERVICE.replace("namespace: ns", &format!("namespace: ns, annotations: {{{annotations}}}"));
    let world = World::new(&format!("{service}\n---\n{more}"));
    told(world.model().outbound_remarks(&world.subject("ns", "10.96.0.7:80").unwrap()))
}

/// There is one remark, and it has these words in it.
fn says(remarks: &[String], words: &[&str]) {
    let [remark] = remarks else { panic!("{remarks:#?}") };
    for word in words {
        assert!(remark.contains(word), "{word:?} is not in {remark}");
    }
}

#[test]
fn nothing_is_said_of_what_is_sound() {
    assert_eq!(inbound(""), <[&str; 0]>::default());
    assert_eq!(outbound("timeout.linkerd.io/request: 1s, balancer.linkerd.io/failure-accrual: consecutive", ""), <[&str; 0]>::default());
}

#[test]
fn policies_that_permit_nobody_are_named_with_the_reason() {
    let policy = |references: &str| {
        format!(
            "{{apiVersion: policy.linkerd.io/v1alpha1, kind: AuthorizationPolicy, metadata: {{name: who, namespace: ns}}, spec: {{targetRef: \
             {{group: policy.linkerd.io, kind: Server, name: web-http}}, requiredAuthenticationRefs: [{references}]}}}}"
        )
    };
    let mesh = "{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: web, namespace: far}";
    says(&inbound(&policy(mesh)), &["AuthorizationPolicy ns/who", "MeshTLSAuthentication far/web does not exist"]);
    let network = "{group: policy.linkerd.io, kind: NetworkAuthentication, name: near}";
    says(&inbound(&policy(network)), &["NetworkAuthentication ns/near does not exist"]);
    let saz = "{apiVersion: policy.linkerd.io/v1beta1, kind: ServerAuthorization, metadata: {name: saz, namespace: ns}, spec: {server: {name: web-http}, client: {}}}";
    says(&inbound(saz), &["ServerAuthorization ns/saz", "neither unauthenticated nor meshTLS"]);
}

#[test]
fn hidden_servers_and_unknown_defaults_are_named() {
    let younger = "{apiVersion: policy.linkerd.io/v1beta3, kind: Server, metadata: {name: z-other, namespace: ns}, spec: {podSelector: {}, port: 8080}}";
    says(&inbound(younger), &["Server ns/z-other", "Server web-http selects the same port"]);
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: it, namespace: ns, annotations: {config.linkerd.io/default-inbound-policy: everybody}}, spec: {containers: []}}";
    let world = World::new(pod);
    let port = world.model().port(&Workload::pod("ns", "it"), 80).unwrap();
    says(
        &told(world.model().inbound_remarks(&port)),
        &["Namespace ns", "\"everybody\" is not a default policy", "all-unauthenticated stands in"],
    );
    let server = serde_json::json!({
        "apiVersion": "policy.linkerd.io/v1beta3",
        "kind": "Server",
        "metadata": {"name": "web-http", "namespace": "ns"},
        "spec": {"podSelector": {}, "port": 8080, "accessPolicy": "everybody"},
    });
    let mut all = objects(POD);
    all.retain(|object| object.metadata().name != "web-http");
    all.push(unchecked(server));
    let world = World::of(all);
    let port = world.model().port(&Workload::pod("ns", "web-1"), 8080).unwrap();
    says(&told(world.model().inbound_remarks(&port)), &["Server ns/web-http: accessPolicy: \"everybody\""]);
}

#[test]
fn routes_that_cannot_be_used_are_named() {
    let route = |version: &str, kind: &str, parent: &str, rest: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/{version}, kind: {kind}, metadata: {{name: it, namespace: ns}}, spec: {{parentRefs: [{parent}], {rest}}}}}"
        )
    };
    let (service, server) = ("{group: core, kind: Service, name: web}", "{group: policy.linkerd.io, kind: Server, name: web-http}");
    let rewriting = "rules: [{filters: [{type: URLRewrite, urlRewrite: {hostname: x}}]}]";
    says(&outbound("", &route("v1", "HTTPRoute", service, rewriting)), &["HTTPRoute ns/it", "unsupported filter URLRewrite"]);
    says(&inbound(&route("v1", "HTTPRoute", server, rewriting)), &["HTTPRoute ns/it", "unsupported filter URLRewrite"]);
    let mirroring = "rules: [{filters: [{type: RequestMirror}]}]";
    says(&outbound("", &route("v1", "GRPCRoute", service, mirroring)), &["GRPCRoute ns/it", "unsupported filter RequestMirror"]);
    let address = "hostnames: [192.0.2.1], rules: [{}]";
    says(&outbound("", &route("v1", "HTTPRoute", service, address)), &["unsupported host 192.0.2.1"]);
}

#[test]
fn annotations_that_nobody_can_read_are_named() {
    for (annotations, words) in [
        ("timeout.linkerd.io/request: soon", ["Service ns/web", "timeout.linkerd.io/request", "soon"]),
        ("retry.linkerd.io/http: 4xx", ["Service ns/web", "retry.linkerd.io/http", "4xx"]),
        ("retry.linkerd.io/grpc: not-found", ["Service ns/web", "retry.linkerd.io/grpc", "not-found"]),
        ("balancer.linkerd.io/failure-accrual: sometimes", ["Service ns/web", "failure-accrual", "sometimes"]),
        ("balancer.alpha.linkerd.io/penalize-failures: 'yes'", ["Service ns/web", "penalize-failures", "\"yes\""]),
    ] {
        says(&outbound(annotations, ""), &words);
    }
}

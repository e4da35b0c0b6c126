//! The policy APIs as a stranger sees them: HTTP/2 frames from `h2`, gRPC framing by hand, and messages by the API's field numbers, without
//! any generated code.

#![allow(clippy::unwrap_used)] // The helpers of a test are a test, too.

mod frames;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use frames::{Message, field, fixed, number};
use http::{HeaderMap, Request, StatusCode};
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use meshkit_manifest::{Cluster, Event, Key, Kind, Manifest};
use meshkit_policy::DefaultPolicy;
use meshkit_policy_controller::{Mesh, Service};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

const OBJECTS: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: web-1, namespace: ns, labels: {app: web}}, spec: {containers: [{name: web, ports: [{containerPort: 8080}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: ns}, spec: {clusterIP: 10.96.0.7, ports: [{port: 80}, {port: 81}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split, namespace: ns, annotations: {retry.linkerd.io/http: 5xx, timeout.linkerd.io/request: 3s}}
spec:
  parentRefs: [{group: core, kind: Service, name: web, port: 80}]
  hostnames: [web.example.com]
  rules:
  - matches: [{path: {value: /a}}]
    backendRefs: [{name: web, port: 80, weight: 90}, {name: gone, port: 80, weight: 10}]
";

/// A server, and the cluster that it answers about.
struct Server {
    addr: SocketAddr,
    cluster: watch::Sender<Arc<Cluster>>,
}

#[derive(Clone, Copy)]
enum Api {
    Inbound,
    Outbound,
}

impl Server {
    async fn start(api: Api) -> Self {
        let cluster = watch::Sender::new(Arc::default());
        let mesh = Mesh {
            namespace: "linkerd".to_owned(),
            domain: "cluster.local".to_owned(),
            trust_domain: "td.local".to_owned(),
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            probe_networks: vec!["0.0.0.0/0".parse().unwrap()],
            default_policy: DefaultPolicy::AllUnauthenticated,
        };
        let service = Arc::new(Service::new(cluster.subscribe(), mesh));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { addr: listener.local_addr().unwrap(), cluster };
        server.apply(OBJECTS);
        let (inbound, outbound) = (meshkit_wire::inbound::server(Arc::clone(&service)), meshkit_wire::outbound::server(service));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (inbound, outbound) = (TowerToHyperService::new(inbound.clone()), TowerToHyperService::new(outbound.clone()));
                tokio::spawn(async move {
                    let server = http2::Builder::new(TokioExecutor::new());
                    match api {
                        Api::Inbound => server.serve_connection(TokioIo::new(socket), inbound).await,
                        Api::Outbound => server.serve_connection(TokioIo::new(socket), outbound).await,
                    }
                });
            }
        });
        server
    }

    fn change(&self, event: Event) {
        self.cluster.send_modify(|cluster| Arc::make_mut(cluster).apply(event, |_| true));
    }

    fn apply(&self, text: &str) {
        Manifest::parse(Path::new("x.yaml"), text).unwrap().objects.into_iter().for_each(|object| self.change(Event::Applied(object)));
    }

    fn delete(&self, kind: Kind, name: &str) {
        self.change(Event::Deleted(Key { kind, namespace: "ns".to_owned(), name: name.to_owned() }));
    }

    async fn call(&self, method: &str, message: &[u8]) -> Call {
        let socket = TcpStream::connect(self.addr).await.unwrap();
        let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let uri = format!("http://{}/io.linkerd.proxy.{method}", self.addr);
        let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(message);
        body.send_data(frame.into(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let headers = response.headers().clone();
        Call { headers, body: response.into_body(), read: BytesMut::new(), _client: client }
    }

    async fn port(&self, method: &str, workload: &str, port: u64) -> Call {
        let spec = [field(1, workload.as_bytes()), number(2, port)].concat();
        self.call(&format!("inbound.InboundServerPolicies/{method}"), &spec).await
    }

    async fn target(&self, method: &str, target: Vec<u8>) -> Call {
        let spec = [field(1, br#"{"ns":"client","pod":"c"}"#), target].concat();
        self.call(&format!("outbound.OutboundPolicies/{method}"), &spec).await
    }
}

fn authority(text: &str) -> Vec<u8> {
    field(3, text.as_bytes())
}

fn addr(ip: [u8; 4], port: u64) -> Vec<u8> {
    field(2, &[field(1, &fixed(1, u32::from_be_bytes(ip))), number(2, port)].concat())
}

/// A call whose answers come one by one.
struct Call {
    headers: HeaderMap,
    body: h2::RecvStream,
    read: BytesMut,
    _client: h2::client::SendRequest<Bytes>,
}

impl Call {
    async fn next(&mut self) -> Message {
        let bytes = timeout(Duration::from_secs(10), self.next_bytes()).await.expect("an answer comes").expect("the call goes on");
        Message::new(&bytes)
    }

    async fn next_bytes(&mut self) -> Option<Bytes> {
        loop {
            if let Some((head, _)) = self.read.split_first_chunk::<5>() {
                assert_eq!(head[0], 0, "answers are not compressed");
                let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if self.read.len() >= 5 + len {
                    self.read.advance(5);
                    return Some(self.read.split_to(len).freeze());
                }
            }
            let data = self.body.data().await?.unwrap();
            self.body.flow_control().release_capacity(data.len()).unwrap();
            self.read.extend_from_slice(&data);
        }
    }

    /// The code and the message of a call that ends without an answer.
    async fn refusal(mut self) -> (u8, String) {
        assert_eq!(self.next_bytes().await, None, "it is answered");
        let trailers = self.body.trailers().await.unwrap();
        let headers = trailers.as_ref().filter(|trailers| trailers.contains_key("grpc-status")).unwrap_or(&self.headers);
        let text = |name| headers.get(name).map_or("", |value| value.to_str().unwrap());
        (text("grpc-status").parse().unwrap(), text("grpc-message").replace("%20", " "))
    }
}

fn labels(group: &str, kind: &str, name: &str) -> Vec<(String, String)> {
    [("group", group), ("kind", kind), ("name", name)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[tokio::test]
async fn a_port_is_told_as_it_changes() {
    let server = Server::start(Api::Inbound).await;
    let mut call = server.port("WatchPort", r#"{"ns":"ns","pod":"web-1"}"#, 8080).await;
    let default = call.next().await;
    assert_eq!(default.map(&[4]), labels("", "default", "all-unauthenticated"));
    assert_eq!(default.number(&[1, 1, 1, 1]), 10, "seconds of detection");
    let authz = default.one(&[3]);
    assert_eq!(authz.texts(&[4, 1]), ["all-unauthenticated"]);
    assert_eq!(authz.map(&[3]), labels("", "default", "all-unauthenticated"));
    assert!(authz.has(&[2, 1]), "nobody has to prove anything");
    let prefixes: Vec<_> = authz.all(&[1]).iter().map(|network| network.number(&[1, 2])).collect();
    assert_eq!(prefixes, [0, 0]);
    assert_eq!(default.texts(&[1, 1, 3, 1, 1]), ["default"], "the route");

    server.apply(
        "
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web-http, namespace: ns}
spec: {podSelector: {}, port: 8080, proxyProtocol: HTTP/1}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: who, namespace: ns}
spec: {targetRef: {group: policy.linkerd.io, kind: Server, name: web-http}, requiredAuthenticationRefs: [{kind: ServiceAccount, name: web}]}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: HTTPLocalRateLimitPolicy
metadata: {name: much, namespace: ns}
spec: {targetRef: {group: policy.linkerd.io, kind: Server, name: web-http}, total: {requestsPerSecond: 7}}
",
    );
    let named = loop {
        let next = call.next().await;
        if next.has(&[3]) && next.has(&[1, 4, 3]) {
            break next;
        }
    };
    assert_eq!(named.map(&[4]), labels("policy.linkerd.io", "server", "web-http"));
    let resource = [1, 2, 3].map(|field| named.texts(&[3, 4, 2, field]).concat());
    assert_eq!(resource, ["policy.linkerd.io", "authorizationpolicy", "who"]);
    assert_eq!(named.texts(&[3, 2, 2, 2, 1, 1]), ["web.ns.serviceaccount.identity.linkerd.td.local"]);
    assert_eq!((named.number(&[1, 4, 3, 2, 1]), named.texts(&[1, 4, 3, 1, 2, 2]).concat()), (7, "HTTPLocalRateLimitPolicy".to_owned()));

    server.delete(Kind::Server, "web-http");
    let last = call.next().await;
    // Maps have no order, so that messages cannot be compared as a whole.
    assert_eq!((last.map(&[4]), last.texts(&[3, 4, 1]), last.one(&[1])), (default.map(&[4]), default.texts(&[3, 4, 1]), default.one(&[1])));
}

#[tokio::test]
async fn a_port_may_be_asked_for_once() {
    let server = Server::start(Api::Inbound).await;
    for workload in [r#"{"ns":"ns","pod":"web-1"}"#, "ns:web-1"] {
        let mut call = server.port("GetPort", workload, 9999).await;
        assert_eq!(call.next().await.map(&[4]), labels("", "default", "all-unauthenticated"));
        assert_eq!(call.next_bytes().await, None);
    }
}

#[tokio::test]
async fn what_cannot_be_told_has_a_code() {
    let server = Server::start(Api::Inbound).await;
    let table = [
        ("web-1", 80, 3),
        ("{}", 80, 3),
        ("ns:web-1", 0, 3),
        ("ns:web-1", 65_536, 3),
        ("ns:nobody", 80, 5),
        (r#"{"ns":"ns","external_workload":"vm"}"#, 80, 5),
    ];
    for (workload, port, code) in table {
        for method in ["GetPort", "WatchPort"] {
            let (seen, message) = server.port(method, workload, port).await.refusal().await;
            assert_eq!(seen, code, "{method} {workload} {port}: {message}");
            assert!(code == 3 || message == "unknown server", "{message}");
        }
    }
    let server = Server::start(Api::Outbound).await;
    for (target, code) in [(authority("example.com:80"), 5), (authority("a b"), 3), (addr([10, 1, 2, 3], 80), 5), (Vec::new(), 3)] {
        for method in ["Get", "Watch"] {
            let (seen, message) = server.target(method, target.clone()).await.refusal().await;
            assert_eq!(seen, code, "{method}: {message}");
        }
    }
}

#[tokio::test]
async fn a_service_is_told_with_its_routes() {
    let server = Server::start(Api::Outbound).await;
    let mut call = server.target("Watch", authority("web.ns.svc.cluster.local:80")).await;
    let policy = call.next().await;
    let parent = policy.one(&[2, 2]);
    let texts = [1, 2, 3, 4].map(|field| parent.texts(&[field]).concat());
    assert_eq!((texts, parent.number(&[6])), (["core", "Service", "web", "ns"].map(str::to_owned), 80));
    let detect = policy.one(&[1, 1]);
    assert_eq!(detect.one(&[3]), detect.one(&[4]), "HTTP/1 and HTTP/2 alike");
    let route = detect.one(&[3, 1]);
    assert_eq!([1, 2, 3, 4].map(|field| route.texts(&[1, 2, field]).concat()), ["gateway.networking.k8s.io", "HTTPRoute", "split", "ns"]);
    assert_eq!(route.texts(&[2, 1]), ["web.example.com"]);
    assert_eq!(route.texts(&[3, 1, 1, 2]), ["/a"]);
    assert_eq!((route.number(&[3, 4, 1]), route.number(&[3, 5, 2, 1])), (3, 3), "the timeout, in the older way, too");
    let retry = route.one(&[3, 6]);
    assert_eq!((retry.number(&[1]), retry.number(&[2]), retry.number(&[3, 1, 1]), retry.number(&[3, 1, 2])), (1, 65_536, 500, 599));
    let [web, gone] = &route.all(&[3, 3, 3, 1])[..] else { panic!("{route:?}") };
    assert_eq!((web.number(&[2]), gone.number(&[2])), (90, 10));
    assert_eq!(web.texts(&[1, 1, 3, 1, 1, 1]), ["web.ns.svc.cluster.local:80"]);
    assert_eq!((web.number(&[1, 1, 3, 2, 1, 2]), web.number(&[1, 1, 3, 2, 2, 1])), (30_000_000, 10), "peak EWMA");
    assert_eq!((web.number(&[1, 1, 4, 1]), web.number(&[1, 1, 4, 2, 1])), (100, 3), "the queue");
    assert!(!gone.has(&[1, 1, 2]) && !gone.has(&[1, 1, 3]), "it leads nowhere");
    assert_eq!((gone.number(&[1, 3, 1, 1]), gone.texts(&[1, 3, 1, 2]).concat()), (500, "Service not found gone".to_owned()));
    assert_eq!(detect.texts(&[2, 1, 1, 1]), ["opaq"]);

    server.delete(Kind::HTTPRoute, "split");
    assert_eq!(call.next().await.texts(&[1, 1, 3, 1, 1, 1]), ["http"]);
}

#[tokio::test]
async fn addresses_are_services_or_outside() {
    let server = Server::start(Api::Outbound).await;
    let mut call = server.target("Get", addr([10, 96, 0, 7], 82)).await;
    let undefined = call.next().await;
    assert_eq!(undefined.texts(&[1, 2, 1, 1, 1]), ["undefined-port"]);
    assert!(undefined.has(&[1, 2, 1, 3, 1, 1]), "no backends");
    assert!(undefined.has(&[1, 2, 1, 3, 2, 2]), "forbidden");
    assert_eq!(undefined.texts(&[2, 2, 3]), ["web"]);

    let mut call = server.target("Watch", addr([192, 0, 2, 1], 443)).await;
    let outside = call.next().await;
    assert_eq!(outside.texts(&[2, 1]), ["egress-fallback"]);
    assert_eq!(outside.number(&[1, 1, 3, 1, 3, 3, 2, 1, 1, 2, 1, 2]), 443, "the address itself");
    server.apply("{apiVersion: policy.linkerd.io/v1alpha1, kind: EgressNetwork, metadata: {name: out, namespace: client}, spec: {trafficPolicy: Deny}}");
    let denied = call.next().await;
    assert_eq!([1, 2, 3].map(|field| denied.texts(&[2, 2, field]).concat()), ["policy.linkerd.io", "EgressNetwork", "out"]);
    assert_eq!(denied.texts(&[1, 1, 3, 1, 1, 1]), ["http-egress-deny"]);
    assert_eq!(denied.number(&[1, 1, 3, 1, 3, 2, 1, 1]), 403);
}

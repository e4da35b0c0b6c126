//! The Destination API as a stranger sees it: HTTP/2 frames from `h2`, gRPC framing by hand, and messages written down from the API's field
//! numbers, without any generated code.

#![allow(clippy::unwrap_used)] // The helpers of a test are a test, too.

mod messages;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use meshkit_destination::{Mesh, Service, Settings};
use meshkit_manifest::{Cluster, Event, Key, Kind, Manifest};
use messages::{DestinationProfile, GetDestination, Update, protocol_hint::Protocol, request_match, update};
use prost::Message;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ns}
spec: {clusterIP: 10.96.0.7, ports: [{name: http, port: 80}, {name: db, port: 5432}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: ns, labels: {linkerd.io/control-plane-ns: linkerd}}
spec: {serviceAccountName: web, containers: []}
status: {podIP: 10.0.0.1, phase: Running}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: ns, labels: {kubernetes.io/service-name: web}}
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1], zone: east, targetRef: {kind: Pod, namespace: ns, name: web-1}}, {addresses: [10.0.0.2]}]
---
{apiVersion: v1, kind: Service, metadata: {name: idle, namespace: ns}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: out, namespace: ns}, spec: {type: ExternalName, externalName: example.com, ports: [{port: 80}]}}
---
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {name: web.ns.svc.cluster.local, namespace: client}
spec:
  routes:
  - name: list
    condition: {method: GET, pathRegex: '/books/\\d+'}
    isRetryable: true
    timeout: 250ms
    responseClasses: [{condition: {status: {min: 500, max: 599}}, isFailure: true}]
  retryBudget: {retryRatio: 0.5, minRetriesPerSecond: 3, ttl: 30s}
  dstOverrides: [{authority: web-v2.ns.svc.cluster.local, weight: 500m}]
";

/// A server, and the cluster that it answers about.
struct Server {
    addr: SocketAddr,
    cluster: watch::Sender<Arc<Cluster>>,
}

impl Server {
    async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Self {
        let cluster = watch::Sender::new(Arc::default());
        let mesh = Mesh { namespace: "linkerd".to_owned(), domain: "cluster.local".to_owned(), trust_domain: "td.local".to_owned() };
        let service = Service::new(cluster.subscribe(), mesh).settings(settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Self { addr, cluster };
        server.change(Event::Reset(Manifest::parse(Path::new("x.yaml"), OBJECTS).unwrap().objects));
        let api = meshkit_wire::destination::server(Arc::new(service));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = TowerToHyperService::new(api.clone());
                tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service));
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

    async fn call(&self, method: &str, path: &str, token: &str) -> Call {
        let socket = TcpStream::connect(self.addr).await.unwrap();
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        self.call_with(client, method, path, token).await
    }

    async fn call_with(&self, mut client: h2::client::SendRequest<Bytes>, method: &str, path: &str, token: &str) -> Call {
        let uri = format!("http://{}/io.linkerd.proxy.destination.Destination/{method}", self.addr);
        let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        let message = GetDestination { scheme: "k8s".to_owned(), path: path.to_owned(), context_token: token.to_owned() }.encode_to_vec();
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&message);
        body.send_data(frame.into(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let headers = response.headers().clone();
        Call { headers, body: response.into_body(), read: BytesMut::new(), _client: client }
    }

    /// The code of a call that is refused.
    async fn refusal(&self, method: &str, path: &str) -> (u8, String) {
        self.refusal_of("", method, path).await
    }

    async fn refusal_of(&self, token: &str, method: &str, path: &str) -> (u8, String) {
        let mut call = self.call(method, path, token).await;
        assert_eq!(call.next_bytes().await, None, "{method} {path} is answered");
        let trailers = call.body.trailers().await.unwrap();
        let headers = trailers.as_ref().filter(|trailers| trailers.contains_key("grpc-status")).unwrap_or(&call.headers);
        let text = |name| headers.get(name).map_or("", |value| value.to_str().unwrap());
        (text("grpc-status").parse().unwrap(), text("grpc-message").replace("%20", " "))
    }
}

/// A call whose answers come one by one.
struct Call {
    headers: HeaderMap,
    body: h2::RecvStream,
    read: BytesMut,
    _client: h2::client::SendRequest<Bytes>,
}

impl Call {
    async fn next<M: Message + Default>(&mut self) -> M {
        let bytes = timeout(Duration::from_secs(10), self.next_bytes()).await.expect("an answer comes").expect("the call goes on");
        M::decode(bytes).unwrap()
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
}

fn addr(host: u8, port: u32) -> messages::TcpAddress {
    messages::TcpAddress {
        ip: Some(messages::IpAddress { ip: Some(messages::ip_address::Ip::Ipv4(u32::from_be_bytes([10, 0, 0, host]))) }),
        port,
    }
}

#[tokio::test]
async fn endpoints_come_as_a_whole_and_then_as_changes() {
    let server = Server::start().await;
    let mut call = server.call("Get", "web.ns.svc.cluster.local:80", r#"{"ns":"client","nodeName":"n","pod":"p"}"#).await;
    assert_eq!(call.headers["content-type"], "application/grpc");

    let Some(update::Update::Add(set)) = call.next::<Update>().await.update else { panic!() };
    assert_eq!(set.metric_labels, [("namespace", "ns"), ("service", "web")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    let [meshed, plain] = set.addrs.as_slice() else { panic!("{set:?}") };
    assert_eq!((meshed.addr, meshed.weight), (Some(addr(1, 8080)), 10_000));
    let tls = meshed.tls_identity.as_ref().unwrap();
    let name = "web.ns.serviceaccount.identity.linkerd.td.local";
    assert_eq!((tls.dns_like_identity.as_ref().unwrap().name.as_str(), tls.server_name.as_ref().unwrap().name.as_str()), (name, name));
    let hint = meshed.protocol_hint.as_ref().unwrap();
    assert_eq!((&hint.protocol, hint.opaque_transport.as_ref().unwrap().inbound_port), (&Some(Protocol::H2(messages::Empty {})), 4143));
    assert_eq!((meshed.metric_labels["zone"].as_str(), meshed.metric_labels["pod"].as_str()), ("east", "web-1"));
    assert_eq!((plain.addr, &plain.tls_identity, &plain.protocol_hint), (Some(addr(2, 8080)), &None, &None));

    let slice = OBJECTS.split("---").nth(2).unwrap();
    server.apply(&slice.replace("10.0.0.2", "10.0.0.3"));
    let Some(update::Update::Add(set)) = call.next::<Update>().await.update else { panic!() };
    assert_eq!(set.addrs.iter().map(|a| a.addr.unwrap()).collect::<Vec<_>>(), [addr(3, 8080)], "only what is new");
    let Some(update::Update::Remove(gone)) = call.next::<Update>().await.update else { panic!() };
    assert_eq!(gone.addrs, [addr(2, 8080)], "what is gone comes last");

    server.change(Event::Deleted(Key { kind: Kind::Service, namespace: "ns".to_owned(), name: "web".to_owned() }));
    let Some(update::Update::Remove(gone)) = call.next::<Update>().await.update else { panic!() };
    assert_eq!(gone.addrs, [addr(1, 8080), addr(3, 8080)]);
    server.apply(OBJECTS.split("---").next().unwrap());
    let back = call.next::<Update>().await.update;
    assert!(matches!(back, Some(update::Update::Add(set)) if set.addrs.len() == 2), "the stream stays open, and the Service may come back");
}

#[tokio::test]
async fn a_service_without_endpoints_is_answered_with_silence() {
    let server = Server::start().await;
    let mut call = server.call("Get", "idle.ns.svc.cluster.local", "").await;
    server.apply(
        &OBJECTS
            .split("---")
            .nth(2)
            .unwrap()
            .replace(
                "name: web-1, namespace: ns, labels: {kubernetes.io/service-name: web}",
                "name: idle-1, namespace: ns, labels: {kubernetes.io/service-name: idle}",
            )
            .replace("name: http, ", ""),
    );
    let first = call.next::<Update>().await.update;
    assert!(matches!(first, Some(update::Update::Add(set)) if set.addrs.len() == 2), "the first message tells of endpoints");
}

#[tokio::test]
async fn refusals_have_the_codes_of_the_api() {
    let server = Server::start().await;
    let table = [
        ("Get", "none.ns.svc.cluster.local:80", 5, "Service none.ns not found"),
        ("GetProfile", "none.ns.svc.cluster.local:80", 2, ""),
        ("GetProfile", "web-9.web.ns.svc.cluster.local:80", 5, ""),
        ("Get", "10.96.0.7:80", 3, "IP queries not supported by Get API"),
        ("Get", "web.ns.svc.cluster.local.:80", 3, "Invalid authority"),
        ("GetProfile", "web.ns.svc.elsewhere:80", 3, "Invalid authority"),
        ("Get", "out.ns.svc.cluster.local:80", 3, "Invalid authority"),
        ("GetProfile", "out.ns.svc.cluster.local:80", 3, "Invalid authority"),
        ("Get", "web.ns.svc.cluster.local:0", 3, "Invalid authority"),
        ("Get", "", 3, "Invalid authority"),
    ];
    for (method, path, code, text) in table {
        let (seen, message) = server.refusal(method, path).await;
        assert_eq!(seen, code, "{method} {path}: {message}");
        assert!(message.starts_with(text), "{method} {path}: {message}");
    }
}

#[tokio::test]
async fn a_profile_carries_routes_budget_and_overrides() {
    let server = Server::start().await;
    let mut call = server.call("GetProfile", "10.96.0.7:80", "ns:client").await;
    let profile: DestinationProfile = call.next().await;
    assert_eq!((profile.fully_qualified_name.as_str(), profile.opaque_protocol), ("web.ns.svc.cluster.local", false));
    let [route] = profile.routes.as_slice() else { panic!("{profile:?}") };
    assert_eq!((route.is_retryable, route.metrics_labels["route"].as_str()), (true, "list"));
    assert_eq!(route.timeout, Some(messages::Duration { seconds: 0, nanos: 250_000_000 }));
    let Some(request_match::Match::All(all)) = &route.condition.as_ref().unwrap().kind else { panic!("{route:?}") };
    let kinds: Vec<_> = all.matches.iter().map(|m| m.kind.clone().unwrap()).collect();
    let get = request_match::Match::Method(messages::HttpMethod { kind: Some(messages::http_method::Kind::Registered(0)) });
    let path = request_match::Match::Path(messages::PathMatch { regex: "/books/\\d+".to_owned() });
    assert!(kinds.len() == 2 && kinds.contains(&get) && kinds.contains(&path), "{kinds:?}");
    let class = &route.response_classes[0];
    let range = class.condition.as_ref().unwrap().status.as_ref().unwrap();
    assert_eq!((range.min, range.max, class.is_failure), (500, 599, true));
    let budget = profile.retry_budget.unwrap();
    assert_eq!((budget.retry_ratio, budget.min_retries_per_second, budget.ttl.unwrap().seconds), (0.5, 3, 30));
    let dst = &profile.dst_overrides[0];
    assert_eq!((dst.authority.as_str(), dst.weight), ("web-v2.ns.svc.cluster.local:80", 5_000));
    let reference = |meta: &Option<messages::Metadata>| {
        let r = meta.clone().unwrap().resource.unwrap();
        (r.group, r.kind, r.namespace, r.name, r.port)
    };
    let expected = |group: &str, kind: &str, namespace: &str, name: &str, port| {
        (group.to_owned(), kind.to_owned(), namespace.to_owned(), name.to_owned(), port)
    };
    assert_eq!(reference(&profile.parent_ref), expected("core", "Service", "ns", "web", 80));
    assert_eq!(reference(&profile.profile_ref), expected("linkerd.io", "ServiceProfile", "client", "web.ns.svc.cluster.local", 0));

    server.change(Event::Deleted(Key {
        kind: Kind::ServiceProfile,
        namespace: "client".to_owned(),
        name: "web.ns.svc.cluster.local".to_owned(),
    }));
    let profile: DestinationProfile = call.next().await;
    assert_eq!((profile.routes.len(), profile.dst_overrides.len(), profile.profile_ref), (0, 0, None));
    let budget = profile.retry_budget.unwrap();
    assert_eq!((budget.retry_ratio, budget.min_retries_per_second, budget.ttl.unwrap().seconds), (0.2, 10, 10));
    let service = OBJECTS.split("---").next().unwrap();
    server.apply("{apiVersion: v1, kind: Service, metadata: {name: another, namespace: ns}, spec: {ports: [{port: 80}]}}");
    server.apply(&service.replace("namespace: ns}", "namespace: ns, labels: {app: web}}"));
    server.apply(&service.replace("namespace: ns}", "namespace: ns, annotations: {config.linkerd.io/opaque-ports: '80'}}"));
    assert!(call.next::<DestinationProfile>().await.opaque_protocol, "what does not differ is not told again");
}

#[tokio::test]
async fn addresses_have_profiles_of_their_own() {
    let server = Server::start().await;
    let profile = async |path: &str| server.call("GetProfile", path, "").await.next::<DestinationProfile>().await;
    let pod = profile("10.0.0.1:8080").await;
    let endpoint = pod.endpoint.unwrap();
    assert_eq!((endpoint.addr, endpoint.metric_labels["namespace"].as_str()), (Some(addr(1, 8080)), "ns"));
    assert!(endpoint.tls_identity.is_some() && pod.fully_qualified_name.is_empty() && pod.parent_ref.is_none());
    let stranger = profile("10.0.0.99:3306").await;
    let endpoint = stranger.endpoint.unwrap();
    assert!(stranger.opaque_protocol && endpoint.tls_identity.is_none() && endpoint.metric_labels.is_empty());
    assert_eq!((endpoint.addr, endpoint.weight), (Some(addr(99, 3306)), 10_000));
    assert!(profile("10.96.0.7:5432").await.opaque_protocol);

    let mut undeclared = server.call("GetProfile", "10.96.0.7:81", "").await;
    assert_eq!(undeclared.next_bytes().await, Some(Bytes::new()), "a port that is not declared has an empty message");
    server.apply(&OBJECTS.split("---").next().unwrap().replace("port: 80}", "port: 81}"));
    assert_eq!(undeclared.next::<DestinationProfile>().await.fully_qualified_name, "web.ns.svc.cluster.local", "until it is");
}

#[tokio::test]
async fn a_client_that_does_not_read_finds_the_newest_and_no_queue() {
    let server = Server::start().await;
    let socket = TcpStream::connect(server.addr).await.unwrap();
    let (client, mut connection) = h2::client::Builder::new().initial_window_size(0).handshake(socket).await.unwrap();
    let (open, mut opened) = watch::channel(0);
    tokio::spawn(async move {
        // The window opens while the connection is driven.
        tokio::select! {
            ended = &mut connection => return ended.unwrap(),
            change = opened.changed() => change.unwrap(),
        }
        connection.set_initial_window_size(*opened.borrow()).unwrap();
        connection.await.unwrap();
    });
    let mut call = server.call_with(client, "Get", "web.ns.svc.cluster.local:80", "").await;
    let slice = OBJECTS.split("---").nth(2).unwrap();
    for host in 3..=200 {
        server.apply(&slice.replace("10.0.0.2", &format!("10.0.0.{host}")));
        tokio::task::yield_now().await;
    }
    // Somebody who reads knows when the last change was told.
    let mut quick = server.call("Get", "web.ns.svc.cluster.local:80", "").await;
    let hosts = |told: Option<update::Update>| {
        let Some(update::Update::Add(set)) = told else { panic!("{told:?}") };
        set.addrs.into_iter().map(|addr| addr.addr.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(hosts(quick.next::<Update>().await.update), [addr(1, 8080), addr(200, 8080)]);
    open.send(65_535).unwrap();
    assert_eq!(hosts(call.next::<Update>().await.update), [addr(1, 8080), addr(2, 8080)], "what was on its way already");
    assert_eq!(hosts(call.next::<Update>().await.update), [addr(200, 8080)], "and the difference to what is so now");
    let Some(update::Update::Remove(gone)) = call.next::<Update>().await.update else { panic!() };
    assert_eq!(gone.addrs, [addr(2, 8080)]);
    server.apply(&slice.replace("10.0.0.2", "10.0.0.201"));
    assert_eq!(hosts(call.next::<Update>().await.update), [addr(201, 8080)], "nothing stood in between");
}

#[tokio::test]
async fn bounds_are_refusals_that_name_their_setting() {
    let (path, me, other) = ("web.ns.svc.cluster.local:80", r#"{"ns":"ns","pod":"me"}"#, r#"{"ns":"ns","pod":"other"}"#);
    let mut settings = Settings::default();
    (settings.max_streams, settings.max_streams_per_client) = (3, 2);
    let server = Server::with(settings).await;
    let first = server.call("Get", path, me).await;
    let second = server.call("GetProfile", path, me).await;
    let (code, message) = server.refusal_of(me, "Get", path).await;
    assert!(code == 8 && message.contains("max_streams_per_client") && message.contains("ns/me"), "{code} {message}");
    let third = server.call("Get", path, other).await;
    let (code, message) = server.refusal_of(other, "Get", path).await;
    assert!(code == 8 && message.ends_with("max_streams"), "{code} {message}");
    drop(first);
    // The server hears of it a little later.
    let again = timeout(Duration::from_secs(10), async {
        loop {
            let call = server.call("Get", path, me).await;
            if !call.headers.contains_key("grpc-status") {
                return call;
            }
            tokio::task::yield_now().await;
        }
    });
    again.await.expect("who leaves makes room");
    drop((second, third));

    let mut settings = Settings::default();
    settings.max_questions = 1;
    let server = Server::with(settings).await;
    let _first = server.call("Get", path, "").await;
    let _same = server.call("Get", path, "").await;
    let (code, message) = server.refusal("Get", "idle.ns.svc.cluster.local:80").await;
    assert!(code == 8 && message.contains("max_questions"), "{code} {message}");
}

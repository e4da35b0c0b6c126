//! Digests beside the Destination API, asked for by a stranger: HTTP/2 frames from `h2`, and bytes written down from field numbers.

#![allow(clippy::unwrap_used)] // The helpers of a test are a test, too.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use http::Request;
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use meshkit_balance::updates::Ledger;
use meshkit_core::{Backoff, Dice};
use meshkit_destination::{Mesh, Service};
use meshkit_manifest::{Cluster, Event, Manifest};
use meshkit_wire::{Channel, client, destination, extension::digests, watch::Limits};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ns, annotations: {config.linkerd.io/opaque-ports: '5432'}}
spec: {clusterIP: 10.96.0.7, ports: [{name: http, port: 80}, {name: db, port: 5432}]}
---
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {topology.kubernetes.io/zone: east}}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: ns, labels: {linkerd.io/control-plane-ns: linkerd}, annotations: {config.linkerd.io/opaque-ports: '5432'}}
spec: {serviceAccountName: web, containers: []}
status: {podIP: 10.0.0.1, phase: Running}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: ns, labels: {kubernetes.io/service-name: web}}
ports: [{name: http, port: 8080}, {name: db, port: 5432}]
endpoints:
- {addresses: [10.0.0.1], zone: east, targetRef: {kind: Pod, namespace: ns, name: web-1}}
- {addresses: [10.0.0.2], zone: west}
- {addresses: [10.0.0.3]}
";

const CONTEXT: &str = r#"{"ns":"client","nodeName":"n1"}"#;

struct Server {
    addr: SocketAddr,
    service: Arc<Service>,
    cluster: watch::Sender<Arc<Cluster>>,
}

impl Server {
    async fn start() -> Self {
        let cluster = watch::Sender::new(Arc::default());
        let mesh = Mesh { namespace: "linkerd".to_owned(), domain: "cluster.local".to_owned(), trust_domain: "td.local".to_owned() };
        let service = Arc::new(Service::new(cluster.subscribe(), mesh));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let api = digests::server(Arc::clone(&service));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = TowerToHyperService::new(api.clone());
                tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service));
            }
        });
        let server = Self { addr, service, cluster };
        server.objects(OBJECTS);
        server
    }

    fn objects(&self, text: &str) {
        let event = Event::Reset(Manifest::parse(Path::new("x.yaml"), text).unwrap().objects);
        self.cluster.send_modify(|cluster| Arc::make_mut(cluster).apply(event, |_| true));
    }

    /// What a stranger is answered: the bytes, and the status.
    async fn ask(&self, path: &str, context: &str) -> (Vec<u8>, String) {
        let (mut client, connection) = h2::client::handshake(TcpStream::connect(self.addr).await.unwrap()).await.unwrap();
        tokio::spawn(connection);
        let uri = format!("http://{}/mesh.extension.v1.Digests/Get", self.addr);
        let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        // Two texts: fields 1 and 2.
        let field = |number: u8, text: &str| [&[number << 3 | 2, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let message = [field(1, path), field(2, context)].concat();
        let frame = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()][..], &message].concat();
        body.send_data(Bytes::from(frame), true).unwrap();
        let (head, mut body) = response.await.unwrap().into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            bytes.extend_from_slice(&data.unwrap());
        }
        let ended = body.trailers().await.unwrap().unwrap_or(head.headers);
        (bytes, ended["grpc-status"].to_str().unwrap().to_owned())
    }

    /// What a client of the Destination API has that heard everything.
    async fn heard(&self, path: &str) -> u64 {
        let channel = Channel::new(destination::server(Arc::clone(&self.service)), http::uri::Authority::from_static("dst.test"));
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1), 0.0).unwrap();
        let watches = client::Watches { limits: Limits::default(), backoff, dice: Dice::new(0), away: Default::default() };
        let mut updates = Box::pin(client::endpoints(channel, &watches, path.to_owned(), CONTEXT.into()));
        let mut ledger = Ledger::default();
        ledger.apply(&updates.next().await.unwrap());
        while let Some(Some(update)) = updates.next().now_or_never() {
            ledger.apply(&update);
        }
        ledger.digest()
    }
}

fn answer(digest: u64) -> (Vec<u8>, String) {
    let mut bytes = vec![0, 0, 0, 0, 9, 0x09];
    bytes.extend(digest.to_le_bytes());
    (bytes, "0".to_owned())
}

#[tokio::test]
async fn a_client_that_heard_everything_has_the_digest_that_a_stranger_is_told() {
    let server = Server::start().await;
    for path in ["web.ns.svc.cluster.local:80", "web.ns.svc.cluster.local:5432"] {
        let before = server.heard(path).await;
        assert_eq!(server.ask(path, CONTEXT).await, answer(before), "{path}");
        server.objects(&OBJECTS.replace("10.0.0.3", "10.0.0.4"));
        let after = server.heard(path).await;
        assert_ne!(before, after);
        assert_eq!(server.ask(path, CONTEXT).await, answer(after), "{path}");
        server.objects(OBJECTS);
    }
}

#[tokio::test]
async fn what_has_no_endpoints_has_the_digest_of_none_or_is_refused() {
    let server = Server::start().await;
    server.objects(&OBJECTS.replace("kubernetes.io/service-name: web", "kubernetes.io/service-name: other"));
    // Protobuf leaves a zero out.
    assert_eq!(server.ask("web.ns.svc.cluster.local:80", CONTEXT).await, (vec![0; 5], "0".to_owned()));
    assert_eq!(server.ask("none.ns.svc.cluster.local:80", CONTEXT).await, (vec![], "5".to_owned()));
    assert_eq!(server.ask("10.0.0.1:80", CONTEXT).await, (vec![], "3".to_owned()));
    assert!(server.service.index().watched().iter().all(|watched| watched.watcher_count == 0), "who asks is no watcher");
}

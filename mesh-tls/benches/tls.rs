//! What a connection costs before its first byte: looking at the hello, the handshake, the transport header.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/loopback/ca.rs"]
#[allow(dead_code)]
mod ca;

use std::{hint::black_box, num::NonZeroU16, sync::Arc};

use ca::{Ca, server};
use criterion::{Criterion, criterion_group, criterion_main};
use meshkit_tls::{
    AcceptLayer, Accepted, ConnectLayer, Connector, Tag, TransportHeader, client_hello,
    rustls::{ClientConnection, RootCertStore},
    transport_header::SessionProtocol,
};
use tokio::io::DuplexStream;
use tower::{Layer, ServiceExt, service_fn};

const NAME: &str = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local";

fn peek(c: &mut Criterion) {
    let config = meshkit_tls::rustls::ClientConfig::builder_with_provider(Arc::new(meshkit_tls::provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), NAME.try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut group = c.benchmark_group("client_hello");
    group.bench_function("parse", |b| b.iter(|| client_hello::parse(black_box(&hello))));
    group.bench_function("http", |b| b.iter(|| client_hello::parse(black_box(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n"))));
    group.finish();
}

fn header(c: &mut Criterion) {
    let port = NonZeroU16::new(8080).unwrap();
    let header =
        TransportHeader { port, name: Some("web.emojivoto.svc.cluster.local:80".to_owned()), protocol: Some(SessionProtocol::Http2) };
    let local = TransportHeader { name: None, ..header.clone() };
    let mut group = c.benchmark_group("transport_header");
    for (name, header) in [("local", local), ("gateway", header)] {
        let bytes = header.encode();
        group.bench_function(format!("{name}/encode"), |b| b.iter(|| black_box(&header).encode()));
        group.bench_function(format!("{name}/decode"), |b| b.iter(|| TransportHeader::decode(black_box(&bytes)).unwrap()));
    }
    group.finish();
}

/// Both ends of a mutual handshake in one task over a pipe: all of it is computing.
fn handshake(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ca = Ca::new("root");
    let (client, store) = (ca.store("client.ns"), ca.store(NAME));
    let accept =
        AcceptLayer::new(store.subscribe(), Tag::Header).layer(service_fn(async |accepted: Accepted<_>| Ok::<_, std::io::Error>(accepted)));
    let port = NonZeroU16::new(8080).unwrap();
    let header = TransportHeader { port, name: None, protocol: None };
    let connect = ConnectLayer::new(Connector::new(server(NAME), Tag::Header, client.subscribe())).header(&header);
    let connect = connect.layer(service_fn(async |io: DuplexStream| Ok::<_, std::io::Error>(io)));
    c.bench_function("handshake", |b| {
        b.to_async(&runtime).iter(|| async {
            let (ours, theirs) = tokio::io::duplex(32 << 10);
            let (io, accepted) = tokio::join!(connect.clone().oneshot(ours), accept.clone().oneshot(theirs));
            (io.unwrap(), accepted.unwrap())
        });
    });
}

criterion_group!(benches, peek, header, handshake);
criterion_main!(benches);

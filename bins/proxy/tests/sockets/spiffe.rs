//! A proxy whose certificate comes from a SPIFFE agent.

use std::{fs, time::Duration};

use meshkit_core::Backoff;
use meshkit_proxy::config::CertificateSource;

use crate::support::{
    authority::Authority,
    grpc::{Answer, Grpc},
    openssl, start_in,
};

const ID: &str = "spiffe://root.linkerd.cluster.local/web";

/// What clients ask for, who cannot ask for an id.
const SERVER: &str = "web.root.linkerd.cluster.local";

/// A field of a protobuf message that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    out.push(u8::try_from(len).unwrap());
    out.extend(bytes);
    out
}

#[test]
fn it_takes_the_certificate_of_its_own_id_and_serves_with_it() {
    let authority = Authority::new();
    let files = authority.svid(ID);
    let (certificate, key) = (fs::read(files.certificate).unwrap(), fs::read(files.key).unwrap());
    let svid = |id: &str| field(1, &[field(1, id.as_bytes()), field(2, &certificate), field(3, &key)].concat());
    let socket = authority.dir().join("agent.sock");
    let agent = Grpc::on_unix(&socket, Answer::Streaming([svid("spiffe://root.linkerd.cluster.local/other"), svid(ID)].concat()));
    let proxy = start_in(authority, ID, |config| {
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100), 0.1).unwrap();
        config.identity.source = CertificateSource::workload_api(socket.clone(), backoff);
        config.identity.server_name = SERVER.to_owned();
    });
    let call = agent.calls().remove(0);
    assert_eq!(call.path, "/SpiffeWorkloadAPI/FetchX509SVID");
    assert_eq!(call.headers["workload.spiffe.io"], "true");
    assert!(proxy.metric("control_identity_cert_refreshes_total", &["result=\"ok\""]) > 0.0);
    let anchor = proxy.authority.dir().join("anchor.pem");
    let checked = ["-CAfile", anchor.to_str().unwrap(), "-verify_return_error"];
    let answer = openssl::client(proxy.published(), SERVER, &checked, b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");
}

//! Requests whose destination is named by something else than their connection.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use crate::{
    folder::{self, HTTP, UNKNOWN, connect, encrypted, open_others, rest, serve, server},
    mirror::mirror,
};

#[test]
fn an_ingress_goes_by_the_header_and_a_gateway_by_the_name_in_the_transport_header() {
    let mesh = folder::launch(&[("ingress", "linkerd.io/inject: ingress"), ("gate", "config.linkerd.io/enable-gateway: 'true'")]);
    serve(server(&mesh, HTTP), mirror);
    open_others(&mesh, &[HTTP]);

    // The port that the connection goes to plays no part.
    let through = |name: &str| {
        let mut io = connect(&mesh, "ingress", UNKNOWN);
        let request = format!("GET /in HTTP/1.1\r\nhost: public.example\r\nl5d-dst-override: {name}\r\nconnection: close\r\n\r\n");
        io.write_all(request.as_bytes()).unwrap();
        rest(&mut io)
    };
    let found = meshkit_e2e::eventually(std::time::Duration::from_secs(20), || {
        Some(through("server.test.svc.cluster.local:8080")).filter(|answer| answer.starts_with("HTTP/1.1 200"))
    });
    let answer = found.unwrap_or_else(|| through("server.test.svc.cluster.local:8080")).to_ascii_lowercase();
    assert!(answer.contains("host: public.example") && !answer.contains("l5d-dst-override"), "{answer}");
    assert!(encrypted(&mesh, HTTP) >= 1);
    let nobody = through("nobody.test.svc.cluster.local:8080");
    assert!(!nobody.contains(" 200 "), "{nobody}");

    // Another cluster's proxy, played by openssl: it has a certificate of the same anchor.
    let dir = tempfile::tempdir().unwrap();
    let state = mesh.dir().join(".mesh/identity");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let from = |name: &str| state.join(name).display().to_string();
    let openssl = |words: &[&str]| {
        let out = Command::new("openssl").args(words).output().unwrap();
        assert!(out.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    let curve = "ec_paramgen_curve:P-256";
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        curve,
        "-nodes",
        "-subj",
        "/CN=a",
        "-keyout",
        &file("key"),
        "-out",
        &file("csr"),
    ]);
    fs::write(dir.path().join("ext"), "subjectAltName = DNS:other.far.serviceaccount.identity.linkerd.cluster.local\n").unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        &file("csr"),
        "-CA",
        &from("crt.pem"),
        "-CAkey",
        &from("key.pem"),
        "-CAserial",
        &file("serial"),
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        &file("ext"),
        "-out",
        &file("crt"),
    ]);
    let name = b"server.test.svc.cluster.local";
    let message = [&[0x08, 0x90, 0x3f, 0x12, u8::try_from(name.len()).unwrap()][..], name, &[0x1a, 2, 0x0a, 0]].concat();
    let header = [b"transport.l5d.io/v1\r\n\r\n", &u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
    let to = format!("{}:4143", mesh.ip("gate-0"));
    let mut client = Command::new("timeout")
        .args(["20", "openssl", "s_client", "-quiet", "-connect", &to, "-alpn", "transport.l5d.io/v1"])
        .args(["-servername", "gate.test.serviceaccount.identity.linkerd.cluster.local"])
        .args(["-cert", &file("crt"), "-key", &file("key"), "-cert_chain", &from("crt.pem"), "-CAfile", &from("ca-bundle.crt")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let request = b"GET /far HTTP/1.1\r\nhost: whatever.far\r\nconnection: close\r\n\r\n";
    client.stdin.take().unwrap().write_all(&[&header[..], request].concat()).unwrap();
    let out = client.wait_with_output().unwrap();
    let answer = String::from_utf8_lossy(&out.stdout).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200"), "{answer}{}", String::from_utf8_lossy(&out.stderr));
    // The gateway asks the server in its own name, and says for whom.
    assert!(answer.contains("get /far") && answer.contains("host: server.test.svc.cluster.local:8080"), "{answer}");
    assert!(answer.contains("forwarded: ") && answer.contains("other.far.serviceaccount"), "{answer}");
}

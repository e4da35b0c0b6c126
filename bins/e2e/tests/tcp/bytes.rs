//! Bytes that are not looked at, and TLS that ends in the application.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use meshkit_e2e::eventually;

use crate::{
    folder::{self, GREETS, HTTP, OPAQUE, TLS, UNKNOWN, connect, encrypted, listener, open_others, ready, rest, serve, server, until},
    mirror::{mirror, pattern},
};

#[test]
fn bytes_of_any_protocol_travel_encrypted_and_each_direction_ends_by_itself() {
    let mesh = folder::launch(&[("client", "")]);
    serve(server(&mesh, HTTP), mirror);
    // Takes everything first, and answers only then.
    serve(server(&mesh, OPAQUE), |mut io| {
        let mut all = Vec::new();
        if io.read_to_end(&mut all).is_ok() && !all.is_empty() {
            all.reverse();
            let _ = io.write_all(&all);
        }
    });
    let greet = |mut io: TcpStream| {
        let _ = io.write_all(b"220 speak\r\n");
        let line = until(&mut io, "\r\n");
        let _ = io.write_all(format!("you said {line}").as_bytes());
    };
    serve(server(&mesh, GREETS), greet);
    serve(server(&mesh, UNKNOWN), greet);
    open_others(&mesh, &[HTTP, OPAQUE, GREETS, UNKNOWN]);
    ready(&mesh, "client");

    // Nobody has said that the server speaks first: it takes the time of the detection. Meanwhile the others go on.
    let mut unknown = connect(&mesh, "client", UNKNOWN);
    let unknown = thread::spawn(move || {
        assert_eq!(until(&mut unknown, "\r\n"), "220 speak\r\n");
        unknown.write_all(b"late\r\n").unwrap();
        assert_eq!(rest(&mut unknown), "you said late\r\n");
    });

    let mut io = connect(&mesh, "client", OPAQUE);
    let mut sent = pattern(1);
    // What looks like HTTP is no concern of the proxies here.
    sent[..18].copy_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    io.write_all(&sent).unwrap();
    io.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    io.read_to_end(&mut back).unwrap();
    back.reverse();
    assert!(back == sent, "{} bytes came back of {}", back.len(), sent.len());

    let mut io = connect(&mesh, "client", GREETS);
    assert_eq!(until(&mut io, "\r\n"), "220 speak\r\n");
    io.write_all(b"hello\r\n").unwrap();
    assert_eq!(rest(&mut io), "you said hello\r\n");

    unknown.join().unwrap();
    for port in [OPAQUE, GREETS, UNKNOWN] {
        assert!(encrypted(&mesh, port) >= 1, "{port}: {}", mesh.metrics("server-0"));
    }
}

#[test]
fn tls_of_the_application_passes_through_untouched() {
    let mesh = folder::launch(&[("client", "")]);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=foreign.test"])
        .args(["-addext", "subjectAltName=DNS:foreign.test", "-keyout", &file("key"), "-out", &file("crt")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let on = server(&mesh, TLS).to_string();
    let mut foreign = Command::new("openssl")
        .args(["s_server", "-www", "-accept", &on, "-cert", &file("crt"), "-key", &file("key")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    serve(server(&mesh, HTTP), mirror);
    open_others(&mesh, &[HTTP, TLS]);
    ready(&mesh, "client");

    let through = listener(&mesh, "client", TLS).to_string();
    let mut client = Command::new("timeout")
        .args(["20", "openssl", "s_client", "-quiet", "-connect", &through, "-servername", "foreign.test", "-verify_return_error"])
        .args(["-CAfile", &file("crt"), "-verify_hostname", "foreign.test"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let out = client.wait_with_output().unwrap();
    let page = String::from_utf8_lossy(&out.stdout).into_owned();
    foreign.kill().unwrap();
    foreign.wait().unwrap();
    // The page is about the handshake that openssl had with openssl.
    assert!(page.contains("200 ok") && page.contains("s_server -www"), "{page}{}", String::from_utf8_lossy(&out.stderr));
    assert!(encrypted(&mesh, TLS) >= 1, "and it travelled within mutual TLS: {}", mesh.metrics("server-0"));
}

#[test]
fn a_client_that_does_not_read_holds_its_server_back() {
    /// More than all sockets on the way hold together, and far less than the server would like to send.
    const ENOUGH: usize = 64 << 20;
    let mesh = folder::launch(&[("client", "")]);
    // Sends without end, once it is asked for `/flood` or for bytes, until nobody takes more.
    let flood = |sent: Arc<AtomicUsize>| {
        move |mut io: TcpStream| {
            let mut asked = [0; 11];
            if io.read_exact(&mut asked).is_err() {
                return;
            }
            match &asked {
                b"GET /flood " | b"ask for it\n" => {}
                _ => return drop(io.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")),
            }
            io.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
            let _ = io.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let chunk = [7; 64 << 10];
            while sent.load(Ordering::Relaxed) < 2 * ENOUGH && io.write_all(&chunk).is_ok() {
                sent.fetch_add(chunk.len(), Ordering::Relaxed);
            }
            sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    let (http, opaque) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    serve(server(&mesh, HTTP), flood(Arc::clone(&http)));
    serve(server(&mesh, OPAQUE), flood(Arc::clone(&opaque)));
    open_others(&mesh, &[HTTP, OPAQUE]);
    ready(&mesh, "client");

    let mut web = connect(&mesh, "client", HTTP);
    web.write_all(b"GET /flood HTTP/1.1\r\nhost: server\r\n\r\n").unwrap();
    let mut bytes = connect(&mesh, "client", OPAQUE);
    bytes.write_all(b"ask for it\n").unwrap();
    for (what, sent) in [("HTTP", http), ("bytes", opaque)] {
        // The odd one is what the server adds when it gives up.
        let held = eventually(Duration::from_secs(30), || (sent.load(Ordering::Relaxed) % 2 == 1).then_some(()));
        assert!(held.is_some(), "{what}: the server is never held back");
        assert!(sent.load(Ordering::Relaxed) < ENOUGH, "{what}: {} bytes were taken", sent.load(Ordering::Relaxed));
    }
}

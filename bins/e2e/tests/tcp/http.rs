//! HTTP/1 of every kind.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
};

use crate::{
    folder::{self, HTTP, connect, encrypted, open_others, ready, rest, serve, server, until},
    mirror::{LARGE, mirror, pattern},
};

#[test]
fn http_of_every_kind_arrives_as_it_was_sent() {
    let mesh = folder::launch(&[("client", "")]);
    serve(server(&mesh, HTTP), mirror);
    open_others(&mesh, &[HTTP]);
    ready(&mesh, "client");
    let ask = |text: &str| {
        let mut io = connect(&mesh, "client", HTTP);
        io.write_all(text.as_bytes()).unwrap();
        io
    };

    // HTTP/1.0 ends with its connection, unless it asks for the contrary.
    let answer = rest(&mut ask("GET /old HTTP/1.0\r\nhost: server\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.0 200") && answer.contains("GET /old HTTP/1."), "{answer}");
    let mut io = ask("GET /first HTTP/1.0\r\nhost: server\r\nconnection: keep-alive\r\n\r\n");
    let head = until(&mut io, "\r\n\r\n").to_ascii_lowercase();
    assert!(head.contains("connection: keep-alive") && head.contains("content-length: "), "{head}");
    until(&mut io, "\r\n\r\n");
    io.write_all(b"GET /second HTTP/1.0\r\nhost: server\r\n\r\n").unwrap();
    assert!(rest(&mut io).contains("GET /second"));

    // Answers without a body, which tell a length all the same.
    let mut io = ask("HEAD /head HTTP/1.1\r\nhost: server\r\n\r\n");
    let head = until(&mut io, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 40"), "{head}");
    for status in ["304", "204"] {
        io.write_all(format!("GET /{status} HTTP/1.1\r\nhost: server\r\n\r\n").as_bytes()).unwrap();
        let head = until(&mut io, "\r\n\r\n");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }

    // A body that is sent only when it is asked for.
    let mut io = ask("POST /careful HTTP/1.1\r\nhost: server\r\nexpect: 100-continue\r\ncontent-length: 5\r\nconnection: close\r\n\r\n");
    assert!(until(&mut io, "\r\n\r\n").starts_with("HTTP/1.1 100 "));
    io.write_all(b"12345").unwrap();
    let answer = rest(&mut io);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n12345"), "{answer}");

    // Trailers, both ways.
    let mut io = ask(
        "TRAIL /sum HTTP/1.1\r\nhost: server\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
         3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n",
    );
    let answer = rest(&mut io).to_ascii_lowercase();
    assert!(answer.contains("the request's was 6") && answer.contains("x-end: 7\r\n"), "{answer}");

    // A connection that turns into something else, and ends one direction at a time.
    let mut io = ask("WEBSOCKET /ws HTTP/1.1\r\nhost: server\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert!(until(&mut io, "\r\n\r\n").starts_with("HTTP/1.1 101 "));
    echoes(io);
    let mut io = ask("CONNECT server.test:8080 HTTP/1.1\r\nhost: server.test:8080\r\n\r\n");
    assert!(until(&mut io, "\r\n\r\n").starts_with("HTTP/1.1 200 "));
    echoes(io);

    // Large bodies both ways, of a told length and chunked.
    let body = pattern(3);
    let mut io = ask(&format!("POST /large HTTP/1.1\r\nhost: server\r\ncontent-length: {LARGE}\r\nconnection: close\r\n\r\n"));
    let writer = {
        let (mut io, body) = (io.try_clone().unwrap(), body.clone());
        thread::spawn(move || io.write_all(&body).unwrap())
    };
    let mut back = Vec::new();
    io.read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert!(back.ends_with(&body), "{} bytes came back", back.len());
    assert!(encrypted(&mesh, HTTP) >= 1);
}

fn echoes(mut io: TcpStream) {
    for text in ["\x01\x05hello", "\0\x01\x02\n"] {
        io.write_all(text.as_bytes()).unwrap();
        assert_eq!(until(&mut io, text), text);
    }
    io.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut io), "bye");
}

#[test]
fn clients_that_break_off_their_bodies_do_not_make_the_server_look_broken() {
    let mesh = folder::launch(&[("client", "")]);
    serve(server(&mesh, HTTP), mirror);
    open_others(&mesh, &[HTTP]);
    ready(&mesh, "client");
    for n in 0..30 {
        let mut io = connect(&mesh, "client", HTTP);
        let body = if n % 2 == 0 { "zz\r\n" } else { "5\r\nhel" };
        let head = "POST /broken HTTP/1.1\r\nhost: server\r\ntransfer-encoding: chunked\r\n\r\n";
        io.write_all(format!("{head}{body}").as_bytes()).unwrap();
        io.shutdown(Shutdown::Write).unwrap();
        let answer = rest(&mut io);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 500"), "{body:?}: {answer}");
    }
    // The service rests an endpoint after three failures in a row; these were none.
    let mut io = connect(&mesh, "client", HTTP);
    io.write_all(b"GET /whole HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n").unwrap();
    let answer = rest(&mut io);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

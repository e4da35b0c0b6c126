//! What the workloads say.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

pub(crate) const LARGE: usize = 4 << 20;

/// Bytes that are not all alike.
pub(crate) fn pattern(seed: usize) -> Vec<u8> {
    (0..LARGE).map(|n| u8::try_from((n * 7 + n / 251 + seed) % 256).unwrap()).collect()
}

/// An HTTP/1 server of the simplest kind: the body of its answer is the request as it came. Some methods are special.
pub(crate) fn mirror(mut io: TcpStream) {
    let mut seen = Vec::new();
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = io.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..read]);
        while let Some(length) = request_length(&seen) {
            let request: Vec<u8> = seen.drain(..length).collect();
            match &request[..4] {
                b"CONN" => return tunnel(io, "HTTP/1.1 200 Connected\r\n\r\n"),
                b"WEBS" => return tunnel(io, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
                _ => {}
            }
            let first = String::from_utf8_lossy(&request).into_owned();
            let answer = match first.split(' ').take(2).collect::<Vec<_>>()[..] {
                ["TRAIL", _] => trailers(&request).into_bytes(),
                // Lengths of bodies that are not sent.
                ["HEAD", _] => b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n".to_vec(),
                [_, "/204"] => b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n".to_vec(),
                [_, "/304"] => b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n".to_vec(),
                _ => [format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes(), &request].concat(),
            };
            if io.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    if text.contains("transfer-encoding: chunked") {
        // The end of the last chunk and of the trailers behind it.
        let last = bytes[head..].windows(3).position(|window| window == b"0\r\n")? + head + 3;
        if bytes[last..].starts_with(b"\r\n") {
            return Some(last + 2);
        }
        return bytes[last..].windows(4).position(|window| window == b"\r\n\r\n").map(|end| last + end + 4);
    }
    let body = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok()).unwrap_or(0);
    (bytes.len() >= head + body).then_some(head + body)
}

/// Agrees to a tunnel, and sends back in it what comes, until no more does; then it says good-bye.
fn tunnel(mut io: TcpStream, agreed: &str) {
    io.write_all(agreed.as_bytes()).unwrap();
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = io.read(&mut buffer) {
        io.write_all(&buffer[..read]).unwrap();
    }
    let _ = io.write_all(b"bye");
}

/// Tells in the body what the request's trailer said, and has one of its own.
fn trailers(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let sum = text.split("\r\n0\r\nx-sum: ").nth(1).map_or("missing", str::trim);
    let body = format!("the request's was {sum}");
    format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n{:x}\r\n{body}\r\n0\r\nx-end: 7\r\n\r\n", body.len())
}

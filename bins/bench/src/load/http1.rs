//! HTTP/1.1: one request after the other.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Outcome, Worker, within};

/// What a response's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Of head and body.
    length: usize,
}

/// One connection, until it breaks.
pub(super) async fn run(worker: Worker) -> io::Result<()> {
    let mut stream = worker.dial().await?;
    let request = format!("GET {} HTTP/1.1\r\nhost: {}\r\n\r\n", worker.load.path, worker.load.authority);
    let mut buffer = Vec::with_capacity(16 << 10);
    loop {
        let due = worker.pace.next().await;
        stream.write_all(request.as_bytes()).await?;
        let outcome = within(response(&mut stream, &mut buffer)).await?;
        worker.tally.borrow_mut().record(outcome, due);
    }
}

/// Reads one response whole. `buffer` is empty before and after.
pub(super) async fn response(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Outcome> {
    buffer.clear();
    let head = loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(head) = parse(buffer)? {
            break head;
        }
    };
    while buffer.len() < head.length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if buffer.len() > head.length {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more than one response to one request"));
    }
    Ok(if head.status == 200 { Outcome::Success } else { Outcome::Failure })
}

fn parse(bytes: &[u8]) -> io::Result<Option<Head>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let end = match response.parse(bytes).map_err(|error| invalid(error.to_string()))? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(end) => end,
    };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    // Every server here knows how long its bodies are, and no proxy has a reason to hide it.
    let length = length.ok_or_else(|| invalid("a response without a length".to_owned()))?;
    Ok(Some(Head { status: response.code.unwrap_or(0), length: end + length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_only_when_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        for end in 0..37 {
            assert_eq!(parse(&text[..end]).unwrap(), None, "{end}");
        }
        assert_eq!(parse(text).unwrap(), Some(Head { status: 200, length: text.len() }));
        assert!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(parse(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}

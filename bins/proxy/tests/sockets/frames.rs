//! Frames of HTTP/2 (RFC 9113, section 4), as bytes.

use crate::support::peer::Peer;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// `:method: GET`, `:path: /`, `:scheme: http`, of the static table (RFC 7541, appendix A).
pub(crate) const GET: &[u8] = &[0x82, 0x84, 0x86];
/// `:method: POST`.
pub(crate) const POST: &[u8] = &[0x83, 0x84, 0x86];

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field that is not indexed.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let length = text.len();
        if length < 127 {
            bytes.push(u8::try_from(length).unwrap());
        } else {
            // An integer of seven bits and more (RFC 7541, section 5.1).
            bytes.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128 + 128).unwrap());
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// A frame as it came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of a GOAWAY or RST_STREAM.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// The next frame, or `None` at the end of the connection.
pub(crate) fn next(peer: &mut Peer) -> Option<Frame> {
    let head = peer.take(9);
    let [a, b, c, kind, _, stream @ ..] = <[u8; 9]>::try_from(head).ok()?;
    let payload = peer.take(u32::from_be_bytes([0, a, b, c]) as usize);
    Some(Frame { kind, stream: u32::from_be_bytes(stream), payload })
}

/// Reads up to a frame of this kind; the connection must not end before.
pub(crate) fn until(peer: &mut Peer, kind: u8) -> Frame {
    let mut seen = Vec::new();
    loop {
        match next(peer) {
            Some(frame) if frame.kind == kind => return frame,
            Some(frame) => seen.push(frame),
            None => panic!("no frame of kind {kind} in {seen:?}"),
        }
    }
}

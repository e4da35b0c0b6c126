//! What a client says first on a connection to a proxy: which port or name it wants, and which protocol follows.
//!
//! On the wire: the 23 bytes `transport.l5d.io/v1\r\n\r\n`, a length as four bytes, big endian, and that many bytes of a protobuf message with
//! `port` (1, int32), `name` (2, string) and `session_protocol` (3, a message with `http1` (1) or `http2` (2), both empty messages).

use std::{fmt, io, num::NonZeroU16};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::Prefixed;

/// The name by which both ends agree on a header.
pub const ALPN: &[u8] = b"transport.l5d.io/v1";

const PREFACE: &[u8; 23] = b"transport.l5d.io/v1\r\n\r\n";
const PREFIX_LEN: usize = PREFACE.len() + 4;

/// The longest message that is accepted, in bytes.
pub const MAX_LEN: usize = 64 * 1024;

/// The header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransportHeader {
    /// The port that the client wants.
    pub port: NonZeroU16,
    /// The name that a gateway is asked for; `None` is the workload itself.
    pub name: Option<String>,
    /// What follows; `None` is bytes that are not to be looked at.
    pub protocol: Option<SessionProtocol>,
}

/// What follows a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionProtocol {
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What was decoded so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // A decoder has a result or needs more.
pub enum Decoded {
    /// The header is not complete.
    NeedMore,
    /// The header, and how many bytes it took.
    Header(TransportHeader, usize),
}

/// The bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidHeader {
    /// They do not begin as one.
    Preface,
    /// The message is longer than [`MAX_LEN`].
    TooLong(usize),
    /// The message is not protobuf.
    Malformed,
    /// The port is not from 1 to 65535.
    Port,
    /// The name is not UTF-8.
    Name,
}

impl TransportHeader {
    /// Decodes the front of `bytes`.
    ///
    /// # Errors
    /// See [`InvalidHeader`].
    pub fn decode(bytes: &[u8]) -> Result<Decoded, InvalidHeader> {
        let seen = bytes.len().min(PREFACE.len());
        if bytes[..seen] != PREFACE[..seen] {
            return Err(InvalidHeader::Preface);
        }
        let Some(length) = bytes.get(PREFACE.len()..PREFIX_LEN) else { return Ok(Decoded::NeedMore) };
        let length = length.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
        if length > MAX_LEN {
            return Err(InvalidHeader::TooLong(length));
        }
        match bytes.get(PREFIX_LEN..PREFIX_LEN + length) {
            None => Ok(Decoded::NeedMore),
            Some(message) => Ok(Decoded::Header(Self::decode_message(message)?, PREFIX_LEN + length)),
        }
    }

    fn decode_message(mut message: &[u8]) -> Result<Self, InvalidHeader> {
        let (mut port, mut name, mut protocol) = (0, None, None);
        while !message.is_empty() {
            match field(&mut message)? {
                (1, Value::Varint(value)) => port = value,
                (2, Value::Bytes(bytes)) => {
                    let text = std::str::from_utf8(bytes).map_err(|_| InvalidHeader::Name)?;
                    name = Some(text.to_owned()).filter(|name| !name.is_empty());
                }
                (3, Value::Bytes(mut inner)) => {
                    while !inner.is_empty() {
                        match field(&mut inner)? {
                            (1, Value::Bytes(_)) => protocol = Some(SessionProtocol::Http1),
                            (2, Value::Bytes(_)) => protocol = Some(SessionProtocol::Http2),
                            // A protocol of the future is opaque to us.
                            _ => {}
                        }
                    }
                }
                (1..=3, _) => return Err(InvalidHeader::Malformed),
                _ => {}
            }
        }
        let port = u16::try_from(port).ok().and_then(NonZeroU16::new).ok_or(InvalidHeader::Port)?;
        Ok(Self { port, name, protocol })
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Two varints of at most ten bytes with their keys, the name, the protocol.
        let room = PREFIX_LEN + 26 + self.name.as_ref().map_or(0, String::len);
        let mut bytes = Vec::with_capacity(room);
        bytes.extend_from_slice(PREFACE);
        bytes.extend_from_slice(&[0; 4]);
        bytes.push(0x08);
        put_varint(&mut bytes, u64::from(self.port.get()));
        if let Some(name) = &self.name {
            bytes.push(0x12);
            put_varint(&mut bytes, name.len() as u64);
            bytes.extend_from_slice(name.as_bytes());
        }
        match self.protocol {
            Some(SessionProtocol::Http1) => bytes.extend_from_slice(&[0x1a, 2, 0x0a, 0]),
            Some(SessionProtocol::Http2) => bytes.extend_from_slice(&[0x1a, 2, 0x12, 0]),
            None => {}
        }
        let length = u32::try_from(bytes.len() - PREFIX_LEN).unwrap_or(u32::MAX);
        bytes[PREFACE.len()..PREFIX_LEN].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    /// Writes the header.
    ///
    /// # Errors
    /// The stream cannot be written.
    ///
    /// # Cancel safety
    /// A dropped write may have written a part.
    pub async fn write(&self, io: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        io.write_all(&self.encode()).await?;
        io.flush().await
    }

    /// Reads a header, and gives what came behind it back to the front of the stream. The caller bounds the time.
    ///
    /// # Errors
    /// `InvalidData` for what is no header, `UnexpectedEof` for a stream that ends in one.
    ///
    /// # Cancel safety
    /// Dropping the future drops the stream.
    pub async fn read<I: AsyncRead + Unpin>(mut io: I) -> io::Result<(Self, Prefixed<I>)> {
        let mut bytes = bytes::BytesMut::with_capacity(256);
        loop {
            if io.read_buf(&mut bytes).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within a transport header"));
            }
            match Self::decode(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))? {
                Decoded::NeedMore => {}
                Decoded::Header(header, length) => return Ok((header, Prefixed::new(bytes.split_off(length), io))),
            }
        }
    }
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Takes one field off the front: its number and its value.
fn field<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Value<'a>), InvalidHeader> {
    let key = varint(bytes)?;
    let mut take = |length: usize| {
        let (taken, rest) = bytes.split_at_checked(length).ok_or(InvalidHeader::Malformed)?;
        *bytes = rest;
        Ok(taken)
    };
    let value = match key & 7 {
        0 => Value::Varint(varint(bytes)?),
        1 => take(8).map(|_| Value::Other)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).map_err(|_| InvalidHeader::Malformed)?;
            let (taken, rest) = bytes.split_at_checked(length).ok_or(InvalidHeader::Malformed)?;
            *bytes = rest;
            Value::Bytes(taken)
        }
        5 => take(4).map(|_| Value::Other)?,
        _ => return Err(InvalidHeader::Malformed),
    };
    match key >> 3 {
        0 => Err(InvalidHeader::Malformed),
        number => Ok((number, value)),
    }
}

/// At most ten bytes of seven bits each (protobuf encoding, "Base 128 Varints").
fn varint(bytes: &mut &[u8]) -> Result<u64, InvalidHeader> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(InvalidHeader::Malformed)?;
        *bytes = rest;
        value |= u64::from(first & 0x7f).checked_shl(shift).unwrap_or_default();
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(InvalidHeader::Malformed)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

impl fmt::Display for InvalidHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preface => f.write_str("the connection does not begin with a transport header"),
            Self::TooLong(n) => write!(f, "a transport header of {n} bytes is longer than the limit of {MAX_LEN}"),
            Self::Malformed => f.write_str("the transport header cannot be read"),
            Self::Port => f.write_str("the transport header's port is not from 1 to 65535"),
            Self::Name => f.write_str("the transport header's name is not UTF-8"),
        }
    }
}

impl std::error::Error for InvalidHeader {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers() -> impl Strategy<Value = TransportHeader> {
        let protocol = prop_oneof![Just(None), Just(Some(SessionProtocol::Http1)), Just(Some(SessionProtocol::Http2))];
        (any::<NonZeroU16>(), proptest::option::of("[a-z.]{1,300}"), protocol).prop_map(|(port, name, protocol)| TransportHeader {
            port,
            name,
            protocol,
        })
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let header = TransportHeader { port: NonZeroU16::new(8080).unwrap(), name: None, protocol: Some(SessionProtocol::Http2) };
        let mut wanted = b"transport.l5d.io/v1\r\n\r\n\0\0\0\x07".to_vec();
        wanted.extend_from_slice(&[0x08, 0x90, 0x3f, 0x1a, 0x02, 0x12, 0x00]);
        assert_eq!(header.encode(), wanted);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let invalid = |bytes: &[u8]| TransportHeader::decode(bytes).unwrap_err();
        assert_eq!(invalid(b"GET / HTTP/1.1\r\n"), InvalidHeader::Preface);
        let with = |message: &[u8]| [PREFACE.as_slice(), &(message.len() as u32).to_be_bytes(), message].concat();
        assert_eq!(invalid(&with(&[])), InvalidHeader::Port);
        assert_eq!(invalid(&with(&[0x08, 0x00])), InvalidHeader::Port);
        assert_eq!(invalid(&with(&[0x08, 0xff, 0xff, 0xff, 0xff, 0x0f])), InvalidHeader::Port);
        assert_eq!(invalid(&with(&[0x12, 0x05, b'a'])), InvalidHeader::Malformed);
        assert_eq!(invalid(&with(&[0x08, 0x01, 0x12, 0x01, 0xff])), InvalidHeader::Name);
        let mut long = PREFACE.to_vec();
        long.extend_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(invalid(&long), InvalidHeader::TooLong(u32::MAX as usize));
    }

    proptest! {
        #[test]
        fn headers_round_trip_whatever_follows_and_wherever_they_are_cut(header in headers(), tail in proptest::collection::vec(any::<u8>(), 0..20)) {
            let bytes = header.encode();
            for cut in 0..bytes.len() {
                prop_assert_eq!(TransportHeader::decode(&bytes[..cut]), Ok(Decoded::NeedMore));
            }
            let length = bytes.len();
            prop_assert_eq!(TransportHeader::decode(&[bytes, tail].concat()), Ok(Decoded::Header(header, length)));
        }

        #[test]
        fn no_message_panics(message in proptest::collection::vec(any::<u8>(), 0..64)) {
            let bytes = [PREFACE.as_slice(), &(message.len() as u32).to_be_bytes(), &message].concat();
            let _ = TransportHeader::decode(&bytes);
        }
    }

    #[tokio::test]
    async fn the_first_bytes_of_the_application_come_behind_the_header() {
        let header = TransportHeader { port: NonZeroU16::MIN, name: Some("web.emojivoto:80".to_owned()), protocol: None };
        let bytes = [header.encode(), b"hello".to_vec()].concat();
        let (read, mut rest) = TransportHeader::read(bytes.as_slice()).await.unwrap();
        let mut text = String::new();
        rest.read_to_string(&mut text).await.unwrap();
        assert_eq!((read, text.as_str()), (header, "hello"));
    }
}

//! The first bytes of a meshed connection.

use std::num::NonZeroU16;

use meshkit_tls::transport_header::{Decoded, InvalidHeader, SessionProtocol, TransportHeader};
use prost::Message as _;

use crate::Verdict;

/// The bytes in front of the message: the preface, and the message's length.
const FRONT_LEN: usize = 27;

/// What the decoder passes over and others refuse: a protocol that is no message or one with nonsense in it, the numbers of fields that cannot
/// exist, and the bits of a number beyond the 64th. None of them is written by anybody.
const LENIENT: [&str; 3] = ["Protocol.kind: Wire.protocol: ", "invalid key value", "invalid varint"];

/// Cuts the bytes everywhere: an answer, once given, stays. What is taken for a header reads the same to a general protobuf reader, and the same
/// again after it was written.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    // Most inputs fail in the preface, which is not worth the cuts.
    if let Err(InvalidHeader::Preface) = TransportHeader::decode(data) {
        return Verdict::Refused;
    }
    let mut answer = Ok(Decoded::NeedMore);
    for cut in 0..=data.len() {
        let seen = TransportHeader::decode(&data[..cut]);
        assert!(answer == Ok(Decoded::NeedMore) || answer == seen, "{answer:?} became {seen:?} at byte {cut}");
        answer = seen;
    }
    let Ok(Decoded::Header(header, length)) = answer else { return Verdict::Refused };
    assert!((FRONT_LEN..=data.len()).contains(&length), "{length} of {} bytes", data.len());
    match naive(&data[FRONT_LEN..length]) {
        Ok(read) => assert_eq!(read, header),
        Err(error) => assert!(LENIENT.iter().any(|known| error.contains(known)), "{error}: {header:?}"),
    }
    let written = header.encode();
    assert_eq!(TransportHeader::decode(&written), Ok(Decoded::Header(header, written.len())));
    Verdict::Accepted
}

/// The message, as its definition has it.
#[derive(prost::Message)]
struct Wire {
    #[prost(int32, tag = "1")]
    port: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, optional, tag = "3")]
    protocol: Option<Protocol>,
}

#[derive(prost::Message)]
struct Protocol {
    #[prost(oneof = "Kind", tags = "1, 2")]
    kind: Option<Kind>,
}

#[derive(prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Http1(Empty),
    #[prost(message, tag = "2")]
    Http2(Empty),
}

#[derive(prost::Message)]
struct Empty {}

fn naive(message: &[u8]) -> Result<TransportHeader, String> {
    let wire = Wire::decode(message).map_err(|error| error.to_string())?;
    let port = u16::try_from(wire.port).ok().and_then(NonZeroU16::new).ok_or("port")?;
    let protocol = wire.protocol.and_then(|protocol| protocol.kind).map(|kind| match kind {
        Kind::Http1(Empty {}) => SessionProtocol::Http1,
        Kind::Http2(Empty {}) => SessionProtocol::Http2,
    });
    Ok(TransportHeader { port, name: Some(wire.name).filter(|name| !name.is_empty()), protocol })
}

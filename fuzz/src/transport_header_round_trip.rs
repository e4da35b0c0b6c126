//! A header's fields, written and read.

use std::num::NonZeroU16;

use meshkit_tls::transport_header::{Decoded, SessionProtocol, TransportHeader};

use crate::{Input, Verdict};

/// What is written is read, wherever it is cut and whatever follows.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let Some(port) = NonZeroU16::new(input.number()) else { return Verdict::Refused };
    let protocol = input.pick(&[None, Some(SessionProtocol::Http1), Some(SessionProtocol::Http2)]);
    let name = Some(input.text()).filter(|name| !name.is_empty());
    let header = TransportHeader { port, name, protocol };
    let written = header.encode();
    for cut in 0..written.len() {
        assert_eq!(TransportHeader::decode(&written[..cut]), Ok(Decoded::NeedMore), "cut at {cut}");
    }
    let length = written.len();
    let followed = [&written, input.rest()].concat();
    assert_eq!(TransportHeader::decode(&followed), Ok(Decoded::Header(header, length)));
    Verdict::Accepted
}

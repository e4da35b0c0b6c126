//! The headers that carry a trace from one service to the next.

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const GRPC: HeaderName = HeaderName::from_static("grpc-trace-bin");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");

/// Binary headers come with padding and without. Source: gRPC over HTTP/2, "Custom-Metadata".
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Which part of a trace a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace_id: [u8; 16],
    pub(super) parent: [u8; 8],
    /// Is anybody to be told of it?
    pub(super) sampled: bool,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `00-<trace>-<span>-<flags>`. Source: W3C Trace Context, section 3.2.
    W3c { flags: u8 },
    /// Version 0, then the fields trace, span and options, each behind its number. Source: OpenCensus, "BinaryEncoding".
    Grpc { flags: u8 },
    /// One header for each. Source: B3 propagation, "Multiple Headers".
    B3,
}

impl Context {
    /// What the headers of a request say, if they say something that makes sense.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        text(&TRACEPARENT)
            .and_then(w3c)
            .or_else(|| text(&GRPC).and_then(grpc))
            .or_else(|| b3(text(&B3_TRACE)?, text(&B3_SPAN)?, text(&B3_SAMPLED)))
    }

    /// Makes `span` the parent of what follows, in the format that the request came with.
    pub(super) fn pass_on(&self, span: [u8; 8], headers: &mut HeaderMap) {
        let (name, text) = match self.format {
            Format::W3c { flags } => (TRACEPARENT, format!("00-{}-{}-{flags:02x}", hex(&self.trace_id), hex(&span))),
            Format::Grpc { flags } => {
                let bytes = [&[0, 0][..], &self.trace_id, &[1], &span, &[2, flags]].concat();
                (GRPC, BASE64.encode(bytes))
            }
            Format::B3 => (B3_SPAN, hex(&span)),
        };
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }

    fn new(trace_id: [u8; 16], parent: [u8; 8], sampled: bool, format: Format) -> Option<Self> {
        (trace_id != [0; 16] && parent != [0; 8]).then_some(Self { trace_id, parent, sampled, format })
    }
}

fn w3c(text: &str) -> Option<Context> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != "00" || parts.next().is_some() {
        return None;
    }
    let [flags] = unhex::<1>(flags)?;
    Context::new(unhex(trace)?, unhex(span)?, flags & 1 == 1, Format::W3c { flags })
}

fn grpc(text: &str) -> Option<Context> {
    let bytes = BASE64.decode(text).ok()?;
    let (version, mut rest) = bytes.split_first()?;
    let (mut trace, mut span, mut flags) = (None, None, 0);
    while let Some((field, value)) = rest.split_first() {
        rest = match field {
            0 => value.split_first_chunk::<16>().map(|(id, rest)| (trace = Some(*id), rest).1)?,
            1 => value.split_first_chunk::<8>().map(|(id, rest)| (span = Some(*id), rest).1)?,
            2 => value.split_first().map(|(options, rest)| (flags = *options, rest).1)?,
            // The fields stand in rising order; what a later version adds comes last.
            _ => break,
        };
    }
    if *version != 0 {
        return None;
    }
    Context::new(trace?, span?, flags & 1 == 1, Format::Grpc { flags })
}

fn b3(trace: &str, span: &str, sampled: Option<&str>) -> Option<Context> {
    let trace = match unhex::<16>(trace) {
        Some(trace) => trace,
        // Half a trace id is its lower half.
        None => {
            let mut whole = [0; 16];
            whole[8..].copy_from_slice(&unhex::<8>(trace)?);
            whole
        }
    };
    Context::new(trace, unhex(span)?, sampled == Some("1"), Format::B3)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const W3C: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn read(pairs: &[(&'static str, &str)]) -> Option<Context> {
        Context::of(&headers(pairs))
    }

    #[test]
    fn each_format_is_read_and_passed_on_as_it_came() {
        let span = [0xaa; 8];
        let mut w3c = headers(&[("traceparent", W3C), ("tracestate", "a=b")]);
        let context = Context::of(&w3c).unwrap();
        assert_eq!((context.sampled, context.trace_id[0], context.parent[7]), (true, 0x0a, 0x31));
        context.pass_on(span, &mut w3c);
        assert_eq!(w3c["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-aaaaaaaaaaaaaaaa-01");
        assert_eq!(w3c["tracestate"], "a=b");

        let mut b3 = headers(&[("x-b3-traceid", "8448eb211c80319c"), ("x-b3-spanid", "b7ad6b7169203331"), ("x-b3-sampled", "1")]);
        let context = Context::of(&b3).unwrap();
        assert_eq!((context.sampled, context.trace_id[7], context.trace_id[8]), (true, 0, 0x84));
        context.pass_on(span, &mut b3);
        assert_eq!((&b3["x-b3-spanid"], &b3["x-b3-traceid"]), (&"aaaaaaaaaaaaaaaa".parse().unwrap(), &"8448eb211c80319c".parse().unwrap()));

        // 29 bytes, as OpenCensus writes them.
        let binary = "AABh8QjoKOS+xu8cjEBkS0uTAQAAAAAAAAABAgE";
        let mut grpc = headers(&[("grpc-trace-bin", binary)]);
        let context = Context::of(&grpc).unwrap();
        assert_eq!((context.sampled, context.parent), (true, [0, 0, 0, 0, 0, 0, 0, 1]));
        context.pass_on(span, &mut grpc);
        assert_eq!(Context::of(&grpc).unwrap(), Context { parent: span, ..context });
        context.pass_on(context.parent, &mut grpc);
        assert_eq!(grpc["grpc-trace-bin"], binary);
        assert_eq!(read(&[("grpc-trace-bin", &format!("{binary}="))]), Some(context), "padding is legal");
    }

    #[test]
    fn the_first_format_that_makes_sense_counts() {
        let b3 = [("x-b3-traceid", "8448eb211c80319c"), ("x-b3-spanid", "b7ad6b7169203331")];
        let both = |traceparent: &str| read(&[("traceparent", traceparent), b3[0], b3[1]]).map(|context| context.format);
        assert_eq!(both(W3C), Some(Format::W3c { flags: 1 }));
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-02",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(both(bad), Some(Format::B3), "{bad}");
        }
        assert_eq!(read(&[b3[0]]), None);
        assert!(!read(&b3).unwrap().sampled, "what does not say so is not sampled");
    }

    proptest! {
        #[test]
        fn any_header_can_be_read(w3c in "[ -~]{0,70}", grpc in "[A-Za-z0-9+/=]{0,60}", b3 in "[ -~]{0,40}") {
            let mut all = headers(&[("traceparent", &w3c), ("grpc-trace-bin", &grpc), ("x-b3-traceid", &b3), ("x-b3-spanid", &b3)]);
            if let Some(context) = Context::of(&all) {
                context.pass_on([7; 8], &mut all);
                prop_assert_eq!(Context::of(&all).unwrap().parent, [7; 8]);
            }
        }
    }
}

//! Spans, and how a collector of OpenTelemetry is told of them (OTLP over gRPC).

use std::time::SystemTime;

use crate::{Channel, Refused};

#[allow(missing_docs, unreachable_pub, unnameable_types, clippy::all, clippy::pedantic)]
mod proto {
    tonic::include_proto!("opentelemetry.proto.collector.trace.v1");
}

/// A part of a trace: how long one thing took.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs)] // What a collector has to know; a new field would be a new message.
pub struct Span {
    /// The trace.
    pub trace_id: [u8; 16],
    /// This part of it.
    pub span_id: [u8; 8],
    /// What it is a part of.
    pub parent: [u8; 8],
    /// What was done.
    pub name: String,
    /// Which side did it.
    pub kind: Kind,
    /// From here.
    pub start: SystemTime,
    /// To here.
    pub end: SystemTime,
    /// What else is known.
    pub attributes: Vec<Attribute>,
}

/// Which side of a call a span tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // A call has two sides.
pub enum Kind {
    /// Who was called.
    Server,
    /// Who called.
    Client,
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs)] // It is a pair.
pub struct Attribute {
    /// The name.
    pub key: String,
    /// The value.
    pub value: Value,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
}

impl Attribute {
    /// A text under a name.
    #[must_use]
    pub fn text(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: Value::Text(value.into()) }
    }

    /// A number under a name.
    #[must_use]
    pub fn number(key: impl Into<String>, value: i64) -> Self {
        Self { key: key.into(), value: Value::Number(value) }
    }
}

/// Tells a collector of spans. `resource` says whose they are.
///
/// # Errors
/// The collector cannot be reached, or does not take them.
///
/// # Cancel safety
/// Whether the collector took them is not known then.
pub async fn export(channel: Channel, resource: &[Attribute], spans: Vec<Span>) -> Result<(), Refused> {
    let mut client = proto::trace_service_client::TraceServiceClient::new(channel);
    client.export(request(resource, spans)).await.map(drop).map_err(|status| Refused::of(&status))
}

fn request(resource: &[Attribute], spans: Vec<Span>) -> proto::ExportTraceServiceRequest {
    let resource = proto::Resource { attributes: resource.iter().cloned().map(pair).collect() };
    let spans = spans.into_iter().map(span).collect();
    proto::ExportTraceServiceRequest {
        resource_spans: vec![proto::ResourceSpans { resource: Some(resource), scope_spans: vec![proto::ScopeSpans { spans }] }],
    }
}

fn span(span: Span) -> proto::Span {
    let kind = match span.kind {
        Kind::Server => proto::span::Kind::Server,
        Kind::Client => proto::span::Kind::Client,
    };
    proto::Span {
        trace_id: span.trace_id.to_vec(),
        span_id: span.span_id.to_vec(),
        parent_span_id: span.parent.to_vec(),
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: nanos(span.start),
        end_time_unix_nano: nanos(span.end),
        attributes: span.attributes.into_iter().map(pair).collect(),
        // Only what is sampled is told of.
        flags: 1,
    }
}

fn pair(Attribute { key, value }: Attribute) -> proto::KeyValue {
    let value = match value {
        Value::Text(text) => proto::any_value::Value::StringValue(text),
        Value::Number(number) => proto::any_value::Value::IntValue(number),
    };
    proto::KeyValue { key, value: Some(proto::AnyValue { value: Some(value) }) }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost::Message as _;

    use super::*;

    /// Field by field, by hand, from the published definitions.
    #[test]
    fn a_span_is_encoded_as_the_published_definitions_say() {
        let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        let one = Span {
            trace_id: [1; 16],
            span_id: [2; 8],
            parent: [3; 8],
            name: "/a".to_owned(),
            kind: Kind::Client,
            start: at(1),
            end: at(2),
            attributes: vec![Attribute::number("s", 200)],
        };
        let bytes = request(&[Attribute::text("k", "v")], vec![one]).encode_to_vec();
        let mut span = vec![0x0a, 16];
        span.extend([1; 16]);
        span.extend([0x12, 8]);
        span.extend([2; 8]);
        span.extend([0x22, 8]);
        span.extend([3; 8]);
        span.extend([0x2a, 2, b'/', b'a', 0x30, 3, 0x39]);
        span.extend(1_000_000_000_u64.to_le_bytes());
        span.push(0x41);
        span.extend(2_000_000_000_u64.to_le_bytes());
        span.extend([0x4a, 8, 0x0a, 1, b's', 0x12, 3, 0x18, 0xc8, 0x01]);
        span.extend([0x85, 0x01, 1, 0, 0, 0]);
        let len = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
        let mut scope = vec![0x12, len(&span)];
        scope.extend(span);
        let mut all = vec![0x0a, 10, 0x0a, 8, 0x0a, 1, b'k', 0x12, 3, 0x0a, 1, b'v', 0x12, len(&scope)];
        all.extend(scope);
        let mut want = vec![0x0a, len(&all)];
        want.extend(all);
        assert_eq!(bytes, want);
    }
}

//! What became of spans: `opentelemetry_*`.

use std::sync::Arc;

use meshkit_runtime::metrics::{Counter, Registry};

/// Counters of the exporter of spans.
#[derive(Clone, Debug)]
pub(crate) struct TraceCounters {
    /// Exporters that were started.
    pub(crate) streams: Arc<Counter>,
    /// Messages.
    pub(crate) requests: Arc<Counter>,
    /// Spans that the collector took.
    pub(crate) exports: Arc<Counter>,
    /// Spans that nobody took.
    pub(crate) dropped: Arc<Counter>,
}

impl TraceCounters {
    pub(crate) fn register(registry: &Registry) -> Self {
        let (legacy, own) = (registry.legacy().prefix("opentelemetry"), registry.open().prefix("mesh_trace"));
        Self {
            streams: legacy.counter("span_export_streams", "Exporters of spans that were started"),
            requests: legacy.counter("span_export_requests", "Messages to the collector of traces"),
            exports: legacy.counter("span_exports", "Spans that the collector of traces took"),
            dropped: own.counter("dropped_spans", "Spans that are lost: too many wait, or the collector of traces did not take them"),
        }
    }
}

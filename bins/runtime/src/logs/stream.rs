//! The log as it is written, for one reader more, with a filter of its own.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer,
    fmt::{
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    layer,
    registry::LookupSpan,
};

use super::filter::Filter;

/// Lines that wait for one reader; further ones are dropped, and counted.
const LINES_MAX: usize = 512;
/// Readers at a time.
const STREAMS_MAX: usize = 16;

/// The log from now on, as JSON objects, one per line. It ends for nobody but who drops it.
///
/// What comes faster than it is read is dropped; then a line `{"dropped_events":n}` says how many there were.
#[derive(Debug)]
pub struct Stream {
    lines: mpsc::Receiver<Bytes>,
    reader: Arc<Reader>,
    streams: Arc<Streams>,
}

/// As many read the log as may at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// All who read.
#[derive(Debug, Default)]
pub(super) struct Streams(RwLock<Vec<Arc<Reader>>>);

#[derive(Debug)]
struct Reader {
    filter: Filter,
    lines: mpsc::Sender<Bytes>,
    dropped_count: AtomicU64,
}

/// Writes events for whoever reads.
pub(super) struct Lines(pub(super) Arc<Streams>);

/// Lets through what any reader wants.
pub(super) struct Wanted(pub(super) Arc<Streams>);

/// The fields of a span, among its extensions.
struct SpanFields(Map<String, Value>);

impl Streams {
    pub(super) fn open(self: &Arc<Self>, filter: Filter) -> Result<Stream, TooMany> {
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let reader = Arc::new(Reader { filter, lines: sender, dropped_count: AtomicU64::new(0) });
        {
            let mut readers = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if readers.len() >= STREAMS_MAX {
                return Err(TooMany);
            }
            readers.push(Arc::clone(&reader));
        }
        // What nobody wanted before may be wanted now. It asks the readers, so the lock is free by now.
        super::rebuild();
        Ok(Stream { lines, reader, streams: Arc::clone(self) })
    }

    fn any(&self, wants: impl Fn(&Filter) -> bool) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().any(|reader| wants(&reader.filter))
    }
}

impl Stream {
    /// The next line, with its end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn line(&mut self) -> Bytes {
        std::future::poll_fn(|cx| self.poll_line(cx)).await
    }

    /// How many lines can be had at once.
    pub(crate) fn waiting_count(&self) -> usize {
        self.lines.len() + usize::from(self.reader.dropped_count.load(Ordering::Relaxed) > 0)
    }

    pub(crate) fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let dropped = self.reader.dropped_count.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            return Poll::Ready(line(&json!({ "dropped_events": dropped })));
        }
        match self.lines.poll_recv(cx) {
            Poll::Ready(Some(line)) => Poll::Ready(line),
            // A sender is held here, so there is always another line to wait for.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let others = |reader: &Arc<Reader>| !Arc::ptr_eq(reader, &self.reader);
        self.streams.0.write().unwrap_or_else(PoisonError::into_inner).retain(others);
        super::rebuild();
    }
}

impl<S> layer::Filter<S> for Wanted
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, meta: &Metadata<'_>, cx: &layer::Context<'_, S>) -> bool {
        self.0.any(|filter| filter.enabled(meta, super::spans(cx)))
    }

    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        let readers = self.0.0.read().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<_> = readers.iter().map(|reader| reader.filter.interest(meta)).collect();
        if found.iter().any(Interest::is_always) {
            Interest::always()
        } else if found.iter().any(Interest::is_sometimes) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let readers = self.0.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(readers.iter().map(|reader| reader.filter.max_level()).max().unwrap_or(LevelFilter::OFF))
    }
}

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: layer::Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        let mut fields = Fields(Map::new());
        attributes.record(&mut fields);
        span.extensions_mut().replace(SpanFields(fields.0));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: layer::Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        if let Some(SpanFields(map)) = span.extensions_mut().get_mut() {
            let mut fields = Fields(std::mem::take(map));
            values.record(&mut fields);
            *map = fields.0;
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: layer::Context<'_, S>) {
        let readers = self.0.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut written = None;
        for reader in readers.iter().filter(|reader| reader.filter.enabled(event.metadata(), super::spans(&cx))) {
            let line = written.get_or_insert_with(|| line(&describe(event, &cx))).clone();
            if reader.lines.try_send(line).is_err() {
                reader.dropped_count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// As the log in JSON has it.
fn describe<S>(event: &Event<'_>, cx: &layer::Context<'_, S>) -> Value
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let mut timestamp = String::new();
    // A string takes all that is written to it.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let mut fields = Fields(Map::new());
    event.record(&mut fields);
    let spans = cx.event_scope(event).into_iter().flat_map(|scope| scope.from_root()).map(|span| {
        let mut fields = span.extensions().get().map_or_else(Map::new, |SpanFields(fields)| fields.clone());
        fields.insert("name".to_owned(), span.name().into());
        Value::Object(fields)
    });
    json!({
        "timestamp": timestamp,
        "level": event.metadata().level().as_str(),
        "fields": fields.0,
        "target": event.metadata().target(),
        "spans": spans.collect::<Vec<_>>(),
        "threadId": format!("{:?}", std::thread::current().id()),
    })
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}

struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STREAMS_MAX} clients read the log already")
    }
}

impl std::error::Error for TooMany {}

//! Logs: one subscriber, whose filter can be replaced while the program runs, and which further readers can listen to.

mod filter;
mod stream;

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use tokio::time::Instant;
use tracing::{Dispatch, Metadata, Subscriber, callsite::rebuild_interest_cache, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    Layer as _,
    fmt::{MakeWriter, format::Writer, time::FormatTime},
    layer::{self, SubscriberExt as _},
    registry::LookupSpan,
};

use self::{
    filter::Filter,
    stream::{Lines, Streams, Wanted},
};

pub use self::{
    filter::InvalidFilter,
    stream::{Stream, TooMany},
};

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // The two of the proxy whose settings these are.
pub enum Format {
    /// For people: the time since the start, level, thread, spans, target, fields.
    #[default]
    Plain,
    /// For machines: one JSON object per line, with the date.
    Json,
}

/// The filter in force, and who else reads the log. Clones are the same filter.
#[derive(Clone, Debug)]
pub struct Level {
    in_force: InForce,
    streams: Arc<Streams>,
}

/// Why there is no [`Stream`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// The filter.
    Filter(InvalidFilter),
    /// Others read already.
    TooMany(TooMany),
}

/// The logs could not be set up.
#[derive(Debug)]
#[non_exhaustive]
pub enum InstallError {
    /// The filter.
    Filter(InvalidFilter),
    /// The process has a subscriber already.
    Taken,
}

/// The text is no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidFormat;

/// Makes the process log to standard output. `None` if the filter is `off`: then there is no subscriber at all.
///
/// For the `main` of a program; a library leaves the choice to whoever embeds it.
///
/// # Errors
/// The filter cannot be parsed (a program exits with 64), or the process has a subscriber already.
pub fn install(filter: &str, format: Format) -> Result<Option<Level>, InstallError> {
    if filter.trim().eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let (dispatch, level) = subscriber(filter, format, io::stdout).map_err(InstallError::Filter)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| InstallError::Taken)?;
    Ok(Some(level))
}

/// A subscriber that writes to `writer`, and its filter.
///
/// # Errors
/// The filter cannot be parsed.
pub fn subscriber<W>(filter: &str, format: Format, writer: W) -> Result<(Dispatch, Level), InvalidFilter>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let in_force = InForce(Arc::new(RwLock::new((filter.to_owned(), filter.parse()?))));
    let streams = Arc::<Streams>::default();
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false).with_thread_ids(true);
    let lines = match format {
        Format::Plain => lines.with_timer(Uptime(Instant::now())).boxed(),
        Format::Json => lines.json().boxed(),
    };
    let lines = lines.with_filter(in_force.clone());
    let streamed = Lines(Arc::clone(&streams)).with_filter(Wanted(Arc::clone(&streams)));
    Ok((Dispatch::new(tracing_subscriber::registry().with(lines).with(streamed)), Level { in_force, streams }))
}

/// The text of the filter, and what it means.
#[derive(Clone, Debug)]
struct InForce(Arc<RwLock<(String, Filter)>>);

impl InForce {
    fn read<T>(&self, look: impl FnOnce(&str, &Filter) -> T) -> T {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        look(&held.0, &held.1)
    }
}

impl<S> layer::Filter<S> for InForce
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, meta: &Metadata<'_>, cx: &layer::Context<'_, S>) -> bool {
        self.read(|_, filter| filter.enabled(meta, spans(cx)))
    }

    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        self.read(|_, filter| filter.interest(meta))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.read(|_, filter| filter.max_level()))
    }
}

/// Lets every place in the program that logs find out anew whether anybody wants it.
fn rebuild() {
    // What is found out is kept for the whole process. Of two who ask at a time, the one who asked first could be the last to write.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    rebuild_interest_cache();
}

/// The names of the spans that are entered, the innermost first.
fn spans<'a, S>(cx: &'a layer::Context<'_, S>) -> impl Iterator<Item = &'static str> + use<'a, S>
where
    S: Subscriber + for<'b> LookupSpan<'b>,
{
    cx.lookup_current().into_iter().flat_map(|span| span.scope().map(|span| span.name()))
}

impl Level {
    /// The filter, as it was given.
    #[must_use]
    pub fn current(&self) -> String {
        self.in_force.read(|text, _| text.to_owned())
    }

    /// Replaces the filter.
    ///
    /// # Errors
    /// The text is not a filter; the old one stays.
    pub fn set(&self, filter: &str) -> Result<(), InvalidFilter> {
        let parsed = filter.parse()?;
        *self.in_force.0.write().unwrap_or_else(PoisonError::into_inner) = (filter.to_owned(), parsed);
        // It asks the filter, so the lock is free by now.
        rebuild();
        Ok(())
    }

    /// Reads the log from now on, with a filter of its own, whatever the one in force is. Spans that are open already are not told of.
    ///
    /// # Errors
    /// The text is not a filter, or too many read already.
    pub fn stream(&self, filter: &str) -> Result<Stream, StreamError> {
        let filter = filter.parse().map_err(StreamError::Filter)?;
        self.streams.open(filter).map_err(StreamError::TooMany)
    }
}

impl FromStr for Format {
    type Err = InvalidFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            _ if text.eq_ignore_ascii_case("plain") => Ok(Self::Plain),
            _ if text.eq_ignore_ascii_case("json") => Ok(Self::Json),
            _ => Err(InvalidFormat),
        }
    }
}

/// Seconds since the program started, in brackets.
struct Uptime(Instant);

impl FormatTime for Uptime {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        let uptime = self.0.elapsed();
        write!(out, "[{:>6}.{:06}s]", uptime.as_secs(), uptime.subsec_micros())
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(error) => error.fmt(f),
            Self::TooMany(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(error) => error.fmt(f),
            Self::Taken => f.write_str("the process has a log subscriber already"),
        }
    }
}

impl fmt::Display for InvalidFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected PLAIN or JSON")
    }
}

impl std::error::Error for StreamError {}
impl std::error::Error for InstallError {}
impl std::error::Error for InvalidFormat {}

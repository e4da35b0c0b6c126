//! Logs: one subscriber, whose filter can be replaced while the program runs.

use std::{
    fmt, io,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;
use tracing::Dispatch;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{MakeWriter, format::Writer, time::FormatTime},
    layer::SubscriberExt,
    reload,
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

/// The filter in force. Clones are the same filter.
#[derive(Clone, Debug)]
pub struct Level {
    handle: reload::Handle<EnvFilter, Registry>,
    text: Arc<Mutex<String>>,
}

/// The text is not a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFilter {
    reason: String,
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
    let (layer, handle) = reload::Layer::new(parse(filter)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false).with_thread_ids(true);
    let lines = match format {
        Format::Plain => lines.with_timer(Uptime(Instant::now())).boxed(),
        Format::Json => lines.json().boxed(),
    };
    let level = Level { handle, text: Arc::new(Mutex::new(filter.to_owned())) };
    Ok((Dispatch::new(tracing_subscriber::registry().with(layer).with(lines)), level))
}

fn parse(filter: &str) -> Result<EnvFilter, InvalidFilter> {
    let filter = with_our_names(filter);
    EnvFilter::builder().parse(filter).map_err(|error| InvalidFilter { reason: error.to_string() })
}

/// Filters are written for the proxy whose targets begin with `linkerd`. What they say about all of `linkerd` they say about
/// all of `meshkit` too, unless they speak of `meshkit` themselves.
fn with_our_names(filter: &str) -> String {
    let mut out = filter.to_owned();
    if filter.contains("meshkit") {
        return out;
    }
    // A comma inside of brackets or braces separates fields of a span: such a directive is left alone.
    for directive in filter.split(',').map(str::trim) {
        if let Some(rest) = directive.strip_prefix("linkerd")
            && (rest.is_empty() || rest.starts_with('='))
        {
            out.push_str(",meshkit");
            out.push_str(rest);
        }
    }
    out
}

impl Level {
    /// The filter, as it was given.
    #[must_use]
    pub fn current(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the filter.
    ///
    /// # Errors
    /// The text is not a filter; the old one stays.
    pub fn set(&self, filter: &str) -> Result<(), InvalidFilter> {
        let parsed = parse(filter)?;
        // Held until the filter is replaced, so that text and filter are always of one call.
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(parsed).map_err(|error| InvalidFilter { reason: error.to_string() })?;
        filter.clone_into(&mut text);
        Ok(())
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

impl fmt::Display for InvalidFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid log filter: {}", self.reason)
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

impl std::error::Error for InvalidFilter {}
impl std::error::Error for InstallError {}
impl std::error::Error for InvalidFormat {}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tracing::{debug, info};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn logs(filter: &str, format: Format) -> (Sink, Dispatch, Level) {
        let sink = Sink::default();
        let writer = sink.clone();
        let (dispatch, level) = subscriber(filter, format, move || writer.clone()).unwrap();
        (sink, dispatch, level)
    }

    #[test]
    fn plain_lines_begin_with_the_uptime() {
        let (sink, dispatch, _) = logs("info", Format::Plain);
        tracing::dispatcher::with_default(&dispatch, || info!(port = 4191, "listening"));
        let text = sink.text();
        assert!(text.starts_with("[     0.") && text.as_bytes()[14..16] == *b"s]", "{text}");
        assert!(text.contains(" INFO ThreadId(") && text.contains("listening port=4191"), "{text}");
    }

    #[test]
    fn json_lines_are_objects() {
        let (sink, dispatch, _) = logs("info", Format::Json);
        tracing::dispatcher::with_default(&dispatch, || info!(port = 4191, "listening"));
        let line: serde_json::Value = serde_json::from_str(&sink.text()).unwrap();
        assert_eq!(line["fields"]["port"], 4191);
        assert_eq!(line["level"], "INFO");
        assert!(line["threadId"].is_string() && line["timestamp"].is_string());
    }

    #[test]
    fn the_filter_can_be_replaced_and_a_bad_one_changes_nothing() {
        let (sink, dispatch, level) = logs("warn", Format::Plain);
        tracing::dispatcher::with_default(&dispatch, || {
            debug!("first");
            level.set("debug,other=off").unwrap();
            assert!(level.set("a=b=c").is_err());
            debug!("second");
        });
        assert_eq!(level.current(), "debug,other=off");
        let text = sink.text();
        assert!(!text.contains("first") && text.contains("second"), "{text}");
    }

    #[test]
    fn what_a_filter_says_about_linkerd_it_says_about_us() {
        assert_eq!(with_our_names("warn,linkerd=debug"), "warn,linkerd=debug,meshkit=debug");
        for filter in ["info", "linkerd_app=debug", "linkerd=info,meshkit=warn", "linkerd[x]=off"] {
            assert_eq!(with_our_names(filter), filter);
        }
        let (sink, dispatch, level) = logs("warn,linkerd=info", Format::Plain);
        tracing::dispatcher::with_default(&dispatch, || {
            info!(target: "meshkit_proxy::control", "ours");
            info!(target: "hyper", "theirs");
        });
        assert!(sink.text().contains("ours") && !sink.text().contains("theirs"));
        assert_eq!(level.current(), "warn,linkerd=info");
    }

    #[test]
    fn filters_of_the_chart_parse_and_off_is_no_subscriber() {
        logs("warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off", Format::Plain);
        assert!(install(" OFF ", Format::Plain).unwrap().is_none());
        assert!(matches!(install("x=y=z", Format::Plain), Err(InstallError::Filter(_))));
    }

    #[test]
    fn formats_parse_in_any_case() {
        assert_eq!("plain".parse(), Ok(Format::Plain));
        assert_eq!("Json".parse(), Ok(Format::Json));
        assert_eq!("xml".parse::<Format>(), Err(InvalidFormat));
    }
}

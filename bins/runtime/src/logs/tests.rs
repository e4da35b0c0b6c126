use std::{io::Write, sync::Mutex};

use proptest::prelude::*;
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
    for (filter, ours, theirs) in [
        ("warn,linkerd=info", true, false),
        ("linkerd=off,info", false, true),
        ("warn,linkerd_app=info", false, false),
        ("linkerd=info,meshkit=warn", false, false),
        ("warn,linkerd[{port}]=info", false, false),
    ] {
        let (sink, dispatch, level) = logs(filter, Format::Plain);
        tracing::dispatcher::with_default(&dispatch, || {
            info!(target: "meshkit_proxy::control", "ours");
            info!(target: "hyper", "theirs");
        });
        assert_eq!((sink.text().contains("ours"), sink.text().contains("theirs")), (ours, theirs), "{filter}");
        assert_eq!(level.current(), filter);
    }
}

#[test]
fn the_longest_target_decides_and_then_the_most_fields() {
    for (filter, want) in [
        ("", ["", "", ""]),
        ("debug", ["a", "b", "c"]),
        ("a", ["a", "b", ""]),
        ("a::b=debug,a=off", ["", "b", ""]),
        ("a=off,a::b=debug", ["", "b", ""]),
        ("info", ["a", "", "c"]),
        ("debug,[{headers}]=off", ["a", "b", ""]),
        ("debug,[{headers}]=off,c=info", ["a", "b", "c"]),
        ("debug,[{headers}]=off,c=info,c[{headers}]=off", ["a", "b", ""]),
        (" off , c = 5 ,", ["", "", "c"]),
        ("info,info=off,a=off,a=trace", ["a", "b", "c"]),
    ] {
        let (sink, dispatch, _) = logs(filter, Format::Plain);
        tracing::dispatcher::with_default(&dispatch, || {
            info!(target: "a", "<a>");
            debug!(target: "a::b", "<b>");
            info!(target: "c", headers = "x", "<c>");
        });
        let text = sink.text();
        assert_eq!(["a", "b", "c"].map(|name| if text.contains(&format!("<{name}>")) { name } else { "" }), want, "{filter:?}: {text}");
    }
}

#[test]
fn a_directive_of_a_span_lets_through_what_happens_inside_of_it() {
    let (sink, dispatch, _) = logs("warn,[accept]=debug", Format::Plain);
    tracing::dispatcher::with_default(&dispatch, || {
        debug!("before");
        let accept = tracing::info_span!("accept", client = 7);
        accept.in_scope(|| debug!("inside"));
        tracing::info_span!("other").in_scope(|| debug!("elsewhere"));
        accept.in_scope(|| tracing::debug_span!("deeper").in_scope(|| debug!("deep")));
    });
    let text = sink.text();
    assert!(text.contains("accept{client=7}: ") && text.contains("inside") && text.contains("deep"), "{text}");
    assert!(!text.contains("before") && !text.contains("elsewhere"), "{text}");
}

#[test]
fn what_is_no_filter_is_refused_with_the_reason() {
    for (filter, reason) in [
        ("a=b=c", "expected a level"),
        ("a=", "expected a level"),
        ("=info", "expected a target"),
        ("a[b=info", "is not closed"),
        ("a]=info", "was not opened"),
        ("[a{b=1}]=info", "values of fields"),
        ("[a]x=info", "expected = or the end"),
        ("[a{b}c]=info", "expected ] after }"),
    ] {
        let error = filter.parse::<Filter>().unwrap_err().to_string();
        assert!(error.starts_with("invalid log filter: ") && error.contains(reason), "{filter}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-e=,\\[\\]{}0-9 é]{0,24}") {
        let _ = text.parse::<Filter>();
    }
}

#[tokio::test]
async fn a_further_reader_has_a_filter_of_its_own() {
    let (sink, dispatch, level) = logs("warn", Format::Plain);
    let mut stream = level.stream("linkerd=debug").unwrap();
    tracing::dispatcher::with_default(&dispatch, || {
        let span = tracing::info_span!(target: "meshkit_proxy", "accept", client = 7, port = tracing::field::Empty);
        span.record("port", 80);
        span.in_scope(|| debug!(target: "meshkit_proxy", ok = true, "for the reader"));
        debug!(target: "hyper", "for nobody");
        drop(span);
        tracing::warn!(target: "hyper", "for the log");
        level.set("error").unwrap();
        debug!(target: "meshkit_proxy", "after");
    });
    assert!(!sink.text().contains("reader") && sink.text().contains("for the log"), "{}", sink.text());
    let line: serde_json::Value = serde_json::from_slice(&stream.line().await).unwrap();
    assert_eq!(line["fields"], serde_json::json!({ "message": "for the reader", "ok": true }));
    assert_eq!(line["spans"], serde_json::json!([{ "name": "accept", "client": 7, "port": 80 }]));
    assert_eq!((&line["level"], &line["target"]), (&"DEBUG".into(), &"meshkit_proxy".into()));
    assert!(line["timestamp"].is_string() && line["threadId"].is_string());
    assert!(String::from_utf8(stream.line().await.to_vec()).unwrap().contains("after"));
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_missed() {
    let (_, dispatch, level) = logs("off,x=warn", Format::Plain);
    let (mut slow, other) = (level.stream("info").unwrap(), level.stream("off").unwrap());
    tracing::dispatcher::with_default(&dispatch, || (0..515).for_each(|n| info!(n, "event")));
    assert_eq!(&slow.line().await[..], b"{\"dropped_events\":3}\n");
    for n in 0..512 {
        let line: serde_json::Value = serde_json::from_slice(&slow.line().await).unwrap();
        assert_eq!(line["fields"]["n"], n);
    }
    drop(other);
}

#[test]
fn readers_are_few_and_leave_their_place_behind() {
    let (_sink, _dispatch, level) = logs("warn", Format::Plain);
    let mut streams: Vec<_> = std::iter::repeat_with(|| level.stream("debug").unwrap()).take(16).collect();
    assert_eq!(level.stream("debug").unwrap_err().to_string(), "16 clients read the log already");
    assert!(matches!(level.stream("x=y"), Err(StreamError::Filter(_))));
    streams.pop();
    streams.push(level.stream("debug").unwrap());
    assert!(level.stream("debug").is_err());
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

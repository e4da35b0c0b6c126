use std::{sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::*;

const RETAIN: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Side(&'static str);

impl Labels for Side {
    fn write(&self, out: &mut LabelWriter<'_>) {
        out.pair("direction", self.0);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Status(Option<u16>);

impl Labels for Status {
    fn write(&self, out: &mut LabelWriter<'_>) {
        match self.0 {
            Some(status) => out.pair("status", status),
            None => out.pair("status", ""),
        }
    }
}

impl CellKey for Status {
    fn catch_all() -> Self {
        Self(None)
    }
}

fn text(labels: &impl Labels) -> String {
    let mut out = String::new();
    labels.write(&mut LabelWriter::new(&mut out));
    out
}

/// Reads what the writer writes. Written from the format's description, not from the writer.
fn parse(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    while !text.is_empty() {
        let (key, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    c => c,
                }),
                (_, '\n') => return None,
                (_, c) => value.push(c),
            }
        };
        pairs.push((key.to_owned(), value));
        text = &rest[end + 1..];
        if !text.is_empty() {
            text = text.strip_prefix(',')?;
            if text.is_empty() {
                return None;
            }
        }
    }
    Some(pairs)
}

#[test]
fn a_small_registry_prints_exactly_this() {
    let registry = Registry::new(RETAIN);
    let open = registry.open();
    let seconds = open.clone().unit(Unit::Seconds);
    let duration = seconds.histogram_family("request_duration", "Time of a request", &[0.05, 1.0]);
    let requests = registry.legacy().counter_family("request_total", "Total count of HTTP requests.");
    let latency = registry.legacy().histogram_cells::<Side, Status>("response_latency_ms", "Elapsed times.", &[1.0, 10.0]);
    let _never_used = registry.legacy().counter_family::<Side>("tcp_open_total", "Connections.");
    let gauge = open.gauge("endpoints", "Endpoints\nin \\ the balancer");
    let sent = open.clone().prefix("transfer").unit(Unit::Bytes).counter("cost", "Bytes");

    let outbound = requests.handle(&Side("outbound"));
    outbound.add(2);
    requests.handle(&Side("inbound")).incr();
    latency.handle(&Side("inbound")).cell(&Status(Some(200))).record_millis(Duration::from_micros(3_900));
    duration.handle(&()).record_secs(Duration::from_millis(50));
    duration.handle(&()).record_secs(Duration::from_secs(2));
    gauge.add(-3);
    sent.add(7);

    let want = r#"# HELP request_total Total count of HTTP requests.
# TYPE request_total counter
request_total{direction="outbound"} 2
request_total{direction="inbound"} 1
# HELP response_latency_ms Elapsed times.
# TYPE response_latency_ms histogram
response_latency_ms_bucket{direction="inbound",status="200",le="1"} 0
response_latency_ms_bucket{direction="inbound",status="200",le="10"} 1
response_latency_ms_bucket{direction="inbound",status="200",le="+Inf"} 1
response_latency_ms_count{direction="inbound",status="200"} 1
response_latency_ms_sum{direction="inbound",status="200"} 3
# HELP request_duration_seconds Time of a request
# TYPE request_duration_seconds histogram
# UNIT request_duration_seconds seconds
request_duration_seconds_bucket{le="0.05"} 1
request_duration_seconds_bucket{le="1.0"} 1
request_duration_seconds_bucket{le="+Inf"} 2
request_duration_seconds_count 2
request_duration_seconds_sum 2.05
# HELP endpoints Endpoints\nin \\ the balancer
# TYPE endpoints gauge
endpoints -3
# HELP transfer_cost_bytes Bytes
# TYPE transfer_cost_bytes counter
# UNIT transfer_cost_bytes bytes
transfer_cost_bytes_total 7
# EOF
"#;
    assert_eq!(registry.encode(), want);
}

#[test]
fn older_counters_wrap_where_floats_stop_being_exact() {
    let registry = Registry::new(RETAIN);
    registry.legacy().counter("old", "x").add(1 << 53);
    registry.open().counter("new", "x").add(1 << 53);
    let text = registry.encode();
    assert!(text.contains("\nold 0\n"), "{text}");
    assert!(text.contains("\nnew_total 9007199254740992\n"), "{text}");
}

#[test]
fn one_name_can_have_two_label_types_and_one_header() {
    let registry = Registry::new(RETAIN);
    let a = registry.legacy().counter_family("x", "help").handle(&Side("a"));
    let b = registry.legacy().counter_family("x", "help").handle(&[("direction", "b")]);
    let again = registry.legacy().counter_family("x", "help").handle(&Side("a"));
    assert!(Arc::ptr_eq(&a, &again));
    b.add(5);
    assert_eq!(registry.encode(), "# HELP x help\n# TYPE x counter\nx{direction=\"a\"} 0\nx{direction=\"b\"} 5\n# EOF\n");
}

#[tokio::test(start_paused = true)]
async fn series_go_a_while_after_their_last_handle_and_their_last_update() {
    let registry = Registry::new(RETAIN);
    let family = registry.legacy().counter_family("x", "help");
    let held = family.handle(&Side("held"));
    drop(family.handle(&Side("gone")));
    tokio::time::advance(RETAIN - Duration::from_secs(1)).await;
    held.incr();
    assert!(registry.encode().contains("gone"));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!registry.encode().contains("gone"));

    tokio::time::advance(RETAIN * 3).await;
    assert!(registry.encode().contains("held"), "a handle keeps an idle series");
    drop(held);
    tokio::time::advance(RETAIN / 2).await;
    assert!(registry.encode().contains("held"));
    tokio::time::advance(RETAIN / 2).await;
    assert_eq!(registry.encode(), "# EOF\n");
    assert_eq!(family.series_count(), 0);
}

#[test]
fn a_full_family_still_gives_handles_and_says_so() {
    let registry = Registry::with_series_max(RETAIN, 2);
    let family = registry.open().counter_family("x", "help");
    let handles = ["a", "b", "c", "d"].map(|side| family.handle(&Side(side)));
    handles.iter().for_each(|handle| handle.incr());
    assert_eq!(handles[3].value(), 1);
    let text = registry.encode();
    assert!(text.contains("x_total{direction=\"b\"} 1\n") && !text.contains("direction=\"c\""), "{text}");
    assert!(text.contains("mesh_metrics_series_dropped_total{family=\"x\"} 2\n"), "{text}");
}

#[test]
fn a_full_table_of_cells_counts_the_rest_together() {
    for early in [false, true] {
        let cells = Cells::<Status, Counter>::empty(());
        if early {
            cells.cell(&Status(None)).incr();
        }
        for status in 0..500 {
            cells.cell(&Status(Some(status))).incr();
            cells.cell(&Status(Some(status))).incr();
        }
        assert_eq!(cells.cell(&Status(Some(3))).value(), 2);
        assert_eq!(cells.iter().map(|(_, counter)| counter.value()).sum::<u64>(), 1000 + u64::from(early));
        assert_eq!(cells.iter().filter(|(key, _)| **key == Status::catch_all()).count(), 1);
        assert!(cells.iter().count() <= 49);
    }
}

#[test]
fn cells_seen_by_many_threads_at_once_are_one_cell_each() {
    let cells = Cells::<Status, Counter>::empty(());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..4000).for_each(|n| cells.cell(&Status(Some(n % 10))).incr()));
        }
    });
    assert_eq!(cells.iter().count(), 10);
    assert!(cells.iter().all(|(_, counter)| counter.value() == 1600));
}

#[test]
fn collectors_print_at_every_scrape() {
    let registry = Registry::new(RETAIN);
    registry.open().collect(|out| {
        out.family("proxy_build_info", "Build", Kind::Gauge, None, |out| out.with(&[("version", "1")], |out| out.integer(1)));
        out.family("nothing", "No samples", Kind::Gauge, None, |_| {});
    });
    assert_eq!(
        registry.encode(),
        "# HELP proxy_build_info Build\n# TYPE proxy_build_info gauge\nproxy_build_info{version=\"1\"} 1\n# EOF\n"
    );
}

#[test]
fn quantiles_are_within_a_percent() {
    let quantiles = Quantiles::empty();
    assert_eq!(quantiles.snapshot(), Summary::default());
    (1..=1000).for_each(|millis| quantiles.record(Duration::from_millis(millis)));
    let Summary { count, sum, p50, p95, p99 } = quantiles.take();
    assert_eq!((count, sum), (1000, Duration::from_millis(500_500)));
    for (got, want) in [(p50, 500.0), (p95, 950.0), (p99, 990.0)] {
        assert!((got.as_secs_f64() * 1e3 / want - 1.0).abs() < 0.011, "{got:?} for {want}");
    }
    quantiles.record(Duration::from_secs(3600));
    quantiles.record(Duration::ZERO);
    assert_eq!(quantiles.snapshot().count, 2);
    assert!(quantiles.snapshot().p99 <= Duration::from_secs(61));
}

#[test]
fn quantiles_print_as_a_summary() {
    let registry = Registry::new(RETAIN);
    let family = registry.open().unit(Unit::Seconds).quantiles_family("edge_latency", "Edge");
    family.handle(&Side("in")).record(Duration::from_millis(100));
    let text = registry.encode();
    assert!(text.contains("# TYPE edge_latency_seconds summary\n"), "{text}");
    assert!(text.contains("edge_latency_seconds{direction=\"in\",quantile=\"0.99\"} 0.1"), "{text}");
    assert!(text.contains("edge_latency_seconds_count{direction=\"in\"} 1\n"), "{text}");
}

proptest! {
    #[test]
    fn labels_come_back_as_they_were_written(pairs in vec(("[a-zA-Z_][a-zA-Z0-9_]{0,8}", any::<String>()), 0..6)) {
        prop_assert_eq!(parse(&text(&pairs)), Some(pairs));
    }

    #[test]
    fn any_key_becomes_one_that_the_format_allows(key in any::<String>()) {
        let pairs = parse(&text(&[(key, "")])).unwrap();
        let mut chars = pairs[0].0.chars();
        prop_assert!(chars.next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic()));
        prop_assert!(chars.all(|c| c == '_' || c.is_ascii_alphanumeric()));
    }

    #[test]
    fn every_line_is_a_comment_or_a_sample_and_the_end_is_last(
        labels in vec(vec(("[a-z]{1,4}", any::<String>()), 0..4), 0..6),
        sizes in vec(any::<f64>(), 0..4),
    ) {
        let registry = Registry::new(RETAIN);
        for labels in &labels {
            registry.legacy().counter_family("old_total", "help").handle(labels).incr();
            let histogram = registry.open().histogram_family("new", "help", &[0.5, 1.0]).handle(labels);
            sizes.iter().for_each(|size| histogram.record(*size));
        }
        let text = registry.encode();
        prop_assert!(text.ends_with("# EOF\n"));
        prop_assert_eq!(text.matches("# EOF").count(), 1);
        for line in text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            prop_assert!(value.parse::<f64>().is_ok() || ["+Inf", "-Inf", "NaN"].contains(&value), "{}", line);
            if let Some((_, labels)) = series.split_once('{') {
                prop_assert!(parse(labels.strip_suffix('}').unwrap()).is_some(), "{}", line);
            }
        }
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_the_count(sizes in vec(0.0_f64..3.0, 0..50)) {
        let registry = Registry::new(RETAIN);
        let histogram = registry.open().histogram("x", "help", &[0.5, 1.0]);
        sizes.iter().for_each(|size| histogram.record(*size));
        let at_most = |bound: f64| sizes.iter().filter(|size| **size <= bound).count();
        let text = registry.encode();
        let half = format!("x_bucket{{le=\"0.5\"}} {}\n", at_most(0.5));
        let one = format!("x_bucket{{le=\"1.0\"}} {}\n", at_most(1.0));
        prop_assert!(text.contains(&half) && text.contains(&one), "{}", text);
        let all = format!("x_count {}\n", sizes.len());
        prop_assert!(text.contains(&all));
        prop_assert!((histogram.sum() - sizes.iter().sum::<f64>()).abs() < 1e-6);
    }
}

//! A hyper server with planned trouble before it, and curl and nghttp at the other end.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

mod net;

use meshkit_core::{Dice, Identity, Ratio};
use meshkit_fault::{FaultLayer, Faults};

use self::net::{BODY, Http, curl, nghttp, serve};

/// A layer from annotations, as a route has it.
fn layer(annotations: &[(&str, &'static str)], seed: u64) -> FaultLayer {
    let lookup = |name: &str| annotations.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    FaultLayer::new(Faults::from_annotations(lookup).unwrap(), Dice::new(seed))
}

#[tokio::test]
async fn an_abort_is_a_status_and_leaves_the_connection_alone() {
    let layer = layer(&[("fault.mesh/abort", "503")], 1);
    let url = serve(Http::One, layer.clone()).await;
    let answer = curl(Http::One, &["-w", "%{http_code} %{num_connects}\n", &url, &url]).await;
    assert_eq!((answer.exit, answer.stdout.as_str()), (0, "503 1\n503 0\n"), "{}", answer.stderr);
    assert_eq!(layer.counts().aborted(), 2);
}

#[tokio::test]
async fn an_abort_may_be_a_grpc_code() {
    let layer = layer(&[("fault.mesh/abort", "grpc:unavailable")], 1);
    let url = serve(Http::Two, layer).await;
    let answer = curl(Http::Two, &["-D", "-", "-H", "content-type: application/grpc", "-H", "te: trailers", "-d", "", &url]).await;
    assert!(answer.stdout.contains("HTTP/2 200") && answer.stdout.contains("grpc-status: 14"), "{answer:?}");
}

#[tokio::test]
async fn a_delay_comes_before_the_first_byte() {
    let layer = layer(&[("fault.mesh/delay", "uniform(200ms,300ms)")], 1);
    let url = serve(Http::One, layer.clone()).await;
    let answer = curl(Http::One, &["-o", "/dev/null", "-w", "%{http_code} %{time_starttransfer}", &url]).await;
    let (status, seconds) = answer.stdout.split_once(' ').unwrap();
    // A busy machine may make it longer, and nothing may make it shorter.
    assert!(status == "200" && seconds.parse::<f64>().unwrap() >= 0.2, "{answer:?}");
    assert_eq!(layer.counts().delayed(), 1);
}

#[tokio::test]
async fn a_throttled_response_is_whole_and_keeps_its_trailers() {
    for http in [Http::One, Http::Two] {
        let layer = layer(&[("fault.mesh/throttle", "64KiB/s")], 1);
        let url = serve(http, layer.clone()).await;
        let written = "\n%{http_code} %{size_download} %{time_total}";
        let answer = curl(http, &["-D", "-", "-o", "/dev/null", "-H", "te: trailers", "-w", written, &url]).await;
        assert_eq!(answer.exit, 0, "{answer:?}");
        assert!(answer.stdout.contains("x-checksum: 7"), "{answer:?}");
        let written: Vec<_> = answer.stdout.lines().last().unwrap().split(' ').collect();
        let (length, seconds): (usize, f64) = (written[1].parse().unwrap(), written[2].parse().unwrap());
        assert_eq!((written[0], length), ("200", BODY));
        // What a body may make up for, and what the head takes, are no bytes of data.
        assert!(seconds >= BODY as f64 / 65_536.0 - 0.05, "{seconds}");
        assert_eq!(layer.counts().throttled(), 1);
    }
}

#[tokio::test]
async fn a_reset_breaks_an_http1_connection() {
    let layer = layer(&[("fault.mesh/reset", "100%")], 1);
    let url = serve(Http::One, layer.clone()).await;
    let answer = curl(Http::One, &[&url]).await;
    // Failure to receive: the connection was reset, not closed, which would be 52.
    assert_eq!(answer.exit, 56, "{answer:?}");
    assert_eq!(layer.counts().reset(), 1);
}

#[tokio::test]
async fn a_reset_ends_an_http2_stream_and_not_its_neighbours() {
    let layer = layer(&[("fault.mesh/reset", "50%")], 5);
    let url = serve(Http::Two, layer.clone()).await;
    let answer = nghttp(&[1, 2, 3, 4].map(|n| format!("{url}?{n}"))).await;
    let frames = |text: &str| answer.stdout.matches(text).count();
    let dice = Dice::new(5);
    let reset = (0..4).filter(|_| dice.hit(Ratio::new(0.5).unwrap())).count();
    assert!(0 < reset && reset < 4, "the seed shows both");
    assert_eq!((frames("recv RST_STREAM"), frames(":status: 200")), (reset, 4 - reset), "{answer:?}");
    assert_eq!(frames("recv GOAWAY"), 0, "{answer:?}");
    assert_eq!(layer.counts().reset(), reset as u64);
}

#[tokio::test]
async fn curl_is_told_that_its_http2_stream_was_reset() {
    let url = serve(Http::Two, layer(&[("fault.mesh/reset", "100%")], 1)).await;
    let answer = curl(Http::Two, &[&url]).await;
    assert_eq!(answer.exit, 92, "{answer:?}");
}

#[tokio::test]
async fn a_seed_repeats_the_statuses() {
    let dice = Dice::new(11);
    let expected: Vec<_> = (0..40).map(|_| if dice.hit(Ratio::new(0.25).unwrap()) { "500" } else { "200" }).collect();
    for _ in 0..2 {
        let url = serve(Http::One, layer(&[("fault.mesh/abort", "500 25%")], 11)).await;
        let all = format!("{url}?[1-40]");
        let answer = curl(Http::One, &["-o", "/dev/null", "-w", "%{http_code}\n", &all]).await;
        assert_eq!(answer.stdout.lines().collect::<Vec<_>>(), expected, "{}", answer.stderr);
    }
}

#[tokio::test]
async fn only_the_clients_that_are_meant_are_troubled() {
    let meant = "*.emojivoto.serviceaccount.identity.linkerd.cluster.local, books/web";
    let url = serve(Http::One, layer(&[("fault.mesh/abort", "418"), ("fault.mesh/from", meant)], 1)).await;
    for (client, status) in [
        ("web.emojivoto.serviceaccount.identity.linkerd.cluster.local", "418"),
        ("web.books.serviceaccount.identity.linkerd.cluster.local", "418"),
        ("api.books.serviceaccount.identity.linkerd.cluster.local", "200"),
    ] {
        assert!(client.parse::<Identity>().is_ok());
        let header = format!("x-client: {client}");
        let answer = curl(Http::One, &["-o", "/dev/null", "-w", "%{http_code}", "-H", &header, &url]).await;
        assert_eq!(answer.stdout, status, "{client}");
    }
    assert_eq!(curl(Http::One, &["-o", "/dev/null", "-w", "%{http_code}", &url]).await.stdout, "200", "nobody knows who asks");
}

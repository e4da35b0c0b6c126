//! Spans of a sampled trace, as a collector gets them.

use meshkit_proxy::config::{Controller, Tracing};

use crate::support::{
    eventually,
    grpc::{Answer, Grpc},
    peer::exchange,
    start_with,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[test]
fn a_sampled_request_is_told_of_by_both_sides_and_passed_on_under_a_new_parent() {
    let mut collector = None;
    let proxy = start_with(|config| {
        let addr = std::net::SocketAddr::new(config.listeners.admin.ip(), 4317);
        collector = Some(Grpc::on_tcp(addr, Answer::Once(Vec::new())));
        let mut tracing = Tracing::new(Controller { addr: addr.to_string().parse().unwrap(), identity: None });
        tracing.service_name = Some("web-of-the-test".to_owned());
        config.tracing = Some(tracing);
    });
    let collector = collector.unwrap();
    let request = |headers: &str| format!("GET /traced?a=b HTTP/1.1\r\nhost: web\r\nconnection: close\r\n{headers}\r\n");
    let sampled = format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n");
    assert!(exchange(proxy.published(), request(&sampled).as_bytes()).starts_with("HTTP/1.1 200"));
    let received = proxy.app.received();
    assert!(received.contains(&format!("traceparent: 00-{TRACE}-")) && !received.contains("b7ad6b7169203331"), "{received}");

    // Neither of these is anybody's business.
    for untold in ["", "traceparent: 00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n"] {
        assert!(exchange(proxy.published(), request(untold).as_bytes()).starts_with("HTTP/1.1 200"));
    }

    // A message waits ten seconds for further spans.
    let calls = eventually(|| Some(collector.calls()).filter(|calls| !calls.is_empty()))
        .or_else(|| eventually(|| Some(collector.calls()).filter(|calls| !calls.is_empty())));
    let calls = calls.expect("the collector is told of nothing");
    assert_eq!(calls[0].path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let message = &calls[0].message;
    let count = |bytes: &[u8]| message.windows(bytes.len()).filter(|window| *window == bytes).count();
    let trace: Vec<u8> = (0..TRACE.len()).step_by(2).map(|at| u8::from_str_radix(&TRACE[at..at + 2], 16).unwrap()).collect();
    assert_eq!(count(&trace), 2, "a span of the server and one of the client");
    assert_eq!(count(&[0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]), 1, "the first one's parent is the caller's span");
    assert_eq!((count(b"\x30\x02"), count(b"\x30\x03")), (1, 1), "the kinds are server and client");
    for text in ["web-of-the-test", "/traced", "a=b", "http.response.status_code", "inbound"] {
        assert!(count(text.as_bytes()) > 0, "{text}");
    }
    assert_eq!(count(&[0x1a, 0xf7, 0x65]), 0, "what is not sampled is not told");
    proxy.counted("opentelemetry_span_exports", &[], 2.0);
}

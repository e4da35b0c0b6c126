//! Two proxies in one process: nothing is shared but the address space.

use crate::support::{CLIENT, NAME, authority::Authority, peer::exchange, start_in};

#[test]
fn two_proxies_of_one_process_serve_each_with_its_own_settings_and_metrics() {
    let (one, other) = (Authority::new(), Authority::new());
    let first = start_in(one, NAME, |config| config.limits.max_header_bytes = 10_000);
    let second = start_in(other, CLIENT, |_| {});
    let large = format!("GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: {}\r\n\r\n", "a".repeat(12_000));
    for _ in 0..3 {
        assert!(exchange(first.published(), large.as_bytes()).starts_with("HTTP/1.1 431"));
        assert!(exchange(second.published(), large.as_bytes()).starts_with("HTTP/1.1 200"));
    }
    assert!(first.app.received().is_empty());
    assert_eq!(second.app.received().matches("/large").count(), 3);

    let requests = ["direction=\"inbound\"", "target_port=\"8080\""];
    second.counted("request_total", &requests, 3.0);
    assert!(first.metric("request_total", &requests) < 1.0, "the other's requests are not counted here");
    first.counted("inbound_http_errors_total", &[], 3.0);
    assert!(second.metric("inbound_http_errors_total", &[]) < 1.0);

    // The end of one is not the end of the other.
    drop(first);
    assert!(exchange(second.published(), large.as_bytes()).starts_with("HTTP/1.1 200"));
}

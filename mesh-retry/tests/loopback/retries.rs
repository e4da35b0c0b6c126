//! Requests that are sent again, over real connections.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, channel::Channel};
use meshkit_core::{Cause, grpc::Code};
use meshkit_retry::{Budget, Params, Plan, TimeoutLayer, budget, deadline::grpc_timeout};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};

use crate::net::{Http, Reply, client, failed, get, grpc, message, nobody, params, post, retry, serve, status, trailers_only};

#[tokio::test]
async fn a_failure_is_tried_again_with_the_whole_body() {
    for http in [Http::One, Http::Two] {
        let (addr, seen) = serve(http, |n| Some(if n < 2 { status(503, "busy") } else { status(200, "done") })).await;
        let service = retry(params(3, "5xx", "")).layer(client(http, [addr]));
        let response = service.oneshot(post("a vote for the doughnut")).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "done");
        assert_eq!(seen.bodies(), ["a vote for the doughnut"; 3], "{http:?}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_reaches_the_server_once_and_whole() {
    const CHUNK: Bytes = Bytes::from_static(&[7; 10_000]);
    let (addr, seen) = serve(Http::One, |_| Some(status(503, ""))).await;
    let service = retry(params(3, "5xx", "")).layer(client(Http::One, [addr]));
    let (mut sender, body) = Channel::<Bytes>::new(1);
    let upload = tokio::spawn(async move {
        for _ in 0..7 {
            sender.send_data(CHUNK).await.unwrap();
        }
    });
    let response = service.oneshot(post("").map(|_| body)).await.unwrap();
    upload.await.unwrap();
    assert_eq!((response.status().as_u16(), seen.count(), seen.bodies()[0].len()), (503, 1, 70_000));
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_tried_again_where_502_is() {
    for http in [Http::One, Http::Two] {
        let (addr, seen) = serve(http, |n| (n > 0).then(|| status(200, ""))).await;
        let service = retry(params(1, "gateway-error", "")).layer(client(http, [addr]));
        assert_eq!(service.oneshot(post("x")).await.unwrap().status(), 200);
        assert_eq!(seen.bodies(), ["x", "x"]);

        let (addr, seen) = serve(http, |_| None).await;
        let service = retry(params(1, "503", "")).layer(client(http, [addr]));
        assert_eq!(service.oneshot(post("x")).await.unwrap_err().cause(), &Cause::Io);
        assert_eq!(seen.count(), 1);
    }
}

#[tokio::test]
async fn a_refused_connection_sends_a_request_elsewhere_once_whatever_its_method() {
    let (addr, seen) = serve(Http::One, |_| Some(status(201, ""))).await;
    let service = retry(Plan::new()).resend_unsent().layer(client(Http::One, [nobody().await, addr]));
    assert_eq!(service.oneshot(post(vec![1; 200_000])).await.unwrap().status(), 201);
    assert_eq!(seen.bodies(), [vec![1; 200_000]]);
    let nowhere = client(Http::One, [nobody().await, nobody().await, addr]);
    assert!(retry(Plan::new()).resend_unsent().layer(nowhere).oneshot(post("x")).await.is_err());
    assert_eq!(seen.count(), 1);
}

#[tokio::test]
async fn a_stream_that_is_refused_unseen_is_tried_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut n = 0;
        while let Ok((io, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(io).await.unwrap();
            n += 1;
            let first = n == 1;
            tokio::spawn(async move {
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    if first {
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                    } else {
                        respond.send_response(http::Response::new(()), true).unwrap();
                    }
                }
            });
        }
    });
    let service = retry(params(1, "", "")).layer(client(Http::Two, [addr]));
    assert_eq!(service.oneshot(get()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn grpc_codes_are_read_from_the_head_and_from_trailers() {
    let failures: [fn() -> Reply; 2] = [|| trailers_only(Code::UNAVAILABLE), || message(b"", Code::UNAVAILABLE)];
    for failure in failures {
        let (addr, seen) = serve(Http::Two, move |n| Some(if n == 0 { failure() } else { message(b"answer", Code::OK) })).await;
        let service = retry(params(1, "", "unavailable")).layer(client(Http::Two, [addr]));
        let body = service.oneshot(grpc(b"question")).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.trailers().and_then(Code::from_headers), Some(Code::OK));
        assert_eq!((body.to_bytes(), seen.bodies()), (Bytes::from_static(b"answer"), vec![Bytes::from_static(b"question"); 2]));
    }
    let (addr, seen) = serve(Http::Two, |_| Some(message(b"answer", Code::NOT_FOUND))).await;
    let service = retry(params(1, "", "unavailable")).layer(client(Http::Two, [addr]));
    let body = service.oneshot(grpc(b"question")).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!((body.trailers().and_then(Code::from_headers), seen.count()), (Some(Code::NOT_FOUND), 1));
}

#[tokio::test]
async fn responses_that_nobody_read_leave_a_shared_connection_its_window() {
    // Each failure is larger than a tenth of the window of the connection.
    let (addr, seen) = serve(Http::Two, |n| Some(if n < 100 { status(503, vec![0; 10_000]) } else { status(200, vec![1; 10_000]) })).await;
    let io = hyper_util::rt::TokioIo::new(tokio::net::TcpStream::connect(addr).await.unwrap());
    let (send, connection) = hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let inner = tower::service_fn(move |request| {
        let mut send = send.clone();
        async move { send.send_request(request).await.map_err(failed) }
    });
    let response = retry(params(100, "503", "")).layer(inner).oneshot(get()).await.unwrap();
    assert_eq!((response.status().as_u16(), seen.count()), (200, 101));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 10_000);
}

#[tokio::test]
async fn a_server_that_does_not_answer_costs_one_try() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();
    let (addr, seen) = serve(Http::One, |_| Some(status(200, ""))).await;
    let impatient = Params { per_try_timeout: Some(Duration::from_millis(50)), ..params(1, "", "") };
    let service = retry(impatient).layer(TimeoutLayer::default().layer(client(Http::One, [silent, addr])));
    assert_eq!(service.oneshot(post("x")).await.unwrap().status(), 200);
    assert_eq!(seen.bodies(), ["x"]);
    drop(listener);
}

#[tokio::test]
async fn servers_are_told_how_much_of_the_time_is_left() {
    let (addr, seen) = serve(Http::Two, |n| Some(if n == 0 { trailers_only(Code::UNAVAILABLE) } else { message(b"", Code::OK) })).await;
    let layer = retry(params(1, "", "unavailable")).hand_on_deadlines();
    let mut request = grpc(b"");
    request.headers_mut().insert("grpc-timeout", http::HeaderValue::from_static("60S"));
    layer.layer(client(Http::Two, [addr])).oneshot(request).await.unwrap();
    let told = |n| grpc_timeout(&seen.headers(n)).unwrap();
    assert!(told(1) <= told(0) && told(0) <= Duration::from_secs(60));
    assert!(told(1) < Duration::from_secs(60));
}

#[tokio::test]
async fn many_clients_at_once_send_no_more_than_the_budget_allows() {
    const REQUESTS: usize = 200;
    let (addr, seen) = serve(Http::One, |_| Some(status(503, ""))).await;
    let budget = Budget::new(budget::Params::new(Duration::from_secs(60), 0.1, 0).unwrap(), Instant::now());
    let mut service = retry(params(5, "503", "")).budget(budget).layer(client(Http::One, [addr]));
    let sent: Vec<_> = (0..REQUESTS).map(|_| tokio::spawn(service.call(get()))).collect();
    for response in sent {
        assert_eq!(response.await.unwrap().unwrap().status(), 503);
    }
    // All requests were counted before the first of them was tried again.
    assert_eq!(seen.count(), REQUESTS + REQUESTS / 10);
}

//! What becomes of a request's body.

use std::future::ready;

use http_body_util::Full;
use tower::service_fn;

use super::*;
use crate::ReplayBody;

fn post(text: &'static str) -> Request<Full<Bytes>> {
    Request::post("http://web.ns/").header("x", "y").body(Full::new(Bytes::from_static(text.as_bytes()))).unwrap()
}

fn limited(max_request_bytes: usize) -> Params {
    Params { max_request_bytes, ..params(2) }
}

#[tokio::test(start_paused = true)]
async fn every_try_gets_the_whole_request_with_trailers() {
    let server = Server::new([Try::status(500), Try::status(500)]);
    let frames = [data("hello "), data("world"), trailers(Code::OK)];
    let request = Request::post("http://web.ns/").header("x", "y").body(Reply { frames: frames.into(), stays_open: false }).unwrap();
    let (answer, heard) = send(layer(limited(11)), &server, request).await;
    assert_eq!((answer.unwrap().status().as_u16(), heard), (200, ["retry 1", "retry 2", "success"].map(String::from).to_vec()));
    for seen in server.seen() {
        assert_eq!((seen.body.as_slice(), &seen.headers["x"]), (&b"hello world"[..], &HeaderValue::from_static("y")));
        assert_eq!(seen.trailers.as_ref().and_then(Code::from_headers), Some(Code::OK));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_sent_once_whether_or_not_it_says_its_length() {
    let server = Server::new([Try::status(500)]);
    let (answer, heard) = send(layer(limited(4)), &server, post("12345")).await;
    assert_eq!((answer.unwrap().status().as_u16(), heard.len(), server.seen()[0].body.as_slice()), (500, 0, &b"12345"[..]));
    let server = Server::new([Try::status(500)]);
    let unknown = Reply { frames: [data("123"), data("45")].into(), stays_open: false };
    let (answer, _) = send(layer(limited(4)), &server, post("").map(|_| unknown)).await;
    assert_eq!((answer.unwrap().status().as_u16(), server.seen()[0].body.as_slice()), (500, &b"12345"[..]));
    let server = Server::new([Try::status(500)]);
    let (answer, _) = send(layer(limited(5)), &server, post("12345")).await;
    assert_eq!((answer.unwrap().status().as_u16(), server.count()), (200, 2));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_still_being_sent_when_the_response_comes_is_not_sent_again() {
    let server = Server::new([Try::status(500).read(Read::Later)]);
    let (answer, heard) = send(layer(limited(64)), &server, post("12345")).await;
    assert_eq!((answer.unwrap().status().as_u16(), heard.len(), server.count()), (500, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_given_up_is_sent_again() {
    let server = Server::new([Try::status(500).read(Read::Nothing)]);
    let (answer, _) = send(layer(limited(64)), &server, post("12345")).await;
    assert_eq!((answer.unwrap().status().as_u16(), server.seen()[1].body.as_slice()), (200, &b"12345"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_body_is_sent_again_although_the_first_copy_is_held() {
    let server = Server::new([Try::status(500).read(Read::Later)]);
    assert_eq!(status(layer(limited(0)), &server).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_response_is_gone_before_the_next_try_is_sent() {
    let connection = Arc::new(());
    let seen = Arc::clone(&connection);
    let inner = service_fn(move |_: Request<ReplayBody<Full<Bytes>>>| {
        // One is the test's, and one each has the instance that is called and its spare.
        assert_eq!(Arc::strong_count(&seen), 3, "a response holds the connection");
        let held = Arc::clone(&seen);
        let body = Empty::<Bytes>::new().map_frame(move |frame| {
            let _ = &held;
            frame
        });
        ready(Ok::<_, Error>(Response::builder().status(500).body(body).unwrap()))
    });
    let mut service = layer(params(3)).layer(inner);
    let answer = service.call(post("12345")).await.unwrap();
    assert_eq!((answer.status().as_u16(), Arc::strong_count(&connection)), (500, 3), "the last one holds it");
    drop(answer);
    assert_eq!(Arc::strong_count(&connection), 2);
}

//! Requests of which nothing was sent.

use http_body_util::Full;

use super::*;
use crate::NotSent;

/// The connection was refused, as a response and as an error.
fn refused() -> [Try; 2] {
    [
        Try::status(502).read(Read::Nothing).map(|response| {
            response.extensions_mut().insert(NotSent);
        }),
        Try::new(Err(Error::new(Cause::Io).caused_by(std::io::Error::other(NotSent)))).read(Read::Nothing),
    ]
}

fn post() -> Request<Full<Bytes>> {
    Request::post("http://web.ns/").body(Full::new(Bytes::from_static(b"a body longer than any limit here"))).unwrap()
}

/// The status, 0 for an error.
fn answered(answer: Result<Response<PeekBody<Reply>>, Error>) -> u16 {
    answer.map_or(0, |response| response.status().as_u16())
}

#[tokio::test(start_paused = true)]
async fn it_goes_to_another_endpoint_whatever_its_method_and_its_length() {
    for first in refused() {
        let server = Server::new([first]);
        let (answer, heard) = send(layer(Plan::new()).resend_unsent(), &server, post()).await;
        assert_eq!((answered(answer), heard), (200, vec!["resent".to_owned()]));
        assert_eq!(server.seen()[1].body, b"a body longer than any limit here");
    }
}

#[tokio::test(start_paused = true)]
async fn it_goes_there_once() {
    for (first, second) in refused().into_iter().zip(refused()) {
        let server = Server::new([first, second]);
        let (answer, heard) = send(layer(Plan::new()).resend_unsent(), &server, post()).await;
        assert_ne!(answered(answer), 200);
        assert_eq!((heard, server.count()), (vec!["resent".to_owned()], 2));
    }
}

#[tokio::test(start_paused = true)]
async fn it_goes_nowhere_unless_this_is_asked_for_or_retries_are_planned() {
    for first in refused() {
        let server = Server::new([first]);
        assert_ne!(answered(send(layer(Plan::new()), &server, post()).await.0), 200);
        assert_eq!(server.count(), 1);
    }
    let by_nothing = Params { conditions: Conditions::default(), max_request_bytes: 0, ..params(0) };
    for first in refused() {
        let (answer, heard) = send(layer(by_nothing.clone()), &Server::new([first]), post()).await;
        assert_eq!((answered(answer), heard), (200, vec!["resent".to_owned()]));
    }
}

#[tokio::test(start_paused = true)]
async fn it_does_not_count_as_a_retry_nor_cost_the_budget() {
    let empty = crate::Budget::new(crate::budget::Params::new(Duration::from_secs(10), 0.0, 0).unwrap(), Instant::now());
    let [first, _] = refused();
    let (answer, heard) = send(layer(params(1)).budget(empty), &Server::new([first]), get()).await;
    assert_eq!((answered(answer), heard), (200, vec!["resent".to_owned()]));
    let [first, second] = refused();
    let wait = meshkit_core::Backoff::new(Duration::from_secs(1), Duration::from_secs(1), 0.0).unwrap();
    let server = Server::new([first, second, Try::status(503)]);
    let (answer, heard) = send(layer(Params { backoff: Some(wait), ..params(2) }), &server, get()).await;
    assert_eq!((answered(answer), heard), (200, ["resent", "retry 1", "retry 2", "success"].map(String::from).to_vec()));
    let seen = server.seen();
    assert_eq!(seen[1].at - seen[0].at, Duration::ZERO, "it does not wait");
    assert_eq!(seen[2].at - seen[1].at, Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_body_of_which_something_was_read_is_gone() {
    for first in refused() {
        let server = Server::new([first.read(Read::All)]);
        assert_ne!(answered(send(layer(Plan::new()).resend_unsent(), &server, post()).await.0), 200);
        assert_eq!(server.count(), 1, "somebody was wrong, and half a body would be worse than none");
    }
}

#[tokio::test(start_paused = true)]
async fn it_stays_where_nothing_else_is_ready() {
    let [first, _] = refused();
    let server = Server::new([first]).busy_after(1);
    let (answer, heard) = send(layer(Plan::new()).resend_unsent(), &server, post()).await;
    assert_eq!((answered(answer), heard), (502, vec!["overflow".to_owned()]));
}

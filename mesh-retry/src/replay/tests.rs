use std::{collections::VecDeque, convert::Infallible, pin::pin, task::Waker};

use http::HeaderValue;
use http_body_util::{BodyExt as _, Empty, Full};
use proptest::prelude::*;

use super::*;

/// A body that gives these frames, one a poll.
#[derive(Debug, Default)]
struct Script {
    frames: VecDeque<Result<Frame<Bytes>, &'static str>>,
    hint: SizeHint,
}

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.frames.pop_front())
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

fn data(text: &'static str) -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))])
}

fn script(frames: impl IntoIterator<Item = Result<Frame<Bytes>, &'static str>>) -> Script {
    Script { frames: frames.into_iter().collect(), hint: SizeHint::default() }
}

/// A frame, or the end.
fn poll<B: Body + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(frame) => frame,
        Poll::Pending => panic!("a script is never pending"),
    }
}

/// The whole of a body: its data, its trailers, and whether it failed.
fn read<B: Body<Data = Bytes> + Unpin>(body: B) -> (Vec<u8>, Option<HeaderMap>, bool) {
    let (mut body, mut bytes, mut trailers) = (body, Vec::new(), None);
    loop {
        match poll(&mut body) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Some(Err(_)) => return (bytes, trailers, true),
            None => return (bytes, trailers, false),
        }
    }
}

#[test]
fn a_body_with_trailers_is_sent_as_often_as_asked() {
    let (body, replay) = ReplayBody::new(script([data("hello "), data("world"), Ok(Frame::trailers(trailers()))]), 64);
    let mut next = body;
    for _ in 0..3 {
        assert_eq!(replay.replayable(), Replayable::InUse);
        assert!(replay.body().is_none(), "one at a time");
        assert_eq!(read(next), (b"hello world".to_vec(), Some(trailers()), false));
        assert_eq!(replay.replayable(), Replayable::Yes);
        next = replay.body().unwrap();
    }
}

#[test]
fn the_limit_is_exact_and_the_first_copy_is_whole_in_any_case() {
    let text = || script([data("12345"), data("6789"), data("0")]);
    let (body, replay) = ReplayBody::new(text(), 10);
    assert_eq!(read(body).0, b"1234567890");
    assert_eq!(read(replay.body().unwrap()).0, b"1234567890");
    let (body, replay) = ReplayBody::new(text(), 9);
    assert_eq!(read(body).0, b"1234567890", "a longer body still arrives once");
    assert_eq!(replay.replayable(), Replayable::No);
    assert!(replay.body().is_none());
}

#[test]
fn a_body_that_says_it_is_too_long_is_not_recorded_at_all() {
    let mut long = script([data("12345")]);
    long.hint = SizeHint::with_exact(5);
    let (mut body, replay) = ReplayBody::new(long, 4);
    assert!(!body.can_be_kept());
    assert_eq!(poll(&mut body).unwrap().unwrap().into_data().unwrap(), "12345");
    drop(body);
    assert_eq!(replay.replayable(), Replayable::No);
}

#[test]
fn what_nobody_has_read_of_can_be_taken_back_however_long_it_is() {
    let mut long = script([data("12345")]);
    long.hint = SizeHint::with_exact(5);
    let (body, replay) = ReplayBody::new(long, 0);
    assert!(!replay.untouched(), "it is being sent");
    drop(body);
    assert_eq!((replay.replayable(), replay.untouched()), (Replayable::No, true));
    let mut again = replay.body().unwrap();
    assert_eq!(again.size_hint().exact(), Some(5));
    assert_eq!(poll(&mut again).unwrap().unwrap().into_data().unwrap(), "12345");
    drop(again);
    assert!(!replay.untouched());
    assert!(replay.body().is_none());
}

#[test]
fn a_body_given_up_half_way_goes_on_where_it_was() {
    let (mut body, replay) = ReplayBody::new(script([data("one"), data("two"), data("three")]), 64);
    assert_eq!(poll(&mut body).unwrap().unwrap().into_data().unwrap(), "one");
    drop(body);
    let mut body = replay.body().unwrap();
    assert_eq!(poll(&mut body).unwrap().unwrap().into_data().unwrap(), "one", "recorded");
    assert_eq!(poll(&mut body).unwrap().unwrap().into_data().unwrap(), "two", "and read on");
    drop(body);
    assert_eq!(read(replay.body().unwrap()).0, b"onetwothree");
}

#[test]
fn a_body_that_failed_is_not_sent_again() {
    let (body, replay) = ReplayBody::new(script([data("one"), Err("broken")]), 64);
    assert!(read(body).2);
    assert_eq!((replay.replayable(), replay.untouched()), (Replayable::No, false));
}

#[test]
fn an_empty_body_can_be_sent_again_while_the_first_copy_is_held() {
    let (body, replay) = ReplayBody::new(Empty::<Bytes>::new(), 0);
    assert!(body.is_end_stream() && body.can_be_kept());
    assert_eq!(body.size_hint().exact(), Some(0));
    assert_eq!((replay.replayable(), replay.untouched()), (Replayable::Yes, true));
    assert_eq!(read(replay.body().unwrap()), (Vec::new(), None, false));
    assert_eq!(read(body), (Vec::new(), None, false));
}

#[test]
fn who_has_the_last_frame_need_not_ask_for_the_end() {
    let (mut body, replay) = ReplayBody::new(Full::new(Bytes::from_static(b"all")), 64);
    assert!(poll(&mut body).is_some());
    assert!(body.is_end_stream());
    assert_eq!(replay.replayable(), Replayable::Yes, "although the body is still held");
    let mut again = replay.body().unwrap();
    assert_eq!(again.size_hint().exact(), Some(3));
    assert!(poll(&mut again).is_some());
    assert_eq!(replay.replayable(), Replayable::Yes);
}

#[test]
fn a_recording_shares_the_memory_of_the_frames() {
    let bytes = Bytes::from(vec![7; 1_000]);
    let (mut body, replay) = ReplayBody::new(Full::new(bytes.clone()), 1_000);
    assert_eq!(poll(&mut body).unwrap().unwrap().into_data().unwrap().as_ptr(), bytes.as_ptr());
    assert_eq!(poll(&mut replay.body().unwrap()).unwrap().unwrap().into_data().unwrap().as_ptr(), bytes.as_ptr());
}

#[tokio::test]
async fn a_body_that_is_sent_once_is_not_touched_on_its_way() {
    let body = ReplayBody::once(Full::new(Bytes::from_static(b"hello")).map_err(|never: Infallible| match never {}));
    assert_eq!(body.size_hint().exact(), Some(5));
    assert!(!body.is_end_stream() && !body.can_be_kept());
    assert_eq!(pin!(body).collect().await.unwrap().to_bytes(), "hello");
}

/// What a peer and a sender may do to a body, as a sequence.
#[derive(Clone, Debug)]
enum Step {
    /// A frame is asked for.
    Poll,
    /// The copy being sent is dropped, and another one asked for.
    Again,
}

fn frames() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0usize..6, 0..12)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(prop_oneof![4 => Just(Step::Poll), 1 => Just(Step::Again)], 0..60)
}

proptest! {
    /// The model: a copy is a prefix of the whole; another copy can be had exactly as long as no more than `limit` bytes were read.
    #[test]
    fn every_copy_is_the_body_from_its_beginning(lengths in frames(), with_trailers: bool, limit in 0usize..32, known: bool, steps in steps()) {
        let whole: Vec<u8> = (0..lengths.iter().sum()).map(|n: usize| u8::try_from(n).unwrap()).collect();
        let mut rest = Bytes::from(whole.clone());
        let mut source = script(lengths.iter().map(|n| Ok(Frame::data(rest.split_to(*n)))));
        if known {
            source.hint = SizeHint::with_exact(whole.len() as u64);
        }
        if with_trailers {
            source.frames.push_back(Ok(Frame::trailers(trailers())));
        }
        let (body, replay) = ReplayBody::new(source, limit);
        let refused = known && whole.len() > limit;
        let (mut body, mut sent, mut most, mut touched) = (Some(body), Vec::new(), 0, false);
        for step in steps {
            match step {
                Step::Poll => {
                    let Some(body) = &mut body else { continue };
                    touched = true;
                    match poll(body) {
                        Some(frame) => match frame.unwrap().into_data() {
                            Ok(data) => sent.extend_from_slice(&data),
                            Err(frame) => {
                                prop_assert!(with_trailers);
                                prop_assert_eq!(frame.into_trailers().unwrap(), trailers());
                                prop_assert_eq!(&sent, &whole);
                            }
                        },
                        None => prop_assert_eq!(&sent, &whole),
                    }
                    prop_assert!(whole.starts_with(&sent));
                    most = most.max(sent.len());
                }
                Step::Again => {
                    drop(body.take());
                    let expected = if refused || most > limit { Replayable::No } else { Replayable::Yes };
                    prop_assert_eq!(replay.replayable(), expected);
                    prop_assert_eq!(replay.untouched(), !touched);
                    body = replay.body();
                    prop_assert_eq!(body.is_some(), expected == Replayable::Yes || !touched);
                    sent.clear();
                }
            }
        }
    }
}

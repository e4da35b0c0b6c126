//! A request body that is sent more than once, against a list of frames.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use meshkit_retry::{Replay, ReplayBody, Replayable};

use crate::{Input, Verdict};

/// What the client's body does when it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Data(Bytes),
    NotYet,
    Trailers,
    Broken,
}

/// A body that says beforehand how long it is and when it has ended, or says nothing.
struct Scripted {
    /// What is still to come; shared, because a recording may own the body for a while.
    steps: Arc<Mutex<VecDeque<Step>>>,
    outspoken: bool,
}

/// What the client's body holds, and what the code under test must know by now.
struct Model {
    script: Vec<Step>,
    all: Vec<u8>,
    remaining: Arc<Mutex<VecDeque<Step>>>,
    limit: usize,
    fits: bool,
}

/// Two bytes are limit and manner of the body, then its frames, then the readers: each gives up after so many frames. Each must see the body from its
/// first byte; and there is another one as long as the whole of what was read fits.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let (limit, outspoken) = (usize::from(input.byte() & 31), input.flag());
    let script = script(&mut input);
    let remaining = Arc::new(Mutex::new(VecDeque::from(script.clone())));
    let (body, replay) = ReplayBody::new(Scripted { steps: Arc::clone(&remaining), outspoken }, limit);
    if script.is_empty() && outspoken {
        drop(body);
        assert_eq!((replay.replayable(), replay.untouched(), replay.body().is_some()), (Replayable::Yes, true, true));
        return Verdict::Refused;
    }
    let all = data_of(&script);
    let fits = !outspoken || all.len() <= limit;
    let model = Model { script, all, remaining, limit, fits };
    let mut next = Some(body);
    let mut count = 0;
    let mut touched = false;
    while let Some(mut body) = next.take() {
        assert_eq!(replay.replayable(), Replayable::InUse);
        assert!(replay.body().is_none(), "one at a time");
        let polls = input.below(16);
        touched |= model.read(&mut body, &replay, polls);
        drop(body);
        let kept = model.is_kept();
        assert_eq!(replay.replayable(), if kept { Replayable::Yes } else { Replayable::No });
        assert_eq!(replay.untouched(), !touched);
        count += 1;
        next = if input.is_empty() { None } else { replay.body() };
        assert!(next.is_some() == (kept || !touched) || input.is_empty(), "{kept} {touched}");
    }
    Verdict::when(count > 1)
}

fn script(input: &mut Input<'_>) -> Vec<Step> {
    let mut script = Vec::new();
    for _ in 0..input.below(8) {
        match input.below(8) {
            0 => script.push(Step::NotYet),
            1 => return [script, vec![Step::Trailers]].concat(),
            2 => return [script, vec![Step::Broken]].concat(),
            length => script.push(Step::Data(Bytes::copy_from_slice(input.bytes(length - 3)))),
        }
    }
    script
}

fn data_of(script: &[Step]) -> Vec<u8> {
    let data = |step: &Step| if let Step::Data(data) = step { data.to_vec() } else { Vec::new() };
    script.iter().flat_map(data).collect()
}

impl Model {
    /// What was taken of the client's body so far.
    fn taken(&self) -> Vec<Step> {
        let left = self.remaining.lock().expect("one thread").len();
        self.script[..self.script.len() - left].to_vec()
    }

    fn is_kept(&self) -> bool {
        let taken = self.taken();
        self.fits && !taken.contains(&Step::Broken) && data_of(&taken).len() <= self.limit
    }

    /// Asks for so many frames, and looks at each. Returns whether the client's body was asked.
    fn read(&self, body: &mut ReplayBody<Scripted>, replay: &Replay<Scripted>, polls: usize) -> bool {
        let (mut seen, mut ended, mut asked) = (0, false, false);
        for _ in 0..polls {
            let recorded = data_of(&self.taken()).len();
            let is_end = body.is_end_stream();
            let hint = body.size_hint();
            if !ended && !self.script.contains(&Step::Broken) {
                let left = (self.all.len() - seen) as u64;
                assert!(hint.lower() <= left && hint.upper().is_none_or(|upper| left <= upper), "{hint:?} for {left} bytes");
            }
            let polled = Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop()));
            // At the end of what is recorded, the client's body goes on.
            asked |= seen >= recorded;
            match polled {
                Poll::Pending => assert!(self.taken().ends_with(&[Step::NotYet])),
                Poll::Ready(None) => {
                    if !ended {
                        assert_eq!((seen, self.taken().len()), (self.all.len(), self.script.len()), "ended early");
                        assert!(!self.script.contains(&Step::Trailers) && !self.script.contains(&Step::Broken));
                    }
                    ended = true;
                }
                Poll::Ready(Some(Err(()))) => {
                    assert!(!ended && self.taken().ends_with(&[Step::Broken]));
                    ended = true;
                }
                Poll::Ready(Some(Ok(frame))) => {
                    assert!(!ended && !is_end, "a frame behind the end");
                    match frame.into_data() {
                        Ok(data) => {
                            assert_eq!(self.all.get(seen..seen + data.len()), Some(&*data), "from byte {seen} on");
                            seen += data.len();
                        }
                        Err(frame) => {
                            assert_eq!(frame.into_trailers().ok(), Some(trailers()));
                            assert_eq!((seen, self.script.last()), (self.all.len(), Some(&Step::Trailers)));
                            ended = true;
                        }
                    }
                }
            }
            if ended {
                assert!(body.is_end_stream() || self.script.contains(&Step::Broken));
                assert_ne!(replay.replayable(), Replayable::InUse, "nobody needs the recording any longer");
            }
        }
        asked
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
}

impl Scripted {
    fn left(&self) -> VecDeque<Step> {
        self.steps.lock().expect("one thread").clone()
    }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = ();

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        let step = self.steps.lock().expect("one thread").pop_front();
        Poll::Ready(match step {
            None => None,
            Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Step::Trailers) => Some(Ok(Frame::trailers(trailers()))),
            Some(Step::Broken) => Some(Err(())),
            Some(Step::NotYet) => return Poll::Pending,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.outspoken && self.left().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.outspoken { SizeHint::with_exact(data_of(self.left().make_contiguous()).len() as u64) } else { SizeHint::new() }
    }
}

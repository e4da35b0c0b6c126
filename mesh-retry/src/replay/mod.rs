//! A request body that can be sent again.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

#[cfg(test)]
mod tests;

/// A body that is recorded while it is sent, up to a limit. Recording copies nothing: frames share their memory.
///
/// The recording goes back to the [`Replay`] when the body has ended, or when it is dropped.
pub struct ReplayBody<B>(Inner<B>);

enum Inner<B> {
    Once(B),
    /// There was nothing in it.
    Empty,
    Recorded {
        tape: Option<Tape<B>>,
        played: usize,
        back: Replay<B>,
    },
}

/// The recording of a body. It is there once nobody sends the body any longer; that of an empty body always is.
pub struct Replay<B>(Option<Arc<Slot<B>>>);

/// Where the tape lies while the body is not being sent.
type Slot<B> = Mutex<Option<Tape<B>>>;

/// Whether a body can be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // A decision over all of them is what it is for.
pub enum Replayable {
    /// From its first byte.
    Yes,
    /// Somebody is still sending it.
    InUse,
    /// It is longer than the limit, or has failed. What has not been looked at at all can still be taken back, see
    /// [`Replay::untouched`].
    No,
}

struct Tape<B> {
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    /// What is not recorded yet.
    rest: Option<B>,
    /// Bytes that still fit.
    room: usize,
    /// The tape has everything that was read so far.
    whole: bool,
    touched: bool,
}

impl<B: Body> ReplayBody<B> {
    /// Records up to `limit` bytes of data.
    #[must_use]
    pub fn new(body: B, limit: usize) -> (Self, Replay<B>) {
        // Most requests have no body. Those cost nothing, and can be sent again while somebody still holds the first copy.
        if body.is_end_stream() {
            return (Self(Inner::Empty), Replay(None));
        }
        let whole = body.size_hint().lower() <= limit as u64;
        let tape = Tape { frames: Vec::new(), trailers: None, rest: Some(body), room: limit, whole, touched: false };
        let replay = Replay(Some(Arc::new(Mutex::new(None))));
        (Self(Inner::Recorded { tape: Some(tape), played: 0, back: replay.clone() }), replay)
    }

    /// Records nothing, and costs nothing.
    #[must_use]
    pub const fn once(body: B) -> Self {
        Self(Inner::Once(body))
    }

    /// As far as is known, the whole of it will fit.
    pub(crate) fn can_be_kept(&self) -> bool {
        match &self.0 {
            Inner::Empty => true,
            Inner::Recorded { tape, .. } => tape.as_ref().is_some_and(|tape| tape.whole),
            Inner::Once(_) => false,
        }
    }
}

impl<B> Clone for Replay<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> Replay<B> {
    /// What lies in the slot; an empty body has none.
    fn slot(&self) -> Option<MutexGuard<'_, Option<Tape<B>>>> {
        self.0.as_ref().map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Can the body be sent again?
    #[must_use]
    pub fn replayable(&self) -> Replayable {
        let Some(slot) = self.slot() else { return Replayable::Yes };
        match &*slot {
            Some(tape) if tape.whole => Replayable::Yes,
            Some(_) => Replayable::No,
            None => Replayable::InUse,
        }
    }

    /// Is the body back as it was given, without anybody having read of it?
    #[must_use]
    pub fn untouched(&self) -> bool {
        self.slot().is_none_or(|slot| slot.as_ref().is_some_and(|tape| !tape.touched))
    }

    /// The body, from its beginning; `None` if it is in use or cannot be had again.
    #[must_use]
    pub fn body(&self) -> Option<ReplayBody<B>> {
        let Some(mut slot) = self.slot() else { return Some(ReplayBody(Inner::Empty)) };
        let tape = slot.take_if(|tape| tape.whole || !tape.touched)?;
        Some(ReplayBody(Inner::Recorded { tape: Some(tape), played: 0, back: self.clone() }))
    }

    fn put(&self, tape: Tape<B>) {
        if let Some(mut slot) = self.slot() {
            *slot = Some(tape);
        }
    }
}

impl<B> Tape<B> {
    fn record(&mut self, data: &Bytes) -> bool {
        if !self.whole || data.is_empty() {
            return false;
        }
        match self.room.checked_sub(data.len()) {
            Some(room) => {
                self.room = room;
                self.frames.push(data.clone());
            }
            None => self.spoil(),
        }
        self.whole
    }

    fn spoil(&mut self) {
        self.whole = false;
        self.frames = Vec::new();
    }
}

impl<B: Body + Unpin> Tape<B> {
    fn poll_rest(&mut self, cx: &mut Context<'_>, played: &mut usize) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.touched = true;
        let Some(rest) = self.rest.as_mut() else { return Poll::Ready(None) };
        let frame = match ready!(Pin::new(rest).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.rest = None;
                self.spoil();
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                self.rest = None;
                return Poll::Ready(None);
            }
        };
        let frame = match frame.into_data() {
            Ok(mut data) => {
                let data = data.copy_to_bytes(data.remaining());
                *played = if self.record(&data) || self.whole { self.frames.len() } else { 0 };
                Frame::data(data)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => {
                    // Nothing follows trailers.
                    self.rest = None;
                    self.trailers = Some(trailers.clone());
                    Frame::trailers(trailers)
                }
                // No other kind of frame exists; one that comes to exist ends the body.
                Err(_) => {
                    self.rest = None;
                    self.spoil();
                    return Poll::Ready(None);
                }
            },
        };
        if self.rest.as_ref().is_some_and(Body::is_end_stream) {
            self.rest = None;
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl<B: Body + Unpin> Body for ReplayBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let (slot, played, back) = match &mut self.0 {
            Inner::Once(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                return Poll::Ready(frame.map(|frame| frame.map(|f| f.map_data(|mut data| data.copy_to_bytes(data.remaining())))));
            }
            Inner::Empty => return Poll::Ready(None),
            Inner::Recorded { tape, played, back } => (tape, played, back),
        };
        let Some(tape) = slot else { return Poll::Ready(None) };
        let frame = if let Some(data) = tape.frames.get(*played) {
            *played += 1;
            Some(Ok(Frame::data(data.clone())))
        } else if tape.rest.is_some() {
            ready!(tape.poll_rest(cx, played))
        } else {
            tape.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers)))
        };
        // Who has the last frame need not ask for another one to have sent the body.
        let over = tape.rest.is_none() && *played >= tape.frames.len();
        let last = frame.as_ref().is_none_or(|f| f.as_ref().map_or(true, Frame::is_trailers)) || tape.trailers.is_none();
        if over
            && last
            && let Some(tape) = slot.take()
        {
            back.put(tape);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Once(body) => body.is_end_stream(),
            Inner::Empty | Inner::Recorded { tape: None, .. } => true,
            Inner::Recorded { tape: Some(tape), played, .. } => {
                *played >= tape.frames.len() && tape.trailers.is_none() && tape.rest.as_ref().is_none_or(Body::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Once(body) => body.size_hint(),
            Inner::Empty | Inner::Recorded { tape: None, .. } => SizeHint::with_exact(0),
            Inner::Recorded { tape: Some(tape), played, .. } => {
                let recorded = tape.frames[*played..].iter().map(|data| data.len() as u64).sum::<u64>();
                let rest = tape.rest.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(recorded));
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(recorded));
                }
                hint
            }
        }
    }
}

impl<B> Drop for Inner<B> {
    fn drop(&mut self) {
        if let Self::Recorded { tape, back, .. } = self
            && let Some(tape) = tape.take()
        {
            back.put(tape);
        }
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody").finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for Replay<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Replay").field(&self.replayable()).finish()
    }
}

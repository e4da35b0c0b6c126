use std::{
    fmt,
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::Rate;

/// Pieces a second that a large frame is cut into, so that a slow response flows and does not jerk.
const PIECES: u64 = 20;

/// What a body may be behind its time and make up for: timers of tokio count milliseconds, and at high rates a frame takes less.
const LAG: Duration = Duration::from_millis(1_000 / PIECES);

/// A body that may be slowed down. Each piece of data comes when the time for its bytes has passed; time that the body itself took counts.
#[pin_project]
pub struct Throttled<B> {
    #[pin]
    inner: B,
    throttle: Option<Pin<Box<Throttle>>>,
}

/// On the heap, so that bodies can be moved and one without a rate stays small.
#[pin_project]
struct Throttle {
    rate: Rate,
    #[pin]
    sleep: Sleep,
    data: Bytes,
}

impl<B> Throttled<B> {
    /// Lets data pass at this rate; without one, as it comes.
    ///
    /// # Panics
    /// There is a rate, and no tokio runtime with a timer.
    #[must_use]
    pub fn new(inner: B, rate: Option<Rate>) -> Self {
        let throttle = |rate| Box::pin(Throttle { rate, sleep: sleep_until(Instant::now()), data: Bytes::new() });
        Self { inner, throttle: rate.map(throttle) }
    }
}

impl Throttle {
    /// The next piece, in its time.
    fn poll_piece(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Bytes> {
        ready!(self.as_mut().project().sleep.poll(cx));
        let length = self.piece();
        let piece = self.as_mut().project().data.split_to(length);
        self.wait();
        Poll::Ready(piece)
    }

    /// The length of the next piece.
    fn piece(&self) -> usize {
        let most = usize::try_from(self.rate.get() / PIECES).unwrap_or(usize::MAX);
        self.data.len().min(most.max(1))
    }

    /// Sets the timer for the next piece. What came before has taken its time already.
    fn wait(self: Pin<&mut Self>) {
        let piece = self.piece();
        if piece > 0 {
            // A second at most: the slowest rate is a byte a second, and then a piece is a byte.
            let at = self.sleep.deadline() + self.rate.time_of(piece as u64);
            self.project().sleep.reset(at);
        }
    }

    fn take(mut self: Pin<&mut Self>, data: Bytes) {
        // Unused time is not saved up, beyond the lag: a body that was silent does not come in a burst.
        let now = Instant::now();
        let lagging = now.checked_sub(LAG).unwrap_or(now);
        let mut this = self.as_mut().project();
        if this.sleep.deadline() < lagging {
            this.sleep.as_mut().reset(lagging);
        }
        *this.data = data;
        self.wait();
    }
}

impl<B: Body> Body for Throttled<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let mut inner = this.inner;
        let Some(throttle) = this.throttle else {
            let frame = ready!(inner.poll_frame(cx));
            return Poll::Ready(frame.map(|frame| frame.map(|f| f.map_data(|mut data| data.copy_to_bytes(data.remaining())))));
        };
        loop {
            if !throttle.data.is_empty() {
                return throttle.as_mut().poll_piece(cx).map(|piece| Some(Ok(Frame::data(piece))));
            }
            let frame = match ready!(inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => frame.map_data(|mut data| data.copy_to_bytes(data.remaining())),
                other => return Poll::Ready(other.map(|frame| frame.map(|f| f.map_data(|_| Bytes::new())))),
            };
            match frame.into_data() {
                Ok(data) => throttle.as_mut().take(data),
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.throttle.as_ref().is_none_or(|throttle| throttle.data.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.throttle.as_ref().map_or(0, |throttle| throttle.data.len() as u64);
        let rest = self.inner.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

impl<B> fmt::Debug for Throttled<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttled").field("rate", &self.throttle.as_ref().map(|t| t.rate)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream::{iter, poll_fn};
    use http::{HeaderMap, HeaderValue};
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use meshkit_core::grpc::GRPC_STATUS;
    use proptest::prelude::*;
    use tokio::sync::mpsc;

    use super::*;

    async fn timed(body: impl Body<Data = Bytes, Error = Infallible>, rate: u64) -> (usize, Duration) {
        let begun = Instant::now();
        let body = std::pin::pin!(Throttled::new(body, Rate::new(rate)));
        let length = body.collect().await.unwrap().to_bytes().len();
        (length, begun.elapsed())
    }

    fn near(time: Duration, wanted: f64) -> bool {
        // The paused clock steps in milliseconds.
        (time.as_secs_f64() - wanted).abs() < 0.002
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_takes_the_time_of_its_bytes() {
        let (length, time) = timed(Full::from(vec![0u8; 128 << 10]), 64 << 10).await;
        assert_eq!(length, 128 << 10);
        assert!(near(time, 2.0), "{time:?}");
        let (length, time) = timed(Full::from("abc"), 1).await;
        assert!(length == 3 && near(time, 3.0), "{time:?}");
        assert_eq!(timed(Full::from(vec![0u8; 1 << 20]), 0).await.1, Duration::ZERO, "no rate, no wait");
    }

    #[tokio::test(start_paused = true)]
    async fn it_flows_in_pieces() {
        let mut body = Throttled::new(Full::<Bytes>::from(vec![0u8; 1_000]), Rate::new(1_000));
        let begun = Instant::now();
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(piece.len(), 50);
        assert!(near(begun.elapsed(), 0.05));
        assert_eq!(body.size_hint().exact(), Some(950));
        assert!(!body.is_end_stream());
    }

    #[tokio::test(start_paused = true)]
    async fn trailers_follow_the_data_and_a_silent_body_saves_nothing_up() {
        let (send, receive) = mpsc::channel(4);
        let mut body = Throttled::new(streamed(receive), Rate::new(100));
        tokio::time::sleep(Duration::from_secs(60)).await;
        send.send(Ok(Frame::data(Bytes::from_static(b"1234567890123456789012345")))).await.unwrap();
        send.send(Ok(Frame::trailers(HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))])))).await.unwrap();
        drop(send);
        let begun = Instant::now();
        let mut length = 0;
        let trailers = loop {
            match body.frame().await.unwrap().unwrap().into_data() {
                Ok(data) => length += data.len(),
                Err(frame) => break frame.into_trailers().unwrap(),
            }
        };
        assert_eq!((length, trailers), (25, HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))])));
        // A quarter of a second, less the lag that is made up for.
        assert!(near(begun.elapsed(), 0.2), "{:?}", begun.elapsed());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_faster_than_the_timer_is_kept() {
        // A frame takes a quarter of what a timer can tell apart.
        let (send, receive) = mpsc::channel(400);
        for _ in 0..400 {
            send.send(Ok(Frame::data(Bytes::from(vec![0u8; 1 << 10])))).await.unwrap();
        }
        drop(send);
        let (length, time) = timed(streamed(receive), 4 << 20).await;
        assert!(length == 400 << 10 && near(time, 400.0 / 4096.0), "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_of_the_body_is_passed_on() {
        let frames = [Ok(Frame::data(Bytes::from_static(b"abc"))), Err("broken")];
        let mut body = Throttled::new(StreamBody::new(iter(frames)), Rate::new(100));
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert_eq!(body.frame().await.unwrap().unwrap_err(), "broken");
    }

    #[test]
    fn a_body_without_a_rate_is_one_pointer_larger() {
        assert_eq!(size_of::<Throttled<Full<Bytes>>>(), size_of::<Full<Bytes>>() + size_of::<usize>());
    }

    type Result<E> = std::result::Result<Frame<Bytes>, E>;

    /// What is sent to the other half.
    fn streamed(mut frames: mpsc::Receiver<Result<Infallible>>) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        StreamBody::new(poll_fn(move |cx| frames.poll_recv(cx)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn all_bytes_come_and_none_too_early(lengths in proptest::collection::vec(0usize..2_000, 0..8), rate in 50u64..5_000) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let total: usize = lengths.iter().sum();
            let (length, time) = runtime.block_on(async {
                let (send, receive) = mpsc::channel(16);
                for length in &lengths {
                    send.send(Ok(Frame::data(Bytes::from(vec![0u8; *length])))).await.unwrap();
                }
                drop(send);
                timed(streamed(receive), rate).await
            });
            prop_assert_eq!(length, total);
            let wanted = total as f64 / rate as f64;
            prop_assert!(time.as_secs_f64() >= wanted - 0.001 && time.as_secs_f64() <= wanted + 0.01, "{time:?} {wanted}");
        }
    }
}

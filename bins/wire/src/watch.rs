//! A watch that outlives its connections: reconnects with backoff, and says which item is the first of a connection.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};
use meshkit_core::{Backoff, Dice, grpc::Code};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use crate::Refused;

/// How long a stream may take and last. `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Until the first item; running over it counts as an error.
    pub initial: Option<Duration>,
    /// Between two items; then the stream is renewed.
    pub idle: Option<Duration>,
    /// Altogether; then the stream is renewed, so that connections spread over new servers and a lost update is made good.
    pub lifetime: Option<Duration>,
}

/// How a watch comes back.
#[derive(Clone, Debug)]
pub struct Resume {
    /// Limits of each stream.
    pub limits: Limits,
    /// Waits between streams.
    pub backoff: Backoff,
    /// Jitter of the waits.
    pub dice: Dice,
    /// Counts the watches that have lost their server.
    pub away: Away,
    /// Codes after which asking again is useless.
    pub is_final: fn(Code) -> bool,
}

/// How many watches wait for a server that does not answer. Clones count together.
///
/// What such a watch has told last is all that is known for now: it should not be let go of.
#[derive(Clone, Debug, Default)]
pub struct Away(Arc<AtomicUsize>);

impl Away {
    /// Does any watch wait for a server that does not answer?
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Counts one, for as long as what is returned lives.
    #[must_use]
    pub fn lost(&self) -> Lost {
        self.0.fetch_add(1, Ordering::Relaxed);
        Lost(self.clone())
    }
}

/// One watch that waits for its server.
#[derive(Debug)]
pub struct Lost(Away);

impl Drop for Lost {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One item of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<T> {
    /// Is it the first since a (re)connect? Then it says everything, and what it does not mention is gone.
    pub first: bool,
    /// What the server sent.
    pub value: T,
}

/// A final refusal ends the profile and endpoint watches, and those of inbound policy.
#[must_use]
pub fn is_malformed(code: Code) -> bool {
    matches!(code, Code::INVALID_ARGUMENT | Code::FAILED_PRECONDITION)
}

/// A final refusal ends the watch of an outbound policy also where the server has none.
#[must_use]
pub fn is_absent(code: Code) -> bool {
    is_malformed(code) || matches!(code, Code::NOT_FOUND | Code::UNIMPLEMENTED)
}

struct State<O, S> {
    open: O,
    resume: Resume,
    current: Option<Connected<S>>,
    failures: u32,
    /// There since the server failed, until it answers.
    away: Option<Lost>,
}

struct Connected<S> {
    stream: S,
    until: Option<Instant>,
    first: bool,
}

/// Watches for as long as the returned stream is polled. It ends only with a final refusal, which is its last item.
///
/// # Cancel safety
/// Dropping the stream drops the connection's stream, which tells the server.
pub fn watch<T, S, F, O>(open: O, resume: Resume) -> impl Stream<Item = Result<Item<T>, Refused>>
where
    O: FnMut() -> F,
    F: Future<Output = Result<S, Refused>>,
    S: Stream<Item = Result<T, Refused>> + Unpin,
{
    let start = State { open, resume, current: None, failures: 0, away: None };
    stream::unfold(Some(start), |state| async move {
        let mut state = state?;
        match state.next().await {
            Ok(item) => Some((Ok(item), Some(state))),
            Err(refused) => Some((Err(refused), None)),
        }
    })
}

impl<O, S> State<O, S> {
    async fn next<T, F>(&mut self) -> Result<Item<T>, Refused>
    where
        O: FnMut() -> F,
        F: Future<Output = Result<S, Refused>>,
        S: Stream<Item = Result<T, Refused>> + Unpin,
    {
        loop {
            match self.attempt().await {
                Ok(Some(item)) => {
                    (self.failures, self.away) = (0, None);
                    return Ok(item);
                }
                // Ended without an error: the server drains, or the stream's time is up.
                Ok(None) => debug!("watch ended, renewing"),
                Err(refused) if (self.resume.is_final)(refused.code()) => return Err(refused),
                Err(refused) => {
                    debug!(error = %refused, failures = self.failures, "watch failed, renewing");
                    self.away.get_or_insert_with(|| self.resume.away.lost());
                }
            }
            self.current = None;
            let wait = self.resume.backoff.delay(self.failures, &self.resume.dice);
            self.failures = self.failures.saturating_add(1);
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt<T, F>(&mut self) -> Result<Option<Item<T>>, Refused>
    where
        O: FnMut() -> F,
        F: Future<Output = Result<S, Refused>>,
        S: Stream<Item = Result<T, Refused>> + Unpin,
    {
        let limits = self.resume.limits;
        let connected = match &mut self.current {
            Some(connected) => connected,
            none => {
                let opening = pin!((self.open)());
                let stream = within(limits.initial, opening).await.ok_or_else(initial_elapsed)??;
                let until = limits.lifetime.map(|l| Instant::now() + l);
                none.insert(Connected { stream, until, first: true })
            }
        };
        let limit = if connected.first { limits.initial } else { limits.idle };
        let next = within(limit, connected.stream.next());
        let next = match connected.until {
            Some(until) => match timeout_at(until, next).await {
                Ok(next) => next,
                Err(_) => return Ok(None),
            },
            None => next.await,
        };
        match next {
            Some(Some(Ok(value))) => Ok(Some(Item { first: std::mem::take(&mut connected.first), value })),
            Some(Some(Err(refused))) => Err(refused),
            Some(None) => Ok(None),
            None if connected.first => Err(initial_elapsed()),
            None => Ok(None),
        }
    }
}

fn initial_elapsed() -> Refused {
    Refused::new(Code::DEADLINE_EXCEEDED, "initial item not received within timeout")
}

/// `None` if the limit elapsed first.
async fn within<F: Future>(limit: Option<Duration>, future: F) -> Option<F::Output> {
    match limit {
        Some(limit) => timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::stream::BoxStream;

    use super::*;

    type Script = VecDeque<Result<BoxStream<'static, Result<u32, Refused>>, Refused>>;

    fn resume(limits: Limits) -> Resume {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10), 0.0).unwrap();
        Resume { limits, backoff, dice: Dice::new(0), away: Away::default(), is_final: is_malformed }
    }

    fn scripted(mut script: Script, limits: Limits) -> impl Stream<Item = Result<Item<u32>, Refused>> {
        let open = move || {
            let next = script.pop_front();
            async move { next.unwrap_or_else(|| Err(Refused::new(Code::INVALID_ARGUMENT, "the script is over"))) }
        };
        watch(open, resume(limits))
    }

    fn items(values: &[u32]) -> BoxStream<'static, Result<u32, Refused>> {
        stream::iter(values.to_vec()).map(Ok).boxed()
    }

    fn item(first: bool, value: u32) -> Result<Item<u32>, Refused> {
        Ok(Item { first, value })
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_is_away_from_its_failure_to_the_next_answer_and_no_longer_than_it_lives() {
        let resume = resume(Limits::default());
        let away = resume.away.clone();
        let unavailable = || Err(Refused::new(Code::UNAVAILABLE, "gone"));
        let mut script: Script = VecDeque::from([Ok(items(&[1])), unavailable(), unavailable(), Ok(items(&[2])), unavailable()]);
        let mut watching = Box::pin(watch(
            move || {
                let next = script.pop_front();
                async move { next.unwrap_or_else(unavailable) }
            },
            resume,
        ));
        assert_eq!(watching.next().await, Some(item(true, 1)));
        assert!(!away.is_any());
        // The stream ends, and twice nobody answers: some 0.5 s.
        assert!(timeout(Duration::from_millis(150), watching.next()).await.is_err());
        assert!(away.is_any());
        assert_eq!(watching.next().await, Some(item(true, 2)));
        assert!(!away.is_any());
        assert!(timeout(Duration::from_millis(250), watching.next()).await.is_err());
        assert!(away.is_any());
        drop(watching);
        assert!(!away.is_any());
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_comes_back_after_ends_and_errors_and_marks_the_first_item() {
        let unavailable = Refused::new(Code::UNAVAILABLE, "gone");
        let script = VecDeque::from([Ok(items(&[1, 2])), Err(unavailable.clone()), Ok(items(&[3]))]);
        let begun = Instant::now();
        let seen: Vec<_> = scripted(script, Limits::default()).collect().await;
        assert_eq!(seen[..3], [item(true, 1), item(false, 2), item(true, 3)]);
        assert_eq!(seen[3].as_ref().unwrap_err().code(), Code::INVALID_ARGUMENT);
        assert_eq!(seen.len(), 4);
        assert_eq!(begun.elapsed(), Duration::from_millis(100 + 200 + 100));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_before_the_first_item_is_an_error_and_later_a_renewal() {
        let limits = Limits { initial: Some(Duration::from_secs(3)), idle: Some(Duration::from_secs(300)), lifetime: None };
        let silent = || stream::pending().boxed();
        let script = VecDeque::from([Ok(silent()), Ok(items(&[1]).chain(silent()).boxed()), Ok(items(&[2]))]);
        let seen: Vec<_> = scripted(script, limits).take(2).collect().await;
        assert_eq!(seen, [item(true, 1), item(true, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_renewed_at_the_end_of_its_life() {
        let limits = Limits { lifetime: Some(Duration::from_secs(3600)), ..Limits::default() };
        let script = VecDeque::from([Ok(items(&[1]).chain(stream::pending()).boxed()), Ok(items(&[2]))]);
        let begun = Instant::now();
        let seen: Vec<_> = scripted(script, limits).take(2).collect().await;
        assert_eq!(seen, [item(true, 1), item(true, 2)]);
        assert!(begun.elapsed() >= Duration::from_secs(3600));
    }
}

//! How many worker threads, and how they run: each has a runtime of its own, so that a connection never changes its thread.

use std::{
    fmt, io,
    num::NonZeroUsize,
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

// For name resolution and files. A thread is made when needed, and goes when it is idle.
const BLOCKING_MAX: usize = 4;

/// A thread with a current-thread runtime, which runs one future to its end.
#[derive(Debug)]
pub struct Thread<T> {
    handle: Handle,
    done: oneshot::Receiver<T>,
    thread: JoinHandle<()>,
}

/// The thread's future panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    name: String,
}

/// How many processors the process may use: those of its affinity, within the quota of its cgroup. At least 1.
#[must_use]
pub fn available() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// How many workers to run: `max`, else `ratio` of the processors, rounded, else 1; not less than `min`, and between 1 and the
/// processors there are.
///
/// `ratio` is in `(0, 1]`; anything else counts as not given.
#[must_use]
pub fn worker_count(min: usize, max: Option<usize>, ratio: Option<f64>, available: usize) -> usize {
    let available = available.max(1);
    let ratio = ratio.filter(|ratio| 0.0 < *ratio && *ratio <= 1.0);
    // The cast saturates, and a product of two positive numbers is not NaN.
    let share = ratio.map(|ratio| ((available as f64 * ratio).round() as usize).max(1));
    min.max(max.or(share).unwrap_or(1)).clamp(1, available)
}

/// Starts a thread with its own current-thread runtime, and runs what `run` returns there.
///
/// The future need not be `Send`: it is made on the thread. When it ends, the runtime drops all tasks that were spawned on it.
/// A `Thread` that is dropped runs on.
///
/// # Errors
/// The system gives no further thread, or no further file descriptor for the runtime.
pub fn spawn<T, F, Fut>(name: &str, run: F) -> io::Result<Thread<T>>
where
    T: Send + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T>,
{
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_MAX).thread_name(name).build()?;
    let handle = runtime.handle().clone();
    let (send, done) = oneshot::channel();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let result = runtime.block_on(async { run().await });
        // The tasks go first: whoever sees the result may rely on it. Blocking ones (a resolver that hangs) are left behind.
        runtime.shutdown_background();
        // Nobody has to wait for it.
        let _ = send.send(result);
    })?;
    Ok(Thread { handle, done, thread })
}

/// Starts `count` workers, named `name-0`, `name-1`, ...; `run` gets the number of its worker.
///
/// # Errors
/// As [`spawn`]. The workers that did start run on.
pub fn workers<T, F, Fut>(name: &str, count: usize, run: F) -> io::Result<Vec<Thread<T>>>
where
    T: Send + 'static,
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = T>,
{
    let start = |n: usize| {
        let run = run.clone();
        spawn(&format!("{name}-{n}"), move || run(n))
    };
    (0..count).map(start).collect()
}

impl<T> Thread<T> {
    /// The thread's runtime, to spawn tasks on from elsewhere.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits for the thread's future.
    ///
    /// # Errors
    /// It panicked.
    ///
    /// # Cancel safety
    /// The result is lost; the thread runs on.
    pub async fn join(self) -> Result<T, Panicked> {
        let name = self.thread.thread().name().unwrap_or_default().to_owned();
        self.done.await.map_err(|_| Panicked { name })
    }

    /// Waits for the thread's future, outside of any runtime.
    ///
    /// # Errors
    /// It panicked.
    ///
    /// # Panics
    /// Within a runtime.
    pub fn join_blocking(self) -> Result<T, Panicked> {
        let name = self.thread.thread().name().unwrap_or_default().to_owned();
        self.done.blocking_recv().map_err(|_| Panicked { name })
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} panicked", self.name)
    }
}

impl std::error::Error for Panicked {}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn workers_are_counted_as_documented() {
        for (min, max, ratio, available, want) in [
            (1, None, None, 8, 1),
            (3, None, None, 8, 3),
            (3, Some(2), None, 8, 3),
            (1, Some(4), None, 8, 4),
            (1, Some(4), Some(1.0), 8, 4),
            (1, None, Some(0.5), 8, 4),
            (1, None, Some(0.3), 8, 2),
            (1, None, Some(0.01), 8, 1),
            (1, None, Some(0.0), 8, 1),
            (1, None, Some(1.5), 8, 1),
            (1, None, Some(f64::NAN), 8, 1),
            (16, None, None, 8, 8),
            (1, Some(100), None, 2, 2),
            (0, Some(0), None, 0, 1),
        ] {
            assert_eq!(worker_count(min, max, ratio, available), want, "{min} {max:?} {ratio:?} {available}");
        }
    }

    proptest! {
        #[test]
        fn there_is_a_worker_and_never_more_than_processors(
            min: usize, max: Option<usize>, ratio in proptest::option::of(any::<f64>()), available in 0_usize..1000,
        ) {
            let count = worker_count(min, max, ratio, available);
            prop_assert!((1..=available.max(1)).contains(&count));
        }
    }

    #[tokio::test]
    async fn each_worker_has_its_thread_and_runs_futures_that_stay_there() {
        let run = |n| async move {
            let here = Rc::new(n);
            let name = thread::current().name().map(str::to_owned);
            tokio::task::yield_now().await;
            (*here, name)
        };
        let workers = workers("proxy", 2, run).unwrap();
        let mut seen = Vec::new();
        for worker in workers {
            seen.push(worker.join().await.unwrap());
        }
        assert_eq!(seen, [(0, Some("proxy-0".to_owned())), (1, Some("proxy-1".to_owned()))]);
    }

    #[tokio::test]
    async fn tasks_can_be_sent_to_a_thread_and_end_with_it() {
        let (stop, stopped) = oneshot::channel::<()>();
        let control = spawn("control", || stopped).unwrap();
        let task = control.handle().spawn(async { thread::current().name().map(str::to_owned) });
        assert_eq!(task.await.unwrap().as_deref(), Some("control"));
        let forever = control.handle().spawn(std::future::pending::<()>());
        stop.send(()).unwrap();
        control.join().await.unwrap().unwrap();
        assert!(forever.await.unwrap_err().is_cancelled());
    }

    #[test]
    fn a_panic_is_an_error_of_the_join() {
        let thread = spawn("worker", || async { assert_eq!(1, 2, "on purpose") }).unwrap();
        assert_eq!(thread.join_blocking().unwrap_err().to_string(), "thread worker panicked");
    }
}

//! How many worker threads, and how they run; and threads beside them, with a runtime of their own.

use std::{
    fmt, io,
    num::NonZeroUsize,
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
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

/// The runtime of this many workers. One runs everything on the thread that blocks on it, without a lock or a wake-up of another thread; several
/// share all tasks, so that what they count together (budgets, limits, estimates) stays one thing.
///
/// # Errors
/// The system gives no further thread, or no further file descriptor.
pub fn runtime(name: &str, workers: usize) -> io::Result<Runtime> {
    let mut builder = match workers {
        0 | 1 => Builder::new_current_thread(),
        several => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(several);
            builder
        }
    };
    builder.enable_all().max_blocking_threads(BLOCKING_MAX).thread_name(name).build()
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

    #[test]
    fn one_worker_is_the_calling_thread_and_several_run_side_by_side() {
        let here = thread::current().id();
        let one = runtime("proxy", 1).unwrap();
        let seen = one.block_on(async { tokio::spawn(async { thread::current().id() }).await.unwrap() });
        assert_eq!(seen, here);

        let two = runtime("proxy", 2).unwrap();
        two.block_on(async {
            // Each holds its thread until the other is there too.
            let both = std::sync::Arc::new(std::sync::Barrier::new(2));
            let tasks = [0, 1].map(|_| {
                let both = std::sync::Arc::clone(&both);
                tokio::spawn(async move { both.wait().is_leader() })
            });
            let mut leaders = 0;
            for task in tasks {
                leaders += usize::from(task.await.unwrap());
            }
            assert_eq!(leaders, 1);
        });
    }

    #[tokio::test]
    async fn a_thread_runs_futures_that_stay_there() {
        let run = || async {
            let here = Rc::new(7);
            tokio::task::yield_now().await;
            (*here, thread::current().name().map(str::to_owned))
        };
        assert_eq!(spawn("control", run).unwrap().join().await, Ok((7, Some("control".to_owned()))));
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

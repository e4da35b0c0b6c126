//! When requests are sent.

use std::{cell::RefCell, collections::VecDeque, io, os::fd::OwnedFd, rc::Rc, time::Duration};

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
    time::Instant,
};

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a loop is closed, or it is open")]
pub enum Arrival {
    /// The next one as soon as the last is answered.
    Closed,
    /// That many a second, whatever is answered.
    Rate(f64),
}

/// Tells connections when to send.
pub(super) struct Pace {
    arrival: Arrival,
    due: RefCell<VecDeque<Instant>>,
    waiting: Notify,
}

impl Pace {
    pub(super) fn new(arrival: Arrival) -> Self {
        Self { arrival, due: RefCell::default(), waiting: Notify::new() }
    }

    /// When the next request was due. Returns at once, or as soon as it is.
    pub(super) async fn next(&self) -> Instant {
        if self.arrival == Arrival::Closed {
            return Instant::now();
        }
        loop {
            if let Some(due) = self.due.borrow_mut().pop_front() {
                return due;
            }
            self.waiting.notified().await;
        }
    }

    /// What makes requests due, in an open loop.
    pub(super) fn ticker(this: &Rc<Self>) -> io::Result<Option<impl Future<Output = ()> + use<>>> {
        let Arrival::Rate(rate) = this.arrival else { return Ok(None) };
        let gap = Duration::from_secs_f64(1.0 / rate);
        // Timers of the runtime tick in milliseconds, which is longer than what is measured.
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        timer.set(Expiration::Interval(TimeSpec::from_duration(gap)), TimerSetTimeFlags::empty())?;
        let timer = register(OwnedFd::from(timer))?;
        let this = Rc::clone(this);
        Ok(Some(async move {
            let mut due = Instant::now() + gap;
            while let Ok(mut ready) = timer.readable().await {
                let mut expirations = [0; 8];
                if nix::unistd::read(&timer, &mut expirations).is_err() {
                    ready.clear_ready();
                    continue;
                }
                let now = Instant::now();
                while due <= now {
                    this.due.borrow_mut().push_back(due);
                    this.waiting.notify_one();
                    due += gap;
                }
            }
        }))
    }
}

#[expect(deprecated, reason = "what replaces it is unsafe; here the descriptor is owned, and nothing else has it")]
fn register(timer: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(timer, Interest::READABLE)
}

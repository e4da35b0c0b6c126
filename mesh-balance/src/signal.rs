//! How others reach a driver: they leave a note and wake it.

use std::{
    mem,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use crate::accrual::Transition;

#[derive(Debug, Default)]
pub(crate) struct Signal {
    notes: Mutex<Notes>,
    // Set when the last handle is dropped.
    closed: AtomicBool,
}

/// What happened since the driver last looked.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    driver: Option<Waker>,
    /// Endpoints whose service wants to be polled.
    pub(crate) woken: Vec<u64>,
    /// A breaker has changed, or wants another probe.
    pub(crate) breakers: bool,
    /// What changed.
    pub(crate) transitions: Vec<(SocketAddr, Transition)>,
}

impl Signal {
    /// Wakes the driver, which looks at everything that the lock of the balancer guards.
    pub(crate) fn wake(&self) {
        let driver = self.notes().driver.take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    pub(crate) fn breaker(&self, transition: Option<(SocketAddr, Transition)>) {
        let mut notes = self.notes();
        notes.breakers = true;
        notes.transitions.extend(transition);
        drop(notes);
        self.wake();
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes the notes, and has `driver` woken for the next one.
    pub(crate) fn take(&self, driver: &Waker) -> Notes {
        let mut notes = self.notes();
        let next = Notes { driver: Some(driver.clone()), ..Notes::default() };
        mem::replace(&mut *notes, next)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the driver for one endpoint, so that the others need not be polled.
#[derive(Debug)]
pub(crate) struct EndpointWaker {
    pub(crate) id: u64,
    pub(crate) signal: Arc<Signal>,
}

impl Wake for EndpointWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut notes = self.signal.notes();
        // An endpoint that wakes over and over while the driver is busy leaves one note.
        if notes.woken.last() != Some(&self.id) {
            notes.woken.push(self.id);
        }
        drop(notes);
        self.signal.wake();
    }
}

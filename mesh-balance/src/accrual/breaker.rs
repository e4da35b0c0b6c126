use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use meshkit_core::Dice;
use tokio::time::Instant;

use super::{Admission, Config, Machine, Pass, Transition, Verdict};
use crate::signal::Signal;

/// One endpoint's breaker, shared by everything that sends to it.
#[derive(Debug)]
pub struct Breaker {
    addr: SocketAddr,
    machine: Mutex<Machine>,
    // Says what the machine says, for those who only look.
    closed: AtomicBool,
    dice: Dice,
    listeners: Mutex<Vec<Weak<Signal>>>,
}

/// The breakers of a set of endpoints, by address. Clones share them, so that several workers act on what each of them learns.
///
/// A breaker lives as long as a pool holds its endpoint.
#[derive(Clone, Debug)]
pub struct Breakers {
    config: Config,
    dice: Dice,
    by_addr: Arc<Mutex<HashMap<SocketAddr, Weak<Breaker>>>>,
}

impl Breaker {
    fn new(addr: SocketAddr, config: Config, dice: Dice, now: Instant) -> Self {
        let machine = Mutex::new(Machine::new(config, now));
        Self { addr, machine, closed: AtomicBool::new(true), dice, listeners: Mutex::default() }
    }

    /// Does it let everything through?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// When the next probe may go; `None` while closed.
    #[must_use]
    pub fn probe_at(&self) -> Option<Instant> {
        if self.is_closed() { None } else { self.machine().probe_at() }
    }

    /// Asks for one request: see [`Machine::admit`].
    pub fn admit(&self, now: Instant) -> Admission {
        self.machine().admit(now)
    }

    /// Takes in a response: see [`Machine::record`].
    pub fn record(&self, pass: Pass, verdict: Verdict, now: Instant) -> Option<Transition> {
        let mut machine = self.machine();
        let transition = machine.record(pass, verdict, now, &self.dice);
        self.closed.store(machine.is_closed(), Ordering::Release);
        drop(machine);
        if let Some(transition) = transition {
            self.tell(|signal| signal.breaker(Some((self.addr, transition))));
        }
        transition
    }

    /// Gives up an admitted request: see [`Machine::abandon`].
    pub fn abandon(&self, pass: Pass, now: Instant) {
        if pass.is_probe() && self.machine().abandon(pass, now) {
            self.tell(|signal| signal.breaker(None));
        }
    }

    pub(crate) fn listen(&self, signal: &Arc<Signal>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|l| l.strong_count() > 0 && !std::ptr::eq(l.as_ptr(), Arc::as_ptr(signal)));
        listeners.push(Arc::downgrade(signal));
    }

    fn tell(&self, say: impl Fn(&Signal)) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().filter_map(Weak::upgrade).for_each(|signal| say(&signal));
    }

    fn machine(&self) -> std::sync::MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Breakers {
    /// All breakers follow `config`; `seed` makes the jitter of their backoffs repeatable.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self { config, dice: Dice::new(seed), by_addr: Arc::default() }
    }

    /// The breaker of `addr`, made closed if there is none.
    #[must_use]
    pub fn of(&self, addr: SocketAddr, now: Instant) -> Arc<Breaker> {
        let mut by_addr = self.by_addr.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(breaker) = by_addr.get(&addr).and_then(Weak::upgrade) {
            return breaker;
        }
        // Grown to twice what is alive: time to drop those of endpoints long gone.
        if by_addr.len() == by_addr.capacity() {
            by_addr.retain(|_, breaker| breaker.strong_count() > 0);
        }
        let breaker = Arc::new(Breaker::new(addr, self.config, self.dice.clone(), now));
        by_addr.insert(addr, Arc::downgrade(&breaker));
        breaker
    }
}

//! The destinations that are known, for as long as somebody goes there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use meshkit_core::{Cause, Error};
use meshkit_wire::{outbound::Target, watch::Away};
use tokio::time::Instant;

/// What is kept of each target, shared by everybody who goes there.
///
/// An entry goes when nobody has held it for the idle time, unless the control plane is away: nobody could say then where it is. It is looked for at most once in a part of that time, so that a lookup costs the same
/// however many there are; a few live a little longer for it.
#[derive(Debug)]
pub(super) struct Destinations<D> {
    idle: Duration,
    max: usize,
    away: Away,
    known: Mutex<Known<D>>,
}

#[derive(Debug)]
struct Known<D> {
    entries: HashMap<Target, Entry<D>>,
    swept_at: Instant,
}

#[derive(Debug)]
struct Entry<D> {
    destination: Arc<D>,
    used_at: Instant,
}

impl<D> Destinations<D> {
    pub(super) fn new(idle: Duration, max: usize, away: Away) -> Self {
        Self { idle, max, away, known: Mutex::new(Known { entries: HashMap::new(), swept_at: Instant::now() }) }
    }

    /// The entry of a target, made if it is not there.
    ///
    /// # Errors
    /// There are as many as there may be, and all are in use.
    pub(super) fn of(&self, target: Target, make: impl FnOnce(Target) -> D) -> Result<Arc<D>, Error> {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let full = known.entries.len() >= self.max && !known.entries.contains_key(&target);
        // Where there is no room, what is not used goes in any case.
        if full || (now.saturating_duration_since(known.swept_at) >= self.idle / 4 && !self.away.is_any()) {
            known.sweep(now, self.idle);
        }
        if let Some(entry) = known.entries.get_mut(&target) {
            entry.used_at = now;
            return Ok(Arc::clone(&entry.destination));
        }
        if known.entries.len() >= self.max {
            let message = format!("{} destinations are in use, which is the limit (MESH_PROXY_OUTBOUND_MAX_DESTINATIONS)", self.max);
            return Err(Error::new(Cause::LoadShed).message(message));
        }
        let destination = Arc::new(make(target.clone()));
        known.entries.insert(target, Entry { destination: Arc::clone(&destination), used_at: now });
        Ok(destination)
    }
}

impl<D> Known<D> {
    fn sweep(&mut self, now: Instant, idle: Duration) {
        self.swept_at = now;
        self.entries.retain(|_, entry| {
            if Arc::strong_count(&entry.destination) > 1 {
                entry.used_at = now;
            }
            now.saturating_duration_since(entry.used_at) < idle
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const IDLE: Duration = Duration::from_secs(8);

    fn of(known: &Destinations<u16>, port: u16) -> Result<Arc<u16>, Error> {
        known.of(Target::Authority(format!("web:{port}")), |_| port)
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_is_shared_while_it_is_used_and_goes_when_it_is_not() {
        let known = Destinations::new(IDLE, 10, Away::default());
        let held = of(&known, 1).unwrap();
        let idle = Arc::downgrade(&of(&known, 2).unwrap());
        assert!(Arc::ptr_eq(&held, &of(&known, 1).unwrap()));
        advance(IDLE / 2).await;
        drop(of(&known, 3).unwrap());
        assert!(idle.upgrade().is_some());
        advance(IDLE / 2).await;
        drop(of(&known, 3).unwrap());
        assert!(idle.upgrade().is_none(), "nobody used it");
        assert!(Arc::ptr_eq(&held, &of(&known, 1).unwrap()), "what is held stays");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_forgotten_while_the_control_plane_is_away() {
        let away = Away::default();
        let known = Destinations::new(IDLE, 10, away.clone());
        let idle = Arc::downgrade(&of(&known, 1).unwrap());
        let lost = away.lost();
        advance(IDLE * 100).await;
        drop(of(&known, 2).unwrap());
        assert!(idle.upgrade().is_some());
        drop(lost);
        advance(IDLE).await;
        drop(of(&known, 2).unwrap());
        assert!(idle.upgrade().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_too_many_is_refused_and_the_message_names_the_setting() {
        let known = Destinations::new(IDLE, 2, Away::default());
        let _held = (of(&known, 1).unwrap(), of(&known, 2).unwrap());
        let refused = of(&known, 3).unwrap_err();
        assert_eq!(refused.cause(), &Cause::LoadShed);
        assert!(refused.to_string().contains("MESH_PROXY_OUTBOUND_MAX_DESTINATIONS"), "{refused}");
        assert!(of(&known, 2).is_ok(), "what is known is not refused");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_idle_makes_room_at_once() {
        let known = Destinations::new(IDLE, 1, Away::default());
        drop(of(&known, 1).unwrap());
        assert!(of(&known, 2).is_err(), "it may still be wanted");
        advance(IDLE).await;
        assert!(of(&known, 2).is_ok());
    }
}

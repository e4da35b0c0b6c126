use std::fmt;

use meshkit_manifest::Event;
use tokio::sync::{mpsc, oneshot};

/// The first lists of a source, while they are read.
#[derive(Debug)]
#[must_use = "nothing is read until somebody takes what is told"]
pub struct Listing {
    events: mpsc::Receiver<Event>,
    /// By the time it is told, every object has been sent.
    listed: oneshot::Receiver<()>,
}

/// The source ended before it had read everything.
#[derive(Debug)]
pub struct Ended(());

impl Listing {
    pub(super) const fn new(events: mpsc::Receiver<Event>, listed: oneshot::Receiver<()>) -> Self {
        Self { events, listed }
    }

    /// Hands over every object as it is read, and what becomes of it meanwhile. Returns when every selection was read to its end and all of that was
    /// handed over: from then on nothing that exists is unknown, and whoever is asked may answer. What it returns are the changes that follow.
    ///
    /// It never hands over a reset: a source that begins has told of nothing yet.
    ///
    /// # Errors
    /// The source has ended.
    ///
    /// # Cancel safety
    /// A drop ends the source.
    pub async fn read(mut self, mut apply: impl FnMut(Event)) -> Result<mpsc::Receiver<Event>, Ended> {
        loop {
            tokio::select! {
                event = self.events.recv() => apply(event.ok_or(Ended(()))?),
                listed = &mut self.listed => {
                    listed.map_err(|_| Ended(()))?;
                    break;
                }
            }
        }
        for _ in 0..self.events.len() {
            match self.events.try_recv() {
                Ok(event) => apply(event),
                Err(_) => break,
            }
        }
        Ok(self.events)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the watch of the API server has ended")
    }
}

impl std::error::Error for Ended {}

#[cfg(test)]
mod tests {
    use meshkit_manifest::{Key, Kind};

    use super::*;

    fn event(name: &str) -> Event {
        Event::Deleted(Key { kind: Kind::Pod, namespace: "a".to_owned(), name: name.to_owned() })
    }

    #[tokio::test]
    async fn all_that_was_sent_before_the_end_of_the_lists_is_handed_over_before_it_returns() {
        // The order in which a select looks is up to chance.
        for _ in 0..100 {
            let (sender, events) = mpsc::channel(8);
            let (all, listed) = oneshot::channel();
            for name in ["a", "b", "c"] {
                sender.send(event(name)).await.unwrap();
            }
            all.send(()).unwrap();
            let mut handed = Vec::new();
            let mut changes = Listing::new(events, listed).read(|event| handed.push(event)).await.unwrap();
            assert_eq!(handed, ["a", "b", "c"].map(event));
            sender.send(event("d")).await.unwrap();
            assert_eq!(changes.recv().await, Some(event("d")));
        }
    }

    #[tokio::test]
    async fn a_source_that_ends_before_is_no_whole_list() {
        let (sender, events) = mpsc::channel(8);
        let (all, listed) = oneshot::channel::<()>();
        sender.send(event("a")).await.unwrap();
        drop(all);
        assert!(Listing::new(events, listed).read(drop).await.is_err());
    }
}

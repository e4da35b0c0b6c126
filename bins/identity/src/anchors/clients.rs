//! Who has asked for a certificate, and who listens.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};

use meshkit_wire::identity::Trust;

/// So many clients are kept in mind; further ones are only counted. One takes some 150 bytes.
pub const CLIENTS_MAX: usize = 50_000;

/// What distinguishes a client from others of its name: a hash of its signing request.
type Key = [u8; 32];

/// The clients of a controller: a state machine without a clock.
#[derive(Debug)]
pub(super) struct Clients {
    known: HashMap<Key, Client>,
    listening: HashMap<Arc<str>, usize>,
    /// When the anchors were written that hold now.
    changed_at: SystemTime,
    /// Did they change while somebody looked? Then who is first seen after that has them.
    is_witnessed: bool,
    overlooked: u64,
}

#[derive(Debug)]
struct Client {
    identity: Arc<str>,
    first_at: SystemTime,
    valid_until: SystemTime,
    trust: Trust,
}

/// Proxies that need a restart to know the present trust anchors.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Behind {
    /// Since when these anchors hold.
    pub since: SystemTime,
    /// How many proxies of each name.
    pub names: BTreeMap<Arc<str>, usize>,
    /// Streams on which others follow the anchors.
    pub watching: usize,
    /// Certificates for clients that could not be kept in mind, because there are more than [`CLIENTS_MAX`].
    pub overlooked: u64,
}

impl Clients {
    pub(super) fn new(changed_at: SystemTime) -> Self {
        Self { known: HashMap::new(), listening: HashMap::new(), changed_at, is_witnessed: false, overlooked: 0 }
    }

    pub(super) fn changed(&mut self, at: SystemTime) {
        (self.changed_at, self.is_witnessed) = (at, true);
    }

    pub(super) fn certified(&mut self, key: Key, identity: &str, trust: Trust, now: SystemTime, valid_until: SystemTime) {
        if let Some(client) = self.known.get_mut(&key).filter(|client| *client.identity == *identity) {
            (client.valid_until, client.trust) = (valid_until, trust);
            return;
        }
        if self.known.len() >= CLIENTS_MAX {
            self.known.retain(|_, client| client.valid_until > now);
        }
        if self.known.len() >= CLIENTS_MAX {
            self.overlooked = self.overlooked.saturating_add(1);
            return;
        }
        self.known.insert(key, Client { identity: identity.into(), first_at: now, valid_until, trust });
    }

    pub(super) fn listens(&mut self, identity: &str) -> Arc<str> {
        let identity = self.listening.get_key_value(identity).map_or_else(|| identity.into(), |(known, _)| Arc::clone(known));
        *self.listening.entry(Arc::clone(&identity)).or_default() += 1;
        identity
    }

    pub(super) fn leaves(&mut self, identity: &str) {
        if let Some(count) = self.listening.get_mut(identity) {
            *count -= 1;
            if *count == 0 {
                self.listening.remove(identity);
            }
        }
    }

    pub(super) fn behind(&mut self, now: SystemTime) -> Behind {
        // Who does not come for another certificate is gone.
        self.known.retain(|_, client| client.valid_until > now);
        let mut names = BTreeMap::new();
        for client in self.known.values() {
            let is_new = self.is_witnessed && client.first_at >= self.changed_at;
            if client.trust == Trust::Fixed && !is_new && !self.listening.contains_key(&client.identity) {
                *names.entry(Arc::clone(&client.identity)).or_default() += 1;
            }
        }
        Behind { since: self.changed_at, names, watching: self.listening.values().sum(), overlooked: self.overlooked }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    fn names(clients: &mut Clients, secs: u64) -> Vec<(String, usize)> {
        clients.behind(at(secs)).names.iter().map(|(name, count)| (name.to_string(), *count)).collect()
    }

    #[test]
    fn a_proxy_is_behind_until_it_is_restarted_or_gone() {
        let mut clients = Clients::new(at(0));
        for (key, name, trust) in [(1, "old", Trust::Fixed), (2, "old", Trust::Fixed), (3, "ours", Trust::Followed)] {
            clients.certified([key; 32], name, trust, at(10), at(100));
        }
        clients.changed(at(20));
        assert_eq!(names(&mut clients, 30), [("old".to_owned(), 2)]);
        // One is restarted: another key. One comes for another certificate, with the same.
        clients.certified([4; 32], "old", Trust::Fixed, at(40), at(200));
        clients.certified([2; 32], "old", Trust::Fixed, at(50), at(150));
        assert_eq!(names(&mut clients, 60), [("old".to_owned(), 2)]);
        assert_eq!(names(&mut clients, 110), [("old".to_owned(), 1)], "the first key is used no more");
        assert_eq!(names(&mut clients, 160), []);
        assert_eq!(clients.known.len(), 1);
    }

    #[test]
    fn who_listens_is_not_behind_and_nobody_knows_of_a_change_before_the_start() {
        let mut clients = Clients::new(at(0));
        clients.certified([1; 32], "a", Trust::Fixed, at(10), at(100));
        clients.certified([2; 32], "b", Trust::Fixed, at(10), at(100));
        assert_eq!(names(&mut clients, 20), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        let listening = [clients.listens("a"), clients.listens("a")];
        assert!(Arc::ptr_eq(&listening[0], &listening[1]));
        clients.leaves("a");
        assert_eq!((names(&mut clients, 20), clients.behind(at(20)).watching), (vec![("b".to_owned(), 1)], 1));
        clients.leaves("a");
        clients.leaves("a");
        assert_eq!(names(&mut clients, 20).len(), 2);
        assert!(clients.listening.is_empty());
    }

    #[test]
    fn what_is_kept_in_mind_has_a_bound() {
        let mut clients = Clients::new(at(0));
        let key = |n: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_be_bytes());
            key
        };
        let max = u32::try_from(CLIENTS_MAX).unwrap();
        (0..max + 5).for_each(|n| clients.certified(key(n), "web", Trust::Fixed, at(10), at(100)));
        assert_eq!((clients.known.len(), clients.overlooked), (CLIENTS_MAX, 5));
        clients.certified(key(max + 9), "web", Trust::Fixed, at(101), at(200));
        assert_eq!((clients.known.len(), clients.overlooked), (1, 5), "those that are gone make room");
    }
}

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use meshkit_manifest::{Key, Kind, meta::Metadata};

/// Which objects of a kind were told of, and in which version: what is needed to tell after a gap which are gone. Of an object it keeps the name
/// and a number.
#[derive(Debug)]
pub(crate) struct Known {
    kind: Kind,
    objects: HashMap<(Box<str>, Box<str>), Entry>,
    round: u32,
    limit: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    version: Option<u64>,
    /// The last list that had it.
    round: u32,
}

/// What an object is to those that were told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Changed,
    Same,
    /// There are as many as there may be.
    Full,
}

impl Known {
    pub(crate) fn new(kind: Kind, limit: usize) -> Self {
        Self { kind, objects: HashMap::new(), round: 0, limit }
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// A list begins.
    pub(crate) fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// The object is so.
    pub(crate) fn see(&mut self, metadata: &Metadata) -> Seen {
        let is_full = self.objects.len() >= self.limit;
        let version = metadata.resource_version.as_deref().map(number);
        let entry = Entry { version, round: self.round };
        match self.objects.get_mut(&key(&metadata.namespace, &metadata.name)) {
            Some(known) => {
                let is_same = known.version.is_some() && known.version == version;
                *known = entry;
                if is_same { Seen::Same } else { Seen::Changed }
            }
            None if is_full => Seen::Full,
            None => {
                self.objects.insert(key(&metadata.namespace, &metadata.name), entry);
                Seen::Changed
            }
        }
    }

    /// The object is there, but cannot be read: whoever knows it goes by what it was.
    pub(crate) fn keep(&mut self, namespace: &str, name: &str) {
        if let Some(known) = self.objects.get_mut(&key(namespace, name)) {
            *known = Entry { version: None, round: self.round };
        }
    }

    /// The object is gone. `None` if it was never told of.
    pub(crate) fn remove(&mut self, namespace: &str, name: &str) -> Option<Key> {
        let (namespace, name) = self.objects.remove_entry(&key(namespace, name))?.0;
        Some(Key { kind: self.kind, namespace: namespace.into(), name: name.into() })
    }

    /// A list ends: what it did not have is gone.
    pub(crate) fn end(&mut self) -> Vec<Key> {
        let round = self.round;
        self.extract(|entry| entry.round != round)
    }

    /// All of them are gone.
    pub(crate) fn clear(&mut self) -> Vec<Key> {
        self.extract(|_| true)
    }

    fn extract(&mut self, is_gone: impl Fn(&Entry) -> bool) -> Vec<Key> {
        let gone = self.objects.extract_if(|_, entry| is_gone(entry));
        let kind = self.kind;
        gone.map(|((namespace, name), _)| Key { kind, namespace: namespace.into(), name: name.into() }).collect()
    }
}

fn key(namespace: &str, name: &str) -> (Box<str>, Box<str>) {
    (namespace.into(), name.into())
}

/// Versions are opaque: equal or not is all that may be asked. In practice they are numbers.
fn number(version: &str) -> u64 {
    version.parse().unwrap_or_else(|_| {
        let mut hasher = DefaultHasher::new();
        version.hash(&mut hasher);
        hasher.finish()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, version: &str) -> Metadata {
        Metadata { name: name.into(), namespace: "a".into(), resource_version: Some(version.into()), ..Metadata::default() }
    }

    #[test]
    fn a_list_tells_what_is_gone_and_what_is_new() {
        let mut known = Known::new(Kind::Pod, 10);
        known.begin();
        for name in ["x", "y", "z"] {
            assert_eq!(known.see(&pod(name, "1")), Seen::Changed);
        }
        assert!(known.end().is_empty());
        assert_eq!(known.see(&pod("x", "2")), Seen::Changed);
        known.begin();
        assert_eq!((known.see(&pod("x", "2")), known.see(&pod("z", "opaque"))), (Seen::Same, Seen::Changed));
        let gone: Vec<_> = known.end().into_iter().map(|key| key.to_string()).collect();
        assert_eq!(gone, ["Pod a/y"]);
        assert_eq!(known.remove("a", "y"), None);
        assert_eq!(known.len(), 2);
        assert_eq!(known.clear().len(), 2);
    }

    #[test]
    fn an_object_that_cannot_be_read_any_more_survives_and_is_told_of_once_it_can() {
        let mut known = Known::new(Kind::Pod, 10);
        known.see(&pod("x", "1"));
        known.begin();
        known.keep("a", "x");
        assert!(known.end().is_empty());
        assert_eq!(known.see(&pod("x", "1")), Seen::Changed);
    }

    #[test]
    fn beyond_the_limit_only_those_already_known_change() {
        let mut known = Known::new(Kind::Pod, 1);
        assert_eq!(known.see(&pod("x", "1")), Seen::Changed);
        assert_eq!(known.see(&pod("y", "1")), Seen::Full);
        assert_eq!(known.see(&pod("x", "2")), Seen::Changed);
    }
}

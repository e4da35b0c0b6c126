use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use meshkit_manifest::{Key, Kind, meta::Metadata};

/// Which objects of a kind were told of, and in which version: what is needed to tell after a gap which are gone. Of an object it keeps the name
/// and two numbers, in one piece of memory.
#[derive(Debug)]
pub(crate) struct Known {
    kind: Kind,
    objects: HashSet<Record>,
    /// Counts lists.
    round: u32,
    limit: usize,
}

/// What an object is to those that were told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Changed,
    Same,
    /// There are as many as there may be.
    Full,
}

/// The version, the last list that had the object, and `namespace/name`; it is the same record as any other of that name.
///
/// A cluster has many objects: numbers beside the name would be paid for in every empty place of the table, too.
#[derive(Debug)]
struct Record(Box<[u8]>);

/// Bytes before the name.
const HEAD: usize = 8;
/// The version of what cannot be read: no object has it.
const UNKNOWN: u32 = 0;

impl Known {
    pub(crate) fn new(kind: Kind, limit: usize) -> Self {
        Self { kind, objects: HashSet::new(), round: 0, limit }
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
        let version = metadata.resource_version.as_deref().map_or(UNKNOWN, short);
        let record = self.record(version, &metadata.namespace, &metadata.name);
        let seen = match self.objects.get(&record) {
            Some(known) if version != UNKNOWN && known.version() == version => Seen::Same,
            None if is_full => return Seen::Full,
            _ => Seen::Changed,
        };
        self.objects.replace(record);
        seen
    }

    /// The object is there, but cannot be read: whoever knows it goes by what it was.
    pub(crate) fn keep(&mut self, namespace: &str, name: &str) {
        let record = self.record(UNKNOWN, namespace, name);
        if self.objects.contains(&record) {
            self.objects.replace(record);
        }
    }

    /// The object is gone. `None` if it was never told of.
    pub(crate) fn remove(&mut self, namespace: &str, name: &str) -> Option<Key> {
        let record = self.record(UNKNOWN, namespace, name);
        Some(self.objects.take(&record)?.key(self.kind))
    }

    /// A list ends: what it did not have is gone.
    pub(crate) fn end(&mut self) -> Vec<Key> {
        let round = self.round;
        self.extract(|record| record.round() != round)
    }

    /// All of them are gone.
    pub(crate) fn clear(&mut self) -> Vec<Key> {
        self.extract(|_| true)
    }

    fn extract(&mut self, is_gone: impl Fn(&Record) -> bool) -> Vec<Key> {
        let kind = self.kind;
        let gone = self.objects.extract_if(is_gone).map(|record| record.key(kind)).collect();
        // A cluster that was large is not so for ever.
        if self.objects.len() < self.objects.capacity() / 4 {
            self.objects.shrink_to_fit();
        }
        gone
    }

    fn record(&self, version: u32, namespace: &str, name: &str) -> Record {
        let (version, round) = (version.to_le_bytes(), self.round.to_le_bytes());
        Record([&version[..], &round, namespace.as_bytes(), b"/", name.as_bytes()].concat().into())
    }
}

impl Record {
    fn version(&self) -> u32 {
        self.number(0)
    }

    fn round(&self) -> u32 {
        self.number(4)
    }

    fn number(&self, at: usize) -> u32 {
        self.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
    }

    fn name(&self) -> &[u8] {
        &self.0[HEAD..]
    }

    /// Neither namespaces nor names have a slash.
    fn key(&self, kind: Kind) -> Key {
        let text = String::from_utf8_lossy(self.name());
        let (namespace, name) = text.split_once('/').unwrap_or_default();
        Key { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Record {}

impl Hash for Record {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

/// Versions are opaque: equal or not is all that may be asked. In practice they are numbers that go up by a few, and two of one object are never a
/// multiple of 2^32 apart.
fn short(version: &str) -> u32 {
    let number: u64 = version.parse().unwrap_or_else(|_| {
        let mut hasher = DefaultHasher::new();
        version.hash(&mut hasher);
        hasher.finish()
    });
    // Truncation is wanted.
    ((number & u64::from(u32::MAX)) as u32).max(UNKNOWN + 1)
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
    fn an_object_without_a_version_is_always_another_and_what_was_much_gives_its_memory_back() {
        let mut known = Known::new(Kind::Node, 10_000);
        let node = Metadata { name: "x".into(), ..Metadata::default() };
        assert_eq!((known.see(&node), known.see(&node)), (Seen::Changed, Seen::Changed));
        for n in 0..5_000 {
            known.see(&Metadata { name: format!("n{n}"), ..node.clone() });
        }
        known.begin();
        known.see(&node);
        assert_eq!(known.end().len(), 5_000);
        assert!(known.objects.capacity() < 50);
        assert_eq!(
            known.remove("", "x").map(|key| key.to_string()),
            Some(Key { kind: Kind::Node, namespace: String::new(), name: "x".to_owned() }.to_string())
        );
    }

    #[test]
    fn beyond_the_limit_only_those_already_known_change() {
        let mut known = Known::new(Kind::Pod, 1);
        assert_eq!(known.see(&pod("x", "1")), Seen::Changed);
        assert_eq!(known.see(&pod("y", "1")), Seen::Full);
        assert_eq!(known.see(&pod("x", "2")), Seen::Changed);
    }
}

//! Answers, and the bytes in which all who wait for one are told.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use bytes::Bytes;
use meshkit_core::Update;
use meshkit_wire::{destination, profile::Profile};

use crate::model::{EndpointSet, Step};

/// Bytes up to this length stay with their answer; longer ones only for as long as somebody sends them.
const SMALL: usize = 1024;

/// The endpoints of a name, and how they came about.
#[derive(Debug)]
pub struct Endpoints {
    /// All of them.
    pub set: EndpointSet,
    /// The labels that all of them have.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Is there such a Service?
    pub exists: bool,
    /// Tells one answer of an index from every other.
    pub(super) number: u64,
    /// The number of the answer before.
    pub(super) before: Option<u64>,
    /// What leads from the answer before to this one.
    pub(super) step: Step,
    whole_bytes: Encoded,
    step_bytes: Encoded,
    digest: OnceLock<u64>,
}

/// A profile.
#[derive(Debug)]
pub struct Described {
    profile: Profile,
    bytes: OnceLock<Bytes>,
}

/// Bytes that are made when somebody wants them, and shared by all who want them at the same time.
#[derive(Default)]
struct Encoded(Mutex<Kept>);

#[derive(Default)]
enum Kept {
    #[default]
    Nothing,
    Small(Bytes),
    Large(Weak<Vec<u8>>),
}

/// Bytes that others hold, too.
struct Shared(Arc<Vec<u8>>);

impl Endpoints {
    pub(super) fn new(set: EndpointSet, labels: Arc<BTreeMap<String, String>>, exists: bool, number: u64, before: Option<&Self>) -> Self {
        let step = before.map(|before| before.set.step_to(&set)).unwrap_or_default();
        let before = before.map(|before| before.number);
        Self {
            set,
            labels,
            exists,
            number,
            before,
            step,
            whole_bytes: Encoded::default(),
            step_bytes: Encoded::default(),
            digest: OnceLock::new(),
        }
    }

    /// The digest of the set, worked out when somebody asks for the first time.
    #[must_use]
    pub fn digest(&self) -> u64 {
        *self.digest.get_or_init(|| self.set.digest())
    }

    /// What leads a client from what it knows to these endpoints. It is worked out anew only for a client that missed an answer.
    #[must_use]
    pub fn since(&self, known: &Self) -> Vec<Update> {
        match self.before == Some(known.number) {
            true => self.step.updates(),
            false => known.set.updates_to(&self.set),
        }
    }

    /// What leads a client that knows nothing to these endpoints.
    #[must_use]
    pub fn from_nothing(&self) -> Vec<Update> {
        EndpointSet::default().updates_to(&self.set)
    }

    /// The messages for [`since`](Self::since), or for [`from_nothing`](Self::from_nothing). They may be none.
    #[must_use]
    pub fn messages(&self, known: Option<&Self>) -> Bytes {
        let encode = |updates: Vec<Update>| destination::updates_to_bytes(&updates, &self.labels);
        match known {
            None => self.whole_bytes.get(|| encode(self.from_nothing())),
            Some(known) if self.before == Some(known.number) => self.step_bytes.get(|| encode(self.step.updates())),
            Some(known) => encode(known.set.updates_to(&self.set)).into(),
        }
    }
}

impl Described {
    pub(super) fn new(profile: Profile) -> Self {
        Self { profile, bytes: OnceLock::new() }
    }

    /// The message that tells it.
    #[must_use]
    pub fn message(&self) -> Bytes {
        self.bytes.get_or_init(|| destination::profile_to_bytes(&self.profile).into()).clone()
    }
}

impl Deref for Described {
    type Target = Profile;

    fn deref(&self) -> &Profile {
        &self.profile
    }
}

impl Encoded {
    fn get(&self, encode: impl FnOnce() -> Vec<u8>) -> Bytes {
        // Whoever panicked left nothing half done.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Kept::Small(bytes) => return bytes.clone(),
            Kept::Large(held) => {
                if let Some(held) = held.upgrade() {
                    return Bytes::from_owner(Shared(held));
                }
            }
            Kept::Nothing => {}
        }
        let bytes = encode();
        if bytes.len() <= SMALL {
            let bytes = Bytes::from(bytes.into_boxed_slice());
            *kept = Kept::Small(bytes.clone());
            return bytes;
        }
        let held = Arc::new(bytes);
        *kept = Kept::Large(Arc::downgrade(&held));
        Bytes::from_owner(Shared(held))
    }
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoded")
    }
}

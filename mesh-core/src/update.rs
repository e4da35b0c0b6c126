use std::net::SocketAddr;

use crate::Endpoint;

/// One step of discovery. Applying the same step twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // A fifth kind of step would have to be handled by every pool.
pub enum Update {
    /// These exist, in addition to what is known. A known address takes the new description.
    Add(Vec<Endpoint>),
    /// These addresses are gone. Unknown ones are ignored.
    Remove(Vec<SocketAddr>),
    /// Exactly these exist; whatever is not listed is gone.
    Reset(Vec<Endpoint>),
    /// The service itself is not known: nothing exists.
    DoesNotExist,
}

impl Update {
    /// The endpoints that the step names as existing.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        match self {
            Self::Add(endpoints) | Self::Reset(endpoints) => endpoints,
            Self::Remove(_) | Self::DoesNotExist => &[],
        }
    }
}

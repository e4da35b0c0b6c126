use crate::object::{Key, Object};

/// A change to the objects of a source: the one type that controllers are fed with, from the API server or from a folder.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums)] // A fourth kind of change would have to be handled by every controller.
pub enum Event {
    /// The object is now so.
    Applied(Object),
    /// The object is gone.
    Deleted(Key),
    /// Exactly these objects exist: whatever else the source had told of is gone.
    Reset(Vec<Object>),
}

//! The API server of Kubernetes as a source of objects, and what the mesh writes to it.

mod client;
pub mod conditions;
mod decode;
pub mod events;
mod failure;
pub mod lease;
mod objects;
mod resource;
mod review;
pub mod watch;

pub use client::{Client, DEFAULT_TIMEOUT, MAX_ANSWER_LEN, NotConfigured};
pub use events::{About, Happening, Recorder};
pub use failure::{Failure, Refusal};
pub use lease::{Held, Lease};
pub use objects::{Conflicts, Filter, Version};
pub use resource::Resource;
pub use review::{Access, TokenStatus, User, Verdict};
pub use watch::{Ended, Limits, Listing, Observe, Pace, Selection, Source};

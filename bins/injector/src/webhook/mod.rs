//! The admission webhook: the API server asks it about every new Pod and Service.
//!
//! [`admit`] is the decision, pure; [`Webhook`] asks the cluster what it needs to know and counts; [`serve`] speaks HTTPS, with
//! certificates that are read again when they change. [`Event`]s are values: whoever may write to the API server writes them.

mod admit;
mod certificates;
mod metrics;
mod review;
mod server;
mod source;

pub use admit::{Admitted, Event, EventKind, Subject, admit};
pub use certificates::{Certificates, InvalidCertificates};
pub use metrics::Metrics;
pub use review::{Answer, InvalidReview, Request};
pub use server::{BODY_MAX, Review, Webhook, serve};
pub use source::{Cluster, Files, Unavailable};

//! A small metrics registry with a text encoder.
//!
//! The families of Linkerd come in two generations: older ones whose names are written as they are, and OpenMetrics ones whose
//! unit and `_total` are appended. Both live in one [`Registry`]; the older are printed first, `# EOF` comes last.
//!
//! Code that counts holds a *handle* (an `Arc` of a [`Counter`], [`Gauge`], [`Histogram`], ...), made once by
//! [`Family::handle`] with the connection, route or endpoint that owns it; an event is then one relaxed atomic addition. Labels
//! known only when a request ends go through [`Cells`], a small table inside the handle. A series disappears some time after its
//! last handle is dropped and its last update was seen.
//!
//! ```
//! use std::time::Duration;
//! use meshkit_runtime::metrics::{LabelWriter, Labels, Registry};
//!
//! #[derive(Clone, PartialEq, Eq, Hash)]
//! struct Direction(&'static str);
//! impl Labels for Direction {
//!     fn write(&self, out: &mut LabelWriter<'_>) {
//!         out.pair("direction", self.0);
//!     }
//! }
//!
//! let registry = Registry::new(Duration::from_secs(600));
//! let family = registry.legacy().counter_family("request_total", "Total count of HTTP requests.");
//! let inbound = family.handle(&Direction("inbound"));
//! inbound.add(1);
//! assert!(registry.encode().contains("request_total{direction=\"inbound\"} 1\n"));
//! ```

mod cells;
mod encode;
mod family;
mod labels;
mod quantiles;
mod registry;
mod value;

#[cfg(test)]
mod tests;

pub use cells::{CellKey, Cells};
pub use encode::{Encoder, Generation, Kind, Metric, Samples, Unit};
pub use family::Family;
pub use labels::{LabelWriter, Labels};
pub use quantiles::{Quantiles, Summary};
pub use registry::{Registry, SERIES_MAX, Scope};
pub use value::{Counter, FloatGauge, Gauge, Histogram};

//! Injection into files: documents in, documents out, with a report.
//!
//! ```
//! use meshkit_injector::documents::{self, Options};
//!
//! let text = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: {containers: [{name: web}]}}}}";
//! let (injected, report) = documents::inject(documents::read(text)?, &Options::default()).map_err(|errors| errors[0].clone())?;
//! assert!(documents::write(&injected, documents::Format::Yaml)?.contains("linkerd.io/inject: enabled"));
//! assert_eq!(report.to_string(), "\ndeployment \"web\" injected\n\n");
//! let (uninjected, _) = documents::uninject(injected, documents::Settings::Kept);
//! assert_eq!(uninjected, documents::read(text)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod flags;
mod inject;
mod io;
mod report;
mod uninject;
mod workload;

pub use flags::overrides;
pub use inject::{Mode, NotInjected, Options, inject};
pub use io::{Format, Unreadable, Unwritable, read, write};
pub use report::{Outcome, Report, Row, Style};
pub use uninject::{Settings, uninject};
pub use workload::{Workload, owner_label};

//! What injection adds to a workload, as pure functions: the webhook, the command line and `mesh run` answer alike.
//!
//! ```
//! use meshkit_injector::{
//!     annotation::Annotations,
//!     decide::{AnnotationAt, Decision, Origin, decide},
//!     inject::{Target, inject},
//!     template::Template,
//!     values::Values,
//! };
//!
//! let (values, namespace) = (Values::default(), Annotations::from([("linkerd.io/inject".to_owned(), "enabled".to_owned())]));
//! let mut pod = serde_json::json!({"metadata": {"name": "web-1"}, "spec": {"containers": [{"name": "web"}]}});
//! assert_eq!(decide(Origin::Webhook, Some(Template::new(&pod)), &namespace, &values), Decision::Inject(AnnotationAt::Namespace));
//!
//! let target =
//!     Target { document: &pod, prefix: "", namespace: "emojivoto", namespace_annotations: &namespace, owner: None, created_by: "me" };
//! let patch = inject(&values, &target)?.patch;
//! patch.apply(&mut pod)?;
//! assert_eq!(pod["spec"]["initContainers"][1]["name"], "linkerd-proxy");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`values`] | the mesh's settings, with the names and defaults of the charts |
//! | [`annotation`], [`overrides`] | what namespaces and workloads set themselves; unknown keys with the nearest known one |
//! | [`mod@decide`] | whether a workload is injected, or why not |
//! | [`mod@inject`], [`patch`] | what is added, as a JSON patch |
//! | [`image`] | where programs lie in our images and in stock ones |
//! | [`documents`] | `inject` and `uninject` of files, with a report |
//! | [`webhook`] | the admission webhook |
//! | [`mod@environment`] | the variables of a proxy that is a process |
//!
//! # Place in the workspace
//!
//! A controller without a `main`: `mesh` holds it. Who talks to the API server implements [`webhook::Cluster`] and writes its events.

pub mod annotation;
pub mod decide;
pub mod documents;
pub mod environment;
pub mod image;
pub mod inject;
pub mod overrides;
pub mod patch;
pub mod ports;
pub mod quantity;
mod redirect;
mod sidecar;
pub mod template;
pub mod values;
mod variables;
pub mod webhook;

pub use environment::{Mesh, Workload, environment};

//! What the API server is told of an object before it takes it.
//!
//! Two validating webhooks, as pure functions: [`Validator::Policies`] for the mesh's policies and for routes, [`Validator::Profiles`] for
//! ServiceProfiles. The rules are those of `meshkit_manifest::validate`, and are the same that a folder of manifests is read by; what is decided
//! here is how strict the reading is. [`Webhook`] puts a validator behind HTTP; TLS is the program's.
//!
//! ```
//! use meshkit_policy_controller::admission::Validator;
//!
//! let review = br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
//!     "uid": "7", "operation": "CREATE", "namespace": "ns",
//!     "kind": {"group": "policy.linkerd.io", "version": "v1beta3", "kind": "Server"},
//!     "object": {"metadata": {"name": "web"}, "spec": {"podSelector": {}, "port": 80, "accessPolicy": "open"}}}}"#;
//! let answer = Validator::Policies.review(review);
//! assert!(String::from_utf8(answer).unwrap().contains("spec.accessPolicy: \\\"open\\\" is not one of"));
//! ```

use std::{fmt, path::Path};

use meshkit_manifest::{Kind, Manifest, Object, validate::validate};
use serde_json::{Value, json};
use tracing::{debug, info};

mod review;
mod service;
#[cfg(test)]
mod tests;

pub use service::{BODY_MAX, ResponseFuture, Webhook};

use self::review::Request;

/// So many faults are told of one object.
const FAULTS_MAX: usize = 16;
/// The longest text of a fault, in characters: it goes through the API server to a terminal.
const FAULT_MAX: usize = 512;
const GATEWAY: &str = "gateway.networking.k8s.io";

/// Whose objects are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The two validating webhooks of a control plane.
pub enum Validator {
    /// The kinds of `policy.linkerd.io` and the routes of the Gateway API. A policy that cannot be read is refused; a route of the Gateway API
    /// is taken, for it may be meant for somebody else.
    Policies,
    /// ServiceProfiles. A field that nobody knows is refused.
    Profiles,
}

/// Why an object is not taken: everything that is wrong with it, with the paths of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    faults: Vec<String>,
    code: u16,
}

impl Validator {
    /// Answers an `AdmissionReview` of `admission.k8s.io/v1` or `v1beta1`, in its version. What is no such review is refused, in words.
    #[must_use]
    pub fn review(self, body: &[u8]) -> Vec<u8> {
        let answer = match Request::parse(body) {
            Ok(request) => request.answer(self.judge_request(&request)),
            Err(error) => {
                info!(%error, "a body is no admission review");
                review::unreadable(&error)
            }
        };
        answer.to_string().into_bytes()
    }

    /// May an object be taken that says its own `apiVersion` and `kind`? `namespace` stands in for the one that it does not name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(self, namespace: &str, mut object: Value) -> Result<(), Refused> {
        if object["metadata"]["namespace"].as_str().is_none_or(str::is_empty)
            && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
            && !namespace.is_empty()
        {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        if !self.looks_at(group, &kind) {
            return Err(self.refused([format!("kind {kind:?} of group {group:?} is none that is looked at here")]));
        }
        let is_lenient = group == GATEWAY;
        if Kind::of(&api_version, &kind).is_none() {
            return if is_lenient {
                Ok(())
            } else {
                Err(self.refused([format!("apiVersion: {api_version:?} is no version that is known")]))
            };
        }
        match self {
            Self::Policies => match Object::from_json(object) {
                Ok(Some(object)) => validate(&object).map_err(|faults| self.refused(faults)),
                Ok(None) => Ok(()),
                Err(error) if is_lenient => {
                    info!(kind, %error, "a route that cannot be read is taken");
                    Ok(())
                }
                Err(error) => Err(self.refused([error])),
            },
            Self::Profiles => {
                // A file is read by the strict rules, and JSON is YAML. Nothing else of the metadata matters.
                let metadata = json!({"name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"]});
                object["metadata"] = metadata;
                // The text names the field, after the kind.
                let told = |fault: meshkit_manifest::Fault| fault.what.trim_start_matches("ServiceProfile: ").to_owned();
                let read = Manifest::parse(Path::new("review"), &object.to_string());
                read.map(drop).map_err(|faults| self.refused(faults.into_iter().map(told)))
            }
        }
    }

    fn judge_request(self, request: &Request) -> Result<(), Refused> {
        if request.is_deletion() {
            return Ok(());
        }
        let judged = request
            .object()
            .map_or_else(|| Err(self.refused(["the review has no object"])), |object| self.judge(request.namespace(), object));
        match &judged {
            Ok(()) => debug!(kind = request.kind(), namespace = request.namespace(), name = request.name(), "object taken"),
            Err(why) => info!(kind = request.kind(), namespace = request.namespace(), name = request.name(), %why, "object refused"),
        }
        judged
    }

    fn looks_at(self, group: &str, kind: &str) -> bool {
        match self {
            Self::Profiles => group == "linkerd.io" && kind == "ServiceProfile",
            Self::Policies => match group {
                "policy.linkerd.io" => [
                    "AuthorizationPolicy",
                    "EgressNetwork",
                    "HTTPLocalRateLimitPolicy",
                    "HTTPRoute",
                    "MeshTLSAuthentication",
                    "NetworkAuthentication",
                    "Server",
                    "ServerAuthorization",
                ]
                .contains(&kind),
                GATEWAY => ["GRPCRoute", "HTTPRoute", "TCPRoute", "TLSRoute"].contains(&kind),
                _ => false,
            },
        }
    }

    fn refused<T: fmt::Display>(self, faults: impl IntoIterator<Item = T>) -> Refused {
        let mut faults = faults.into_iter().map(|fault| {
            let fault = fault.to_string();
            match fault.char_indices().nth(FAULT_MAX) {
                Some((end, _)) => format!("{}...", &fault[..end]),
                None => fault,
            }
        });
        let mut told: Vec<String> = faults.by_ref().take(FAULTS_MAX).collect();
        let left = faults.count();
        if left > 0 {
            told.push(format!("and {left} more"));
        }
        let code = match self {
            Self::Policies => 403,
            Self::Profiles => 400,
        };
        Refused { faults: told, code }
    }
}

impl Refused {
    /// What is wrong, one text for each field.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The HTTP status that the API server answers its client with.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.faults.join("; "))
    }
}

impl std::error::Error for Refused {}

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::patch::Patch;

/// The most warnings, and the most characters of each, that an answer carries: the API server cuts longer ones.
const WARNINGS_MAX: usize = 16;
const WARNING_LEN_MAX: usize = 256;

/// What the API server asks: an `AdmissionReview` of `admission.k8s.io/v1` or `v1beta1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub(super) version: String,
    pub(super) uid: String,
    pub(super) kind: String,
    pub(super) group: String,
    pub(super) namespace: String,
    pub(super) object: Value,
    pub(super) is_dry_run: bool,
}

/// What it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub(super) refusal: Option<String>,
    pub(super) patch: Patch,
    pub(super) warnings: Vec<String>,
}

/// It asks nothing that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidReview(String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<RawRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequest {
    uid: String,
    kind: RawKind,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
struct RawKind {
    #[serde(default)]
    group: String,
    kind: String,
}

impl Request {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// It is no `AdmissionReview` with a request.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidReview> {
        let review: Review = serde_json::from_slice(body).map_err(|error| InvalidReview(error.to_string()))?;
        if review.kind != "AdmissionReview" || !["admission.k8s.io/v1", "admission.k8s.io/v1beta1"].contains(&review.api_version.as_str()) {
            return Err(InvalidReview(format!("{} {} is not an AdmissionReview of admission.k8s.io/v1", review.api_version, review.kind)));
        }
        let request = review.request.ok_or_else(|| InvalidReview("it has no request".to_owned()))?;
        Ok(Self {
            version: review.api_version,
            uid: request.uid,
            kind: request.kind.kind,
            group: request.kind.group,
            namespace: request.namespace,
            object: request.object,
            is_dry_run: request.dry_run.unwrap_or(false),
        })
    }

    /// The object, as it is to be. It says its own version and kind.
    #[must_use]
    pub const fn object(&self) -> &Value {
        &self.object
    }

    /// The namespace of the object.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Nothing comes of it: no event may be written.
    #[must_use]
    pub const fn is_dry_run(&self) -> bool {
        self.is_dry_run
    }

    /// Puts an answer into words.
    #[must_use]
    pub fn respond(&self, answer: &Answer) -> Value {
        let mut response = json!({"uid": self.uid, "allowed": answer.refusal.is_none()});
        if let Some(why) = &answer.refusal {
            response["status"] = json!({"message": why});
        } else if !answer.patch.is_empty() {
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(STANDARD.encode(answer.patch.to_json().to_string()));
        }
        // The older version has no such field.
        if !answer.warnings.is_empty() && self.version == "admission.k8s.io/v1" {
            let cut = |warning: &String| warning.chars().take(WARNING_LEN_MAX).collect::<String>();
            response["warnings"] = answer.warnings.iter().take(WARNINGS_MAX).map(cut).collect();
        }
        json!({"apiVersion": self.version, "kind": "AdmissionReview", "response": response})
    }
}

impl Answer {
    /// The object is taken with additions; there may be none.
    #[must_use]
    pub const fn allowed(patch: Patch, warnings: Vec<String>) -> Self {
        Self { refusal: None, patch, warnings }
    }

    /// The object is not taken.
    #[must_use]
    pub fn refused(why: impl fmt::Display) -> Self {
        Self { refusal: Some(why.to_string()), patch: Patch::default(), warnings: Vec::new() }
    }

    /// The additions.
    #[must_use]
    pub const fn patch(&self) -> &Patch {
        &self.patch
    }

    /// Why the object is not taken.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

impl fmt::Display for InvalidReview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body is no admission review: {}", self.0)
    }
}

impl std::error::Error for InvalidReview {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_versions_are_answered_in_their_own() {
        for version in ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"] {
            let body = json!({"apiVersion": version, "kind": "AdmissionReview", "request": {"uid": "u", "kind": {"version": "v1", "kind": "Pod"}}});
            let request = Request::parse(body.to_string().as_bytes()).unwrap();
            let answer = request.respond(&Answer::allowed(Patch::default(), vec!["w".to_owned()]));
            assert_eq!(
                (&answer["apiVersion"], &answer["response"]["uid"], &answer["response"]["allowed"]),
                (&json!(version), &json!("u"), &json!(true))
            );
            assert_eq!(answer["response"].get("warnings").is_some(), version.ends_with("/v1"));
            assert!(answer["response"].get("patch").is_none(), "an empty patch is none");
            let refused = request.respond(&Answer::refused("why"));
            assert_eq!(refused["response"], json!({"uid": "u", "allowed": false, "status": {"message": "why"}}));
        }
    }

    #[test]
    fn other_bodies_are_refused() {
        for body in
            ["", "{}", "[]", r#"{"apiVersion":"v1","kind":"Pod"}"#, r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#]
        {
            assert!(Request::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in any::<Vec<u8>>()) {
            let _ = Request::parse(&body);
        }
    }
}

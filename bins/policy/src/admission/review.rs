//! `AdmissionReview`, of which a validator needs a small part. Source: Kubernetes, `admission/v1/types.go`.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Refused;

const VERSIONS: [&str; 2] = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];

/// What the API server asks.
#[derive(Debug)]
pub(super) struct Request {
    version: &'static str,
    asked: Asked,
}

/// It asks nothing that can be answered.
#[derive(Debug)]
pub(super) struct Unreadable(String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<Asked>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    uid: String,
    kind: GroupVersionKind,
    name: Option<String>,
    namespace: Option<String>,
    operation: Option<String>,
    object: Option<Map<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

impl Request {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Unreadable> {
        let review: Review = serde_json::from_slice(body).map_err(|error| Unreadable(error.to_string()))?;
        let version = VERSIONS.into_iter().find(|version| *version == review.api_version);
        let Some(version) = version.filter(|_| review.kind == "AdmissionReview") else {
            return Err(Unreadable(format!("{:?} {:?} is no AdmissionReview of {}", review.api_version, review.kind, VERSIONS[0])));
        };
        match review.request {
            Some(asked) => Ok(Self { version, asked }),
            None => Err(Unreadable("request: missing".to_owned())),
        }
    }

    /// The object, as what the request says it is: that is what it was sent here for.
    pub(super) fn object(&self) -> Option<Value> {
        let mut object = self.asked.object.clone()?;
        let GroupVersionKind { group, version, kind } = &self.asked.kind;
        let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
        object.insert("apiVersion".to_owned(), api_version.into());
        object.insert("kind".to_owned(), kind.as_str().into());
        Some(Value::Object(object))
    }

    pub(super) fn is_deletion(&self) -> bool {
        self.asked.operation.as_deref() == Some("DELETE")
    }

    pub(super) fn kind(&self) -> &str {
        &self.asked.kind.kind
    }

    pub(super) fn namespace(&self) -> &str {
        self.asked.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.asked.name.as_deref().unwrap_or_default()
    }

    pub(super) fn answer(&self, judged: Result<(), Refused>) -> Value {
        let response = match judged {
            Ok(()) => json!({"uid": self.asked.uid, "allowed": true}),
            Err(why) => refusal(&self.asked.uid, &why.to_string(), why.code()),
        };
        review(self.version, response)
    }
}

/// The answer to what is no review. Nobody knows whose answer it is.
pub(super) fn unreadable(why: &Unreadable) -> Value {
    review(VERSIONS[0], refusal("", &why.to_string(), 400))
}

fn refusal(uid: &str, message: &str, code: u16) -> Value {
    json!({"uid": uid, "allowed": false, "status": {"status": "Failure", "message": message, "code": code}})
}

fn review(version: &str, response: Value) -> Value {
    json!({"apiVersion": version, "kind": "AdmissionReview", "response": response})
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body is no admission review: {}", self.0)
    }
}

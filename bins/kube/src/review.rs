//! Questions about who somebody is and what somebody may do.

use std::fmt;

use meshkit_manifest::Kind;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Client, Failure, Resource};

/// What the server says of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct TokenStatus {
    /// The token is valid.
    pub authenticated: bool,
    /// Whose it is.
    pub user: User,
    /// Those of the audiences asked for that it is meant for.
    pub audiences: Vec<String>,
    /// Why it could not be checked; empty if it was.
    pub error: String,
}

/// Whose a token is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct User {
    /// `system:serviceaccount:<namespace>:<name>` for service accounts.
    pub username: String,
    /// Never given twice.
    pub uid: String,
    /// Its groups.
    pub groups: Vec<String>,
}

/// Something that one may be allowed to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

/// The server's verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Verdict {
    /// It may be done.
    pub allowed: bool,
    /// Why, in the server's words; may be empty.
    pub reason: String,
}

impl Access {
    /// A verb (`get`, `list`, `create`, ...) on all objects of a resource, as `resource` or `resource/subresource`, everywhere.
    #[must_use]
    pub fn new(verb: &str, group: &str, resource: &str) -> Self {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Self {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            ..Self::default()
        }
    }

    /// A verb on all objects of a kind.
    #[must_use]
    pub fn to_kind(verb: &str, kind: Kind) -> Self {
        Self::new(verb, kind.group(), Resource::from(kind).plural())
    }

    /// Of one version of the API only.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// In one namespace only.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// On one object only.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    fn to_json(&self) -> Value {
        let fields = [
            ("verb", &self.verb),
            ("group", &self.group),
            ("version", &self.version),
            ("resource", &self.resource),
            ("subresource", &self.subresource),
            ("namespace", &self.namespace),
            ("name", &self.name),
        ];
        fields
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), Value::from(value.as_str())))
            .collect()
    }
}

impl Client {
    /// Asks whose a token is, and whether it is meant for one of the audiences; without audiences, for the API server.
    ///
    /// # Errors
    /// The server refused or cannot be reached. A token that is not valid is no error.
    pub async fn review_token(&self, token: &str, audiences: &[&str]) -> Result<TokenStatus, Failure> {
        let mut spec = json!({"token": token});
        if !audiences.is_empty() {
            spec["audiences"] = json!(audiences);
        }
        self.review("authentication.k8s.io/v1", "TokenReview", "tokenreviews", spec).await
    }

    /// Asks what this account itself may do.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn may_i(&self, access: &Access) -> Result<Verdict, Failure> {
        let spec = json!({"resourceAttributes": access.to_json()});
        self.review("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", spec).await
    }

    /// Asks what somebody else may do.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn may(&self, user: &str, groups: &[String], access: &Access) -> Result<Verdict, Failure> {
        let spec = json!({"user": user, "groups": groups, "resourceAttributes": access.to_json()});
        self.review("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews", spec).await
    }

    async fn review<T: serde::de::DeserializeOwned>(
        &self,
        api_version: &str,
        kind: &'static str,
        plural: &str,
        spec: Value,
    ) -> Result<T, Failure> {
        let review = json!({"apiVersion": api_version, "kind": kind, "metadata": {}, "spec": spec});
        let mut answer = self.create(&Resource::of_cluster(api_version, plural), "", &review, "").await?;
        serde_json::from_value(answer["status"].take()).map_err(|error| Failure::Malformed(kind, error))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        for (before, text) in [("/", &self.subresource), (".", &self.group), (" in namespace ", &self.namespace)] {
            if !text.is_empty() {
                write!(f, "{before}{text}")?;
            }
        }
        Ok(())
    }
}

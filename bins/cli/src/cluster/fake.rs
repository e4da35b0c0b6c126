//! A cluster of objects that a test has put there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Answer, Cluster, Failed, Saved};

/// Objects by their places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fake {
    saved: Saved,
    /// Paths that answer as they are told to.
    fixed: BTreeMap<String, Value>,
    broken: bool,
    /// Resources that whoever asks may not touch.
    forbidden: Vec<String>,
}

impl Fake {
    /// One that does not answer.
    pub(crate) fn broken() -> Self {
        Self { broken: true, ..Self::default() }
    }

    /// Adds an object of a kind, by its plural. An object of the same name is replaced.
    pub(crate) fn add(&mut self, plural: &str, object: Value) {
        self.saved.add(plural, object);
    }

    /// Takes every object away whose path ends so.
    pub(crate) fn remove(&mut self, end: &str) {
        self.saved.objects().retain(|(path, _)| !path.ends_with(end));
    }

    /// Changes the object whose path ends so.
    pub(crate) fn change(&mut self, end: &str, change: impl FnOnce(&mut Value)) {
        let found = self.saved.objects().iter_mut().find(|(path, _)| path.ends_with(end));
        change(&mut found.unwrap_or_else(|| panic!("{end} is not there")).1);
    }

    /// Lets a path answer this.
    pub(crate) fn fix(&mut self, path: &str, answer: Value) {
        self.fixed.insert(path.to_owned(), answer);
    }

    /// Forbids everything about a resource.
    pub(crate) fn forbid(&mut self, resource: &str) {
        self.forbidden.push(resource.to_owned());
    }
}

impl Cluster for Fake {
    fn get<'a>(&'a self, path: &'a str) -> Answer<'a> {
        let answer = match self.broken {
            true => Err(Failed("connection refused".to_owned())),
            false => Ok(self.fixed.get(path).cloned().or_else(|| self.saved.find(path))),
        };
        Box::pin(async move { answer })
    }

    fn ask<'a>(&'a self, _path: &'a str, question: &'a Value) -> Answer<'a> {
        let resource = question["spec"]["resourceAttributes"]["resource"].as_str().unwrap_or_default();
        let allowed = !self.forbidden.iter().any(|forbidden| forbidden == resource);
        let answer =
            if self.broken { Err(Failed("connection refused".to_owned())) } else { Ok(Some(json!({"status": {"allowed": allowed}}))) };
        Box::pin(async move { answer })
    }
}

//! A cluster whose objects somebody has saved.

use serde_json::{Value, json};

use super::{Answer, Cluster, Failed};

/// Objects by their paths in the API. It answers no questions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Saved {
    objects: Vec<(String, Value)>,
}

impl Saved {
    /// Takes objects out of documents. Lists are taken apart.
    pub(crate) fn of(documents: Vec<Value>) -> Self {
        let mut saved = Self::default();
        documents.into_iter().for_each(|document| saved.take(document));
        saved
    }

    fn take(&mut self, mut document: Value) {
        match document["items"].take() {
            Value::Array(items) => items.into_iter().for_each(|item| self.take(item)),
            _ => {
                let plural = plural(document["kind"].as_str().unwrap_or_default());
                self.add(&plural, without_items(document));
            }
        }
    }

    /// Adds an object of a kind, by its plural. An object of the same name is replaced.
    pub(crate) fn add(&mut self, plural: &str, object: Value) {
        let version = object["apiVersion"].as_str().unwrap_or("v1");
        let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        let within = metadata["namespace"].as_str().map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        let path = format!("{root}{within}/{plural}/{name}");
        self.objects.retain(|(known, _)| *known != path);
        self.objects.push((path, object));
    }

    /// What lies at a path: an object, or the list of what is below it.
    pub(super) fn find(&self, path: &str) -> Option<Value> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if let Some((_, object)) = self.objects.iter().find(|(known, _)| known == path) {
            return Some(object.clone());
        }
        let selector = query.strip_prefix("labelSelector=").map(|text| text.split_once('=').map_or((text, None), |(k, v)| (k, Some(v))));
        let chosen = self.objects.iter().filter(|(known, object)| {
            let labels = &object["metadata"]["labels"];
            let fits =
                |(key, value): (&str, Option<&str>)| labels[key].as_str().is_some_and(|found| value.is_none_or(|wanted| found == wanted));
            is_in(known, path) && selector.is_none_or(fits)
        });
        let items: Vec<_> = chosen.map(|(_, object)| object.clone()).collect();
        // A list may be empty; an object's name stands behind its plural.
        let within = path.rsplit('/').nth(1).unwrap_or_default();
        let is_list = within == "v1" || path.rsplit('/').nth(2) == Some("namespaces") || within.starts_with('v') && within.len() <= 8;
        (is_list || !items.is_empty()).then(|| json!({"items": items}))
    }

    #[cfg(test)]
    pub(super) fn objects(&mut self) -> &mut Vec<(String, Value)> {
        &mut self.objects
    }
}

/// Looking for items leaves a null where none were.
fn without_items(mut document: Value) -> Value {
    if let Some(map) = document.as_object_mut()
        && map.get("items").is_some_and(Value::is_null)
    {
        map.remove("items");
    }
    document
}

/// The plural of a kind, as paths have it.
pub(crate) fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{kind}s"),
    }
}

/// Is an object at `path` in the list at `list`, of one namespace or of all?
fn is_in(path: &str, list: &str) -> bool {
    let Some((parent, _name)) = path.rsplit_once('/') else {
        return false;
    };
    if parent == list {
        return true;
    }
    let (Some((root, within)), Some((list_root, plural))) = (parent.split_once("/namespaces/"), list.rsplit_once('/')) else {
        return false;
    };
    root == list_root && within.rsplit_once('/').is_some_and(|(_, of)| of == plural)
}

impl Cluster for Saved {
    fn get<'a>(&'a self, path: &'a str) -> Answer<'a> {
        let answer = self.find(path);
        Box::pin(async move { Ok(answer) })
    }

    fn ask<'a>(&'a self, path: &'a str, _question: &'a Value) -> Answer<'a> {
        Box::pin(async move { Err(Failed(format!("{path}: saved objects answer no questions"))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn objects_are_found_by_path_and_in_lists() {
        let item = |name: &str, namespace: &str, label: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace, "labels": {"a": label}}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [item("x", "one", "1"), item("y", "two", "2")]});
        let policy = json!({"apiVersion": "policy.linkerd.io/v1alpha1", "kind": "AuthorizationPolicy", "metadata": {"name": "z", "namespace": "one"}});
        let saved = Saved::of(vec![list, policy.clone()]);
        assert_eq!(saved.get("/api/v1/namespaces/one/secrets/x").await, Ok(Some(item("x", "one", "1"))));
        assert_eq!(saved.get("/api/v1/namespaces/one/secrets/y").await, Ok(None));
        let names = async |path: &str| -> Vec<String> {
            let items = super::super::list(&saved, path).await.unwrap();
            items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names("/api/v1/secrets").await, ["x", "y"]);
        assert_eq!(names("/api/v1/namespaces/two/secrets").await, ["y"]);
        assert_eq!(names("/api/v1/secrets?labelSelector=a=1").await, ["x"]);
        assert_eq!(names("/api/v1/secrets?labelSelector=b").await, [""; 0]);
        assert_eq!(names("/apis/policy.linkerd.io/v1alpha1/authorizationpolicies").await, ["z"]);
        assert_eq!(saved.get("/api/v1/namespaces/one").await, Ok(None));
    }
}

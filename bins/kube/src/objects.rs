//! Calls for objects, of kinds that the mesh reads and of any other.

use http::Method;
use meshkit_manifest::{Kind, Object};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Client, Failure, Resource, Selection,
    client::Payload,
    decode,
    resource::{place, query},
    watch::Page,
};

/// So many objects are read in one go.
const PAGE: &str = "500";
/// A list of more pages is refused: 200,000 objects.
const MAX_PAGES: usize = 400;

/// Which objects of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    namespace: String,
    labels: String,
    fields: String,
}

/// Somebody else owns the fields that are applied: is that a failure?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // As Kubernetes has it.
pub enum Conflicts {
    /// It is.
    Fail,
    /// They are taken over.
    Force,
}

impl Filter {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Those of one namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Those with labels: `a=b,c in (d,e)`, as `kubectl` takes it.
    #[must_use]
    pub fn labels(mut self, selector: &str) -> Self {
        selector.clone_into(&mut self.labels);
        self
    }

    /// Those with fields: `metadata.name=a`, as `kubectl` takes it.
    #[must_use]
    pub fn fields(mut self, selector: &str) -> Self {
        selector.clone_into(&mut self.fields);
        self
    }
}

impl Client {
    /// Reads the objects of a selection. Those that are not what their type wants are left out, and told with what is wrong.
    ///
    /// # Errors
    /// The server refused or cannot be reached. A kind that it does not have has no objects.
    pub async fn list(&self, selection: &Selection) -> Result<(Vec<Object>, Vec<String>), Failure> {
        let Some(place) = place(selection.kind) else { return Ok((Vec::new(), Vec::new())) };
        let filter = Filter { namespace: selection.namespace.clone(), labels: selection.labels.clone(), fields: selection.fields.clone() };
        for version in place.versions {
            let (mut objects, mut faults) = (Vec::new(), Vec::new());
            let api_version = place.api_version(version);
            let each = |json: &str| match decode::object(selection.kind, &api_version, json.as_bytes()) {
                Ok(object) => objects.push(object),
                Err(why) => faults.push(format!("{}: {why}", selection.kind.as_str())),
            };
            match self.pages(&place.at(version), &filter, each).await {
                Err(failure) if failure.is_absent() => {}
                Ok(()) => return Ok((objects, faults)),
                Err(failure) => return Err(failure),
            }
        }
        Ok((Vec::new(), Vec::new()))
    }

    /// Reads one object with every field that the server has. `None` if there is none, or no such resource.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn get_value(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Option<Value>, Failure> {
        match self.call(Method::GET, &resource.object_path(namespace, name), Payload::Empty).await {
            Ok(body) => decode::value(&body, "object").map(Some),
            Err(failure) if failure.is_absent() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Reads objects with every field that the server has. They do not say their `apiVersion` and `kind`: the server leaves that out in lists.
    ///
    /// # Errors
    /// The server refused (404 where it has no such resource) or cannot be reached.
    pub async fn list_values(&self, resource: &Resource, filter: &Filter) -> Result<Vec<Value>, Failure> {
        let (mut values, mut fault) = (Vec::new(), None);
        let each = |json: &str| match serde_json::from_str(json) {
            Ok(value) => values.push(value),
            Err(error) => fault = Some(error),
        };
        self.pages(resource, filter, each).await?;
        fault.map_or(Ok(values), |error| Err(Failure::Malformed("object", error)))
    }

    async fn pages(&self, resource: &Resource, filter: &Filter, mut each: impl FnMut(&str)) -> Result<(), Failure> {
        let mut token = String::new();
        for _ in 0..MAX_PAGES {
            let mut path = resource.path(&filter.namespace);
            query(&mut path, "limit", PAGE);
            for (key, value) in [("labelSelector", &filter.labels), ("fieldSelector", &filter.fields), ("continue", &token)] {
                if !value.is_empty() {
                    query(&mut path, key, value);
                }
            }
            let body = self.call(Method::GET, &path, Payload::Empty).await?;
            let page: Page<'_> = serde_json::from_slice(&body).map_err(|error| Failure::Malformed("list", error))?;
            page.items.iter().flatten().for_each(|item| each(item.get()));
            match page.metadata.token.filter(|token| !token.is_empty()) {
                Some(next) => token = next,
                None => return Ok(()),
            }
        }
        Err(Failure::TooLong(MAX_PAGES * 500))
    }

    /// Makes an object.
    ///
    /// # Errors
    /// The server refused, with 409 if there is one of that name, or cannot be reached.
    pub async fn create(&self, resource: &Resource, namespace: &str, object: &Value, manager: &str) -> Result<Value, Failure> {
        self.write(Method::POST, resource.path(namespace), Payload::Json(object), manager).await
    }

    /// Puts an object in the place of another; with a `resourceVersion`, only if it is still that one.
    ///
    /// # Errors
    /// The server refused, with 409 if somebody else wrote in the meantime, or cannot be reached.
    pub async fn replace(&self, resource: &Resource, namespace: &str, name: &str, object: &Value, manager: &str) -> Result<Value, Failure> {
        self.write(Method::PUT, resource.object_path(namespace, name), Payload::Json(object), manager).await
    }

    /// Makes or changes an object so that it has these fields, which the manager owns from then on (server-side apply). Fields that it owned and that are
    /// missing now go away.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn apply(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        object: &Value,
        manager: &str,
        conflicts: Conflicts,
    ) -> Result<Value, Failure> {
        self.write(Method::PATCH, applied(resource.object_path(namespace, name), conflicts), Payload::Apply(object), manager).await
    }

    /// The same for the `status` of an object.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn apply_status(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        object: &Value,
        manager: &str,
    ) -> Result<Value, Failure> {
        let path = applied(resource.object_path(namespace, name) + "/status", Conflicts::Force);
        self.write(Method::PATCH, path, Payload::Apply(object), manager).await
    }

    /// Changes the fields that the patch has, and takes away those that are null in it. Source: RFC 7396.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn merge(&self, resource: &Resource, namespace: &str, name: &str, patch: &Value, manager: &str) -> Result<Value, Failure> {
        self.write(Method::PATCH, resource.object_path(namespace, name), Payload::MergePatch(patch), manager).await
    }

    /// The same for the `status` of an object: `{"status": {...}}`.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn merge_status(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        patch: &Value,
        manager: &str,
    ) -> Result<Value, Failure> {
        let path = resource.object_path(namespace, name) + "/status";
        self.write(Method::PATCH, path, Payload::MergePatch(patch), manager).await
    }

    /// Deletes an object; `false` if there was none.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn delete(&self, resource: &Resource, namespace: &str, name: &str) -> Result<bool, Failure> {
        match self.call(Method::DELETE, &resource.object_path(namespace, name), Payload::Empty).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_absent() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Deletes the object that has this uid, without waiting for it to end; `false` if it is gone, or another one has its name.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn delete_now(&self, resource: &Resource, namespace: &str, name: &str, uid: &str) -> Result<bool, Failure> {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        match self.call(Method::DELETE, &resource.object_path(namespace, name), Payload::Json(&options)).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_absent() || failure.is_conflict() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// The version of the server.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn version(&self) -> Result<Version, Failure> {
        decode::value(&self.call(Method::GET, "/version", Payload::Empty).await?, "version")
    }

    /// The resources of a `group/version`, by their names in paths; `None` if the server does not have it.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn resources(&self, api_version: &str) -> Result<Option<Vec<Resource>>, Failure> {
        let root = if api_version.contains('/') { "/apis" } else { "/api" };
        let body = match self.call(Method::GET, &format!("{root}/{api_version}"), Payload::Empty).await {
            Ok(body) => body,
            Err(failure) if failure.is_absent() => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let list: Discovered = decode::value(&body, "list of resources")?;
        let whole = list.resources.into_iter().filter(|resource| !resource.name.contains('/'));
        let named = |resource: One| match resource.namespaced {
            true => Resource::namespaced(api_version, &resource.name),
            false => Resource::of_cluster(api_version, &resource.name),
        };
        Ok(Some(whole.map(named).collect()))
    }

    /// Where the server has a kind, in the best version that the mesh can read; `None` if it does not have it.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn resource(&self, kind: Kind) -> Result<Option<Resource>, Failure> {
        let Some(place) = place(kind) else { return Ok(None) };
        for version in place.versions {
            let resource = place.at(version);
            let found = self.resources(resource.api_version()).await?;
            if found.is_some_and(|found| found.contains(&resource)) {
                return Ok(Some(resource));
            }
        }
        Ok(None)
    }
}

/// What the server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Version {
    /// `1`
    pub major: String,
    /// `34`; some add a `+`.
    pub minor: String,
    /// `v1.34.4`
    pub git_version: String,
    /// `linux/amd64`
    pub platform: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Discovered {
    resources: Vec<One>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct One {
    name: String,
    namespaced: bool,
}

fn applied(mut path: String, conflicts: Conflicts) -> String {
    if conflicts == Conflicts::Force {
        query(&mut path, "force", "true");
    }
    path
}

//! Clusters for tests, written as manifests.

use std::{path::Path, sync::Arc};

use meshkit_core::{Endpoint, grpc::Code};
use meshkit_manifest::{Cluster, Event, Manifest, Object};
use meshkit_wire::profile::Profile;

use crate::{
    model::{Fault, Mesh, Model, Reading, View},
    settings::Settings,
    target::{Context, Target},
};

/// Answers about a cluster that does not change.
pub(crate) struct World {
    pub(crate) view: View,
    pub(crate) mesh: Mesh,
    pub(crate) settings: Settings,
}

pub(crate) fn objects(text: &str) -> Vec<Object> {
    Manifest::parse(Path::new("x.yaml"), text).unwrap().objects
}

pub(crate) fn cluster(objects: Vec<Object>) -> Arc<Cluster> {
    let mut cluster = Cluster::default();
    cluster.apply(Event::Reset(objects), |_| true);
    Arc::new(cluster)
}

pub(crate) fn mesh() -> Mesh {
    Mesh { namespace: "linkerd".to_owned(), domain: "cluster.local".to_owned(), trust_domain: "td.local".to_owned() }
}

/// What an API server may tell that a folder would refuse.
pub(crate) fn unchecked(json: serde_json::Value) -> Object {
    Object::from_json(json).unwrap().unwrap()
}

impl World {
    pub(crate) fn new(text: &str) -> Self {
        Self::of(objects(text))
    }

    pub(crate) fn of(objects: Vec<Object>) -> Self {
        Self { view: View::new(&cluster(objects)), mesh: mesh(), settings: Settings::default() }
    }

    pub(crate) fn model(&self) -> Model<'_> {
        Model::new(&self.view, &self.mesh, &self.settings)
    }

    /// The endpoints of a path, as seen from a node.
    pub(crate) fn endpoints(&self, path: &str, node: &str) -> Result<Vec<Endpoint>, Code> {
        let Target::Name(name) = Target::parse(path, &self.mesh.domain).unwrap() else { panic!("{path} is an address") };
        let client = Context { node_name: node.to_owned(), ..Context::default() };
        let set = self.model().endpoints(&name, &self.model().scope(&name, &client)).map_err(|e| e.code())?;
        Ok(set.iter().collect())
    }

    /// The addresses of a path, as seen from a node.
    pub(crate) fn addrs(&self, path: &str, node: &str) -> Vec<String> {
        self.endpoints(path, node).unwrap().iter().map(|e| e.addr.to_string()).collect()
    }

    /// What is read for a path, as seen from a namespace.
    pub(crate) fn reading(&self, path: &str, ns: &str) -> Result<Result<Reading, Fault>, Code> {
        let target = Target::parse(path, &self.mesh.domain).map_err(|e| e.code())?;
        let client = Context { ns: ns.to_owned(), ..Context::default() };
        let subject = self.model().subject(&target, &client).map_err(|e| e.code())?;
        Ok(self.model().profile(&subject))
    }

    /// The profile of a path, as seen from a namespace.
    pub(crate) fn profile(&self, path: &str, ns: &str) -> Profile {
        self.reading(path, ns).unwrap().unwrap().profile
    }
}

//! Clusters for tests, written as manifests.

use std::{path::Path, sync::Arc};

use meshkit_core::grpc::Code;
use meshkit_manifest::{Cluster, Event, Manifest, Object};
use meshkit_policy::{DefaultPolicy, inbound};
use meshkit_wire::{
    Refused,
    outbound::{self, Target},
};

use crate::{
    mesh::Mesh,
    model::Model,
    outbound::Subject,
    settings::{Acceptance, Settings},
    view::View,
    workload::Workload,
};

/// Answers about a cluster that does not change.
pub(crate) struct World {
    pub(crate) view: View,
    pub(crate) mesh: Mesh,
    pub(crate) settings: Settings,
}

pub(crate) fn objects(text: &str) -> Vec<Object> {
    Manifest::parse(Path::new("x.yaml"), text).unwrap_or_else(|faults| panic!("{faults:#?}")).objects
}

/// What an API server may tell that a folder would refuse.
pub(crate) fn unchecked(json: serde_json::Value) -> Object {
    Object::from_json(json).unwrap().unwrap()
}

pub(crate) fn cluster(objects: Vec<Object>) -> Arc<Cluster> {
    let mut cluster = Cluster::default();
    cluster.apply(Event::Reset(objects), |_| true);
    Arc::new(cluster)
}

pub(crate) fn mesh() -> Mesh {
    Mesh {
        namespace: "linkerd".to_owned(),
        domain: "cluster.local".to_owned(),
        trust_domain: "td.local".to_owned(),
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        probe_networks: vec!["0.0.0.0/0".parse().unwrap()],
        default_policy: DefaultPolicy::AllUnauthenticated,
    }
}

/// An address, or else a name.
pub(crate) fn target(text: &str) -> Target {
    text.parse().map_or_else(|_| Target::Authority(text.to_owned()), Target::Addr)
}

impl World {
    pub(crate) fn new(text: &str) -> Self {
        Self::of(objects(text))
    }

    pub(crate) fn of(objects: Vec<Object>) -> Self {
        Self { view: View::new(cluster(objects)), mesh: mesh(), settings: Settings::default() }
    }

    /// The same, where what counts is what statuses say.
    pub(crate) fn written(mut self) -> Self {
        self.settings = self.settings.acceptance(Acceptance::Written);
        self
    }

    pub(crate) fn model(&self) -> Model<'_> {
        Model::new(&self.view, &self.mesh, &self.settings)
    }

    /// What a target stands for, as a Pod of a namespace sees it.
    pub(crate) fn subject(&self, namespace: &str, text: &str) -> Result<Subject, Refused> {
        self.model().subject(namespace, &target(text))
    }

    /// The policy of a target, as a Pod of a namespace sees it.
    pub(crate) fn outbound(&self, namespace: &str, target: &str) -> Result<outbound::Policy, Code> {
        let subject = self.subject(namespace, target).map_err(|refused| refused.code())?;
        Ok(self.model().outbound(&subject))
    }

    /// The policy of a workload's port.
    pub(crate) fn inbound(&self, workload: &Workload, port: u16) -> Result<inbound::Policy, Code> {
        let port = self.model().port(workload, port).map_err(|refused| refused.code())?;
        Ok(self.model().inbound(&port))
    }
}

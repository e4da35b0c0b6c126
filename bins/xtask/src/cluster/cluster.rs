//! One cluster: its plan, its folder, and what runs.

use std::{fs, path::PathBuf, time::Duration};

use super::{
    command::{Run, program, tail},
    components::Component,
    namespace::Machine,
    plan::Plan,
    state::{self, Folder, Home},
    wait,
};

/// A cluster that has a folder, whether it runs or not.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) home: Home,
    pub(crate) plan: Plan,
    pub(crate) folder: Folder,
}

impl Cluster {
    pub(crate) fn new(home: &Home, plan: Plan) -> Self {
        Self { folder: home.cluster(&plan.name), home: home.clone(), plan }
    }

    /// The cluster of this name, if it has a folder.
    pub(crate) fn open(home: &Home, name: &str) -> Result<Self, String> {
        match home.cluster(name).plan() {
            Some(plan) => Ok(Self::new(home, plan)),
            None => Err(format!("there is no cluster {name:?}: `cargo xtask cluster up --name {name}` makes it")),
        }
    }

    pub(crate) fn node_folder(&self, node: u8) -> PathBuf {
        self.folder.part(&self.plan.node(node))
    }

    pub(crate) fn wire_folder(&self) -> PathBuf {
        self.folder.part("wire")
    }

    /// The namespaces of a node, while it runs.
    pub(crate) fn machine(&self, node: u8) -> Option<Machine> {
        Machine::running(&self.node_folder(node))
    }

    /// The same, for who cannot do without.
    pub(crate) fn running(&self, node: u8) -> Result<Machine, String> {
        self.machine(node).ok_or_else(|| format!("node {} does not run", self.plan.node(node)))
    }

    pub(crate) fn wire(&self) -> Option<Machine> {
        Machine::running(&self.wire_folder())
    }

    /// `kubectl` as administrator, from the host.
    pub(crate) fn kubectl(&self, limit: u32) -> Run {
        let run = program(limit, self.home.bin().join("kubectl")).env("HOME", self.folder.path());
        run.arg(format!("--kubeconfig={}", self.folder.kubeconfig().display()))
    }

    /// Is the API server ready?
    pub(crate) fn answers(&self) -> bool {
        self.kubectl(5).args(["get", "--raw", "/readyz"]).succeeds()
    }

    /// Starts a component of a node, and keeps a record of its process.
    pub(crate) fn start(&self, node: u8, component: Component) -> Result<(), String> {
        let id = self.running(node)?.spawn(&component.log(), &component.command(&self.plan, node))?;
        let records = self.node_folder(node).join("processes");
        state::make_folder(&records)?;
        state::write(&records.join(component.name()), &id.to_string())
    }

    /// The id inside its node of a component that runs.
    pub(crate) fn process(&self, node: u8, component: Component) -> Option<u32> {
        let id = fs::read_to_string(self.node_folder(node).join("processes").join(component.name())).ok()?.parse().ok()?;
        self.machine(node)?.runs(id).then_some(id)
    }

    /// Ends a component of a node. Containers go on without it.
    pub(crate) fn end(&self, node: u8, component: Component) -> Result<(), String> {
        match self.process(node, component) {
            Some(id) => self.running(node)?.end(id, Duration::from_secs(10)),
            None => Ok(()),
        }
    }

    /// Looks until it is there, the component has died or the time is over.
    pub(crate) fn until(&self, node: u8, component: Component, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<(), String> {
        let found = wait::until(limit, || {
            if ready() {
                return Some(true);
            }
            self.process(node, component).is_none().then_some(false)
        });
        match found {
            Some(true) => Ok(()),
            Some(false) => Err(self.complaint(node, component, "has ended")),
            None => Err(self.complaint(node, component, &format!("is not ready after {} s", limit.as_secs()))),
        }
    }

    /// The file on the host that a component writes its log to.
    pub(crate) fn log(&self, node: u8, component: Component) -> PathBuf {
        self.folder.logs(&self.plan.node(node)).join(format!("{}.log", component.name()))
    }

    fn complaint(&self, node: u8, component: Component, what: &str) -> String {
        let log = self.log(node, component);
        let text = fs::read_to_string(&log).unwrap_or_default();
        format!("{} on {} {what}; the end of its log {} is:\n{}", component.name(), self.plan.node(node), log.display(), tail(&text, 15))
    }
}

//! What is kept between two commands: the folder of a cluster, the record of what runs, one lock.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::step;

use super::plan::{self, Plan};

/// All that the cluster task keeps: `MESH_CLUSTER_DIR`, else `target/cluster`.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn here() -> Self {
        // Not the target folder of this build: Kubernetes is built once for all of them.
        Self(env::var_os("MESH_CLUSTER_DIR").map_or_else(|| step::root().join("target/cluster"), PathBuf::from))
    }

    /// The programs that were built.
    pub(crate) fn bin(&self) -> PathBuf {
        self.0.join("bin")
    }

    /// What Go downloads and compiles.
    pub(crate) fn go(&self) -> PathBuf {
        self.0.join("go")
    }

    /// Archives of the images that every cluster has.
    pub(crate) fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// The custom resource definitions of the Gateway API, one folder for each channel.
    pub(crate) fn gateway_api(&self) -> PathBuf {
        self.0.join("gateway-api")
    }

    /// Where the logs of a cluster stay after it has ended, until the next of its name.
    pub(crate) fn kept_logs(&self, name: &str) -> PathBuf {
        self.0.join("logs").join(name)
    }

    /// Holds off whoever else builds, until it is dropped.
    pub(crate) fn lock_programs(&self) -> Result<File, String> {
        make_folder(&self.bin())?;
        lock(&self.bin())
    }

    pub(crate) fn cluster(&self, name: &str) -> Folder {
        Folder(self.0.join("run").join(name))
    }

    /// The clusters that have a folder, running or not.
    pub(crate) fn clusters(&self) -> Vec<Plan> {
        let entries = fs::read_dir(self.0.join("run")).into_iter().flatten().flatten();
        let mut plans: Vec<_> = entries.filter_map(|entry| Folder(entry.path()).plan()).collect();
        plans.sort_by(|a, b| a.name.cmp(&b.name));
        plans
    }
}

/// The folder of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn plan(&self) -> Option<Plan> {
        plan::parse(&fs::read_to_string(self.0.join("plan")).ok()?)
    }

    pub(crate) fn keep_plan(&self, plan: &Plan) -> Result<(), String> {
        write(&self.0.join("plan"), &plan.to_string())
    }

    /// For clients on the host.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// What the nodes see as `/etc/kubernetes`.
    pub(crate) fn kubernetes(&self) -> PathBuf {
        self.0.join("kubernetes")
    }

    pub(crate) fn certificates(&self) -> PathBuf {
        self.kubernetes().join("pki")
    }

    /// One folder for each node, and one for the wire between them.
    pub(crate) fn part(&self, part: &str) -> PathBuf {
        self.0.join(part)
    }

    /// One folder of logs for each node.
    pub(crate) fn logs(&self, part: &str) -> PathBuf {
        self.0.join("logs").join(part)
    }
}

/// Holds off every other command on this machine, of any checkout, until it is dropped: addresses are the machine's.
pub(crate) fn lock_machine() -> Result<File, String> {
    lock(Path::new("/run/lock"))
}

/// Locks a folder itself, so that nothing is left in it.
fn lock(folder: &Path) -> Result<File, String> {
    let failed = |error| format!("{} cannot be locked: {error}", folder.display());
    let file = File::open(folder).map_err(failed)?;
    if file.try_lock().is_err() {
        step::say(&format!("waiting for another command that has locked {}", folder.display()));
        file.lock().map_err(failed)?;
    }
    Ok(file)
}

pub(crate) fn make_folder(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|error| format!("{} cannot be made: {error}", path.display()))
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

pub(crate) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

/// Removes a folder, if there is one.
pub(crate) fn remove_folder(path: &Path) -> Result<(), String> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{} cannot be removed: {error}", path.display())),
        _ => Ok(()),
    }
}

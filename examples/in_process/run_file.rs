//! Tells `mesh stat` where the workloads are: in the file that `mesh run` writes for its proxies.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{BoxError, Workload};

/// The file, which goes when this does.
pub(crate) struct RunFile(PathBuf);

impl RunFile {
    /// Starts the admin servers, and writes down where they are.
    pub(crate) async fn write(dir: &Path, workloads: &[&Workload]) -> Result<Self, BoxError> {
        let mut replicas = Vec::new();
        for workload in workloads {
            let admin = workload.telemetry.admin(&workload.store).await?;
            let (name, identity) = (workload.name, workload.identity.as_str());
            replicas.push(json!({"namespace": "emojivoto", "pod": name, "workload": name, "identity": identity, "admin": admin}));
        }
        let state = dir.join(".mesh");
        let named = |error: io::Error| format!("{}: {error}", state.display());
        fs::create_dir_all(&state).map_err(named)?;
        let file = Self(state.join("run.json"));
        fs::write(&file.0, json!({"replicas": replicas, "urls": []}).to_string()).map_err(named)?;
        Ok(file)
    }
}

impl Drop for RunFile {
    fn drop(&mut self) {
        // Nothing is lost if it stays: `mesh stat` finds that nobody answers.
        let _ = fs::remove_file(&self.0);
    }
}

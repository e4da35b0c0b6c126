//! Control groups: one for the pods of each node, in every hierarchy of the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::wait;

const MOUNT: &str = "/sys/fs/cgroup";

/// Makes a group. Kubelet makes those below it.
pub(crate) fn make(name: &str) -> Result<(), String> {
    for hierarchy in hierarchies(Path::new(MOUNT)) {
        let group = hierarchy.join(name);
        fs::create_dir_all(&group).map_err(|error| format!("{} cannot be made: {error}", group.display()))?;
        // Only in version 2: what the groups below may account for.
        if let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) {
            let wanted: String = controllers.split_whitespace().map(|controller| format!("+{controller} ")).collect();
            let file = group.join("cgroup.subtree_control");
            fs::write(&file, wanted).map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
        }
    }
    Ok(())
}

/// Removes a group and all below it, whose processes have been ended.
pub(crate) fn remove(name: &str) -> Result<(), String> {
    for group in hierarchies(Path::new(MOUNT)).iter().map(|hierarchy| hierarchy.join(name)) {
        // A group is busy until the kernel has buried the last of its processes.
        let gone = wait::until(Duration::from_secs(10), || {
            remove_tree(&group);
            (!group.exists()).then_some(())
        });
        gone.ok_or_else(|| format!("{} cannot be removed: it still has processes", group.display()))?;
    }
    Ok(())
}

/// Either the one hierarchy of version 2, or the folders of version 1, without the links to them.
fn hierarchies(mount: &Path) -> Vec<PathBuf> {
    if mount.join("cgroup.controllers").exists() {
        return vec![mount.to_path_buf()];
    }
    let entries = fs::read_dir(mount).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// The files of a group are not removed: they are the group.
fn remove_tree(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // What stays is seen by the caller.
    let _ = fs::remove_dir(group);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::state;

    #[test]
    fn both_versions_of_control_groups_are_known() {
        let dir = std::env::temp_dir().join(format!("xtask-cgroups-{}", std::process::id()));
        for hierarchy in ["memory", "cpu,cpuacct"] {
            state::make_folder(&dir.join(hierarchy)).unwrap();
        }
        std::os::unix::fs::symlink("cpu,cpuacct", dir.join("cpu")).unwrap();
        let mut found = hierarchies(&dir);
        found.sort();
        assert_eq!(found, [dir.join("cpu,cpuacct"), dir.join("memory")]);
        state::write(&dir.join("cgroup.controllers"), "cpu memory").unwrap();
        assert_eq!(hierarchies(&dir), std::slice::from_ref(&dir));
        state::remove_folder(&dir).unwrap();
    }
}

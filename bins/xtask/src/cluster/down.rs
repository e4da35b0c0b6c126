//! `cargo xtask cluster down`.

use std::{fs, time::Duration};

use super::{cgroups, cluster::Cluster, command::program, plan::MOST, state, wait};

/// Ends a cluster and everything it made, but its logs. Also one that is half up, or whose processes are gone.
pub(crate) fn run(cluster: &Cluster) -> Result<(), String> {
    let plan = &cluster.plan;
    // Every part is tried, whatever became of the others.
    let mut failures = Vec::new();
    let mut done = |result: Result<(), String>| failures.extend(result.err());
    for node in plan.nodes() {
        done(end_node(cluster, node));
    }
    if let Some(wire) = cluster.wire() {
        done(wire.stop().and_then(|()| host_link(&plan.host_link())));
    }
    for node in 0..MOST {
        done(cgroups::remove(&plan.cgroup(node)));
    }
    if !failures.is_empty() {
        // The folder stays, so that a second attempt knows what there is.
        return Err(failures.join("\n"));
    }
    keep_logs(cluster)?;
    state::remove_folder(cluster.folder.path())?;
    println!("cluster {} is down; its logs are in {}", plan.name, cluster.home.kept_logs(&plan.name).display());
    Ok(())
}

/// Ends a node like a loss of power. Its disk stays.
pub(crate) fn end_node(cluster: &Cluster, node: u8) -> Result<(), String> {
    if let Some(machine) = cluster.machine(node) {
        machine.stop()?;
    }
    cgroups::remove(&cluster.plan.cgroup(node))
}

/// The host's interface goes with the namespaces at its other end, a little after them.
fn host_link(link: &str) -> Result<(), String> {
    let there = || program(10, "ip").args(["link", "show", "dev", link]).succeeds();
    let gone = wait::until(Duration::from_secs(10), || (!there()).then_some(()));
    gone.ok_or_else(|| format!("the interface {link} is still there"))
}

fn keep_logs(cluster: &Cluster) -> Result<(), String> {
    let (from, to) = (cluster.folder.part("logs"), cluster.home.kept_logs(&cluster.plan.name));
    state::remove_folder(&to)?;
    if !from.exists() {
        return Ok(());
    }
    to.parent().map_or(Ok(()), state::make_folder)?;
    fs::rename(&from, &to).map_err(|error| format!("{} cannot be moved to {}: {error}", from.display(), to.display()))
}

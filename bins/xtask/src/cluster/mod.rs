//! `cargo xtask cluster`: a real Kubernetes on this machine, for tests.
//!
//! A cluster lives in namespaces of its own: one set for each node, one for the wire that joins them. The host sees one process for each, one
//! network interface, and control groups; ending those processes ends everything. Each node has all programs of the host, and a private
//! `/etc`, `/run`, `/opt`, `/var/lib` and `/var/log`, in the places where Kubernetes expects them.

mod certificates;
mod cgroups;
#[expect(clippy::module_inception, reason = "it is the one thing that this module is about")]
mod cluster;
pub(crate) mod command;
mod components;
mod config;
mod dns;
mod down;
mod go;
pub(crate) mod image;
mod link;
mod namespace;
mod network;
mod options;
mod plan;
mod programs;
mod scripts;
pub(crate) mod state;
mod status;
mod up;
mod wait;

use std::path::Path;

pub(crate) use options::USAGE;

use cluster::Cluster;
use image::{Image, Kind};
use options::{Options, Part};
use state::Home;

/// Runs the task. `None`: the arguments are not understood.
pub(crate) fn run(args: &[&str]) -> Option<Result<(), String>> {
    let options = match options::parse(args)? {
        Ok(options) => options,
        Err(error) => return Some(Err(error)),
    };
    Some(permitted().and_then(|()| perform(&Home::here(), options)))
}

fn perform(home: &Home, options: Options) -> Result<(), String> {
    if let Options::Up(_) = options {
        programs::make(home)?;
    }
    // The others change nothing that a second command looks at.
    let lock = match options {
        Options::Up(_) | Options::Down { .. } | Options::End(_) | Options::Start(_) | Options::Link { .. } => Some(state::lock_machine()?),
        Options::Build | Options::Tools | Options::Status { .. } | Options::LoadImage { .. } => None,
    };
    match options {
        Options::Build => programs::make(home)?,
        Options::Tools => programs::tools(home)?,
        Options::Up(wanted) => {
            up::run(home, &wanted)?;
            print!("{}", status::text(home));
        }
        Options::Down { name } => match name {
            // What is not there is down.
            Some(name) => home.cluster(&name).plan().map_or(Ok(()), |plan| down::run(&Cluster::new(home, plan)))?,
            None => home.clusters().into_iter().try_for_each(|plan| down::run(&Cluster::new(home, plan)))?,
        },
        Options::Status { json: false } => print!("{}", status::text(home)),
        Options::Status { json: true } => print!("{}", status::json(home)),
        Options::LoadImage { name, path, image } => print!("{}", load_image(&Cluster::open(home, &name)?, &path, &image)?),
        Options::End(part) => {
            let (cluster, node) = find(home, &part)?;
            match part.component {
                Some(component) => cluster.end(node, component)?,
                None => down::end_node(&cluster, node)?,
            }
        }
        Options::Start(part) => {
            let (cluster, node) = find(home, &part)?;
            match part.component {
                Some(component) => up::component_again(&cluster, node, component)?,
                None => up::node(&cluster, node)?,
            }
        }
        Options::Link { names: [one, other] } => link::run(&Cluster::open(home, &one)?, &Cluster::open(home, &other)?)?,
    }
    drop(lock);
    Ok(())
}

fn permitted() -> Result<(), String> {
    let root = command::program(10, "id").arg("--user").output().is_ok_and(|id| id.trim() == "0");
    if cfg!(target_os = "linux") && root { Ok(()) } else { Err("a cluster needs Linux and root".into()) }
}

/// What `cargo xtask test` does before the tests, so that none of them waits for a compiler: a cluster that was built once is kept up to date.
/// Building one takes many minutes, and is asked for by `cargo xtask cluster build`.
pub(crate) fn prepare() -> Result<(), String> {
    let home = Home::here();
    let possible = permitted().and_then(|()| match programs::were_made(&home) {
        true => Ok(()),
        false => Err("`cargo xtask cluster build` has not been run".to_owned()),
    });
    match possible {
        Ok(()) => programs::make(&home),
        Err(error) => {
            crate::step::say(&format!("tests on a cluster are left out: {error}"));
            Ok(())
        }
    }
}

/// Will tests use clusters?
pub(crate) fn is_there() -> bool {
    permitted().is_ok() && programs::were_made(&Home::here())
}

/// And after them: no cluster that they shared goes on running.
pub(crate) fn finish() -> Result<(), String> {
    if !is_there() {
        return Ok(());
    }
    ["e2e", "mesh"].iter().filter_map(|name| run(&["down", "--name", name])).collect()
}

/// A node of any cluster, by its name.
fn find(home: &Home, part: &Part) -> Result<(Cluster, u8), String> {
    let name = &part.node;
    let plans = home.clusters();
    let found = plans.into_iter().find_map(|plan| Some((plan.nodes().find(|node| plan.node(*node) == *name)?, plan)));
    let (node, plan) = found.ok_or_else(|| format!("there is no node {name:?}: see `cargo xtask cluster status`"))?;
    match part.component {
        Some(component) if !component.runs_on(node) => Err(format!("{} does not run on {name}", component.name())),
        _ => Ok((Cluster::new(home, plan), node)),
    }
}

/// Brings an image to every node, and returns what was imported.
fn load_image(cluster: &Cluster, path: &Path, image: &Image) -> Result<String, String> {
    let said = std::sync::Mutex::new(String::new());
    let import = |archive: &Path| {
        up::each_node(cluster, |node| {
            let text = image::import(&cluster.running(node)?, archive)?;
            *said.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = text;
            Ok(())
        })
    };
    match Kind::of(path)? {
        Kind::Archive => import(path)?,
        kind => {
            let mut image = image.clone();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if image.reference.is_empty() {
                image.reference = format!("localhost/{}:dev", name.to_lowercase());
            }
            if image.entrypoint.is_empty() && kind == Kind::Program {
                image.entrypoint = vec![format!("/{name}")];
            }
            // Beside the other things of this cluster, under a name that no other command uses.
            let archive = cluster.folder.part(&format!("image-{}.tar", std::process::id()));
            let done = image::build(path, &image, &archive).and_then(|()| import(&archive));
            // It is of no use any more; a failure above is the one to report.
            let _ = std::fs::remove_file(&archive);
            done?;
        }
    }
    Ok(said.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

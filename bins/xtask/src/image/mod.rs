//! `cargo xtask image`: the images of the mesh as archives, without a registry and without a builder of images.
//!
//! Their content is that of the files in `deploy/docker`: one static program in each, and iptables beside it in the one that redirects.

mod debian;
mod options;
mod program;
mod which;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub(crate) use options::USAGE;
pub(crate) use program::as_in_images;

use options::Options;
use which::Which;

use crate::{
    cluster::{image, state},
    step,
};

/// Runs the task. `None`: the arguments are not understood.
pub(crate) fn run(args: &[&str]) -> Option<Result<(), String>> {
    let options = match options::parse(args)? {
        Ok(options) => options,
        Err(error) => return Some(Err(error)),
    };
    Some(perform(&options))
}

fn perform(options: &Options) -> Result<(), String> {
    let folder = step::root().join("target/image");
    let revision = program::revision();
    let mesh = program::build(options.profile, &revision)?;
    // One at a time: their folders lie side by side.
    for which in &options.wanted {
        let archive = make(*which, options, &revision, &mesh, &folder)?;
        let size = fs::metadata(&archive).map_err(|error| format!("{} cannot be read: {error}", archive.display()))?.len();
        which.check_size(size, options.profile)?;
        println!("{}  {}  {}", archive.display(), which.reference(&options.registry), megabytes(size));
    }
    Ok(())
}

fn make(which: Which, options: &Options, revision: &str, mesh: &Path, folder: &Path) -> Result<PathBuf, String> {
    let root = folder.join(which.name());
    state::remove_folder(&root)?;
    state::make_folder(&root)?;
    if which == Which::Init {
        debian::root(&folder.join("packages"), &root)?;
    }
    program::install(mesh, &root.join("mesh"))?;
    if which == Which::Init {
        debian::permit(&root)?;
    }
    let archive = folder.join(format!("{}.tar", which.name()));
    image::build(&root, &which.image(&options.registry, revision), &archive)?;
    state::remove_folder(&root)?;
    Ok(archive)
}

/// A size for people: the prefix is that of the limits, a million.
fn megabytes(size: u64) -> String {
    format!("{}.{} MB", size / 1_000_000, size % 1_000_000 / 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_said_in_millions_with_one_digit_cut_off() {
        assert_eq!(megabytes(40_000_000), "40.0 MB");
        assert_eq!(megabytes(1_990_000), "1.9 MB");
        assert_eq!(megabytes(99_999), "0.0 MB");
    }
}

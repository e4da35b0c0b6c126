//! Go, with folders of its own for what it downloads and compiles.

use std::path::{Path, PathBuf};

use crate::{setup, step};

use super::{
    command::{Run, program},
    state::{self, Home},
};

/// The oldest that compiles everything.
const OLDEST: (u32, u32) = (1, 25);

/// Fetched as a Go module, the way an older `go` fetches a newer one, where there is none or it is too old.
const TOOLCHAIN: &str = "v0.0.1-go1.26.8.linux-amd64";
const TOOLCHAIN_SHA256: &str = "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7";

/// A Go that can compile what the cluster is made of.
#[derive(Debug)]
pub(crate) struct Go {
    program: PathBuf,
    folder: PathBuf,
}

impl Go {
    pub(crate) fn find(home: &Home) -> Result<Self, String> {
        let go = |program: PathBuf| Self { program, folder: home.go() };
        let own = home.go().join("toolchain").join(format!("golang.org/toolchain@{TOOLCHAIN}")).join("bin/go");
        for known in [PathBuf::from("go"), own.clone()] {
            if program(30, &known).arg("version").output().is_ok_and(|said| version(&said) >= Some(OLDEST)) {
                return Ok(go(known));
            }
        }
        fetch(home)?;
        Ok(go(own))
    }

    /// A command of Go in one of the project's modules, at low priority: other work on the machine comes first.
    pub(crate) fn run(&self, module: &Path, limit: u32) -> Run {
        program(limit, "nice")
            .args(["-n", "10"])
            .arg(&self.program)
            .folder(module)
            .env("GOMODCACHE", self.folder.join("mod"))
            .env("GOCACHE", self.folder.join("build"))
            .env("GOFLAGS", "-modcacherw -trimpath -buildvcs=false")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .env("CGO_ENABLED", "0")
    }

    /// Gives back what compiling took, some gigabytes: the programs stay, and are compiled again only when their sources change.
    pub(crate) fn forget_objects(&self) -> Result<(), String> {
        state::remove_folder(&self.folder.join("build"))
    }
}

/// Out of `go version go1.26.8 linux/amd64`.
fn version(text: &str) -> Option<(u32, u32)> {
    let word = text.split_whitespace().find_map(|word| word.strip_prefix("go1."))?;
    Some((1, word.split('.').next()?.parse().ok()?))
}

fn fetch(home: &Home) -> Result<(), String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("no Go 1.25 or later is on the PATH: install one".into());
    }
    setup::install(&[("curl", "curl"), ("unzip", "unzip")])?;
    let folder = home.go().join("toolchain");
    state::make_folder(&folder)?;
    let zip = folder.join("toolchain.zip");
    let url = format!("https://proxy.golang.org/golang.org/toolchain/@v/{TOOLCHAIN}.zip");
    step::say(&format!("fetching {url}"));
    program(600, "curl")
        .args(["--fail", "--silent", "--show-error", "--location", "--retry", "3", "--output"])
        .arg(&zip)
        .arg(&url)
        .output()?;
    let sum = program(60, "sha256sum").arg(&zip).output()?;
    if sum.split_whitespace().next() != Some(TOOLCHAIN_SHA256) {
        return Err(format!("{url} is not the file that was expected: its SHA-256 is {sum}"));
    }
    program(300, "unzip").args(["-q", "-o"]).arg(&zip).arg("-d").arg(&folder).output()?;
    // A module has no executable bits.
    program(60, "chmod").args(["-R", "u+x"]).arg(&folder).output()?;
    std::fs::remove_file(&zip).map_err(|error| format!("{} cannot be removed: {error}", zip.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(version("go version go1.9 linux/amd64"), Some((1, 9)));
        assert!(version("go version go1.9 linux/amd64") < Some(OLDEST));
        assert_eq!(version("command not found"), None);
    }
}

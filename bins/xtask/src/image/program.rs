//! The static program that every image holds.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cluster::{command::program, image::Kind},
    step::{self, cargo},
};

use super::options::Profile;

/// No C library is looked for when the program starts.
const STATIC: &str = "-C target-feature=+crt-static";

/// The commit that is built, or nothing where this is not a checkout.
pub(crate) fn revision() -> String {
    let git = program(60, "git").folder(&step::root()).args(["describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]);
    git.output().map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Builds `mesh`, which needs no other file, and returns where it lies.
pub(crate) fn build(profile: Profile, revision: &str) -> Result<PathBuf, String> {
    let target = target();
    // The target is named although it is this machine's: build scripts and procedural macros, which are libraries, are then not built with these flags.
    let args = ["build", "--locked", "--package", "meshkit-cli", "--bin", "mesh", "--target", &target, "--profile", profile.name()];
    let mut build = cargo(&args);
    build.env("RUSTFLAGS", flags(env::var_os("RUSTFLAGS")));
    if !revision.is_empty() {
        build.env("MESH_GIT_SHA", revision);
    }
    step::run(&mut build)?;
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| step::root().join("target"), |folder| step::root().join(folder));
    let mesh = folder.join(target).join(profile.folder()).join("mesh");
    // A flag that the linker ignored would be noticed by nobody before a pod fails to start.
    match Kind::of(&mesh)? {
        Kind::Program => Ok(mesh),
        Kind::Archive | Kind::Folder => Err(format!("{} is not a program", mesh.display())),
    }
}

/// Copies the program into an image. Symbols stay outside, whatever the profile: they weigh more than the code.
pub(crate) fn install(mesh: &Path, to: &Path) -> Result<(), String> {
    program(120, "strip").arg("--strip-all").arg("-o").arg(to).arg(mesh).output()?;
    let failed = |error| format!("{} cannot be made a program: {error}", to.display());
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).map_err(failed)
}

fn target() -> String {
    format!("{}-unknown-linux-gnu", env::consts::ARCH)
}

/// The flag for a static program, after those of whoever builds. It is not said twice: other flags are another build.
fn flags(given: Option<OsString>) -> OsString {
    let mut flags = given.unwrap_or_default();
    if flags.to_string_lossy().contains(STATIC) {
        return flags;
    }
    if !flags.is_empty() {
        flags.push(" ");
    }
    flags.push(STATIC);
    flags
}

/// Makes a command of cargo build what images hold, so that nothing is built twice where a task needs both.
pub(crate) fn as_in_images(command: &mut Command) {
    command.env("CARGO_BUILD_TARGET", target()).env("RUSTFLAGS", flags(env::var_os("RUSTFLAGS")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_were_given_are_kept() {
        assert_eq!(flags(None), "-C target-feature=+crt-static");
        assert_eq!(flags(Some("-C target-cpu=native".into())), "-C target-cpu=native -C target-feature=+crt-static");
        assert_eq!(flags(Some("-C target-feature=+crt-static".into())), "-C target-feature=+crt-static");
    }

    #[test]
    fn a_program_is_copied_without_its_symbols_for_everybody_to_run() {
        let dir = env::temp_dir().join(format!("xtask-strip-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        // This test itself: a program with symbols.
        let (from, to) = (env::current_exe().unwrap(), dir.join("copy"));
        install(&from, &to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o755);
        let sections = |path: &Path| program(20, "readelf").args(["--section-headers", "--wide"]).arg(path).output().unwrap();
        assert!(sections(&from).contains(".symtab") && !sections(&to).contains(".symtab"));
        fs::remove_dir_all(&dir).unwrap();
    }
}

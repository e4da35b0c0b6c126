//! Builds every fuzz target and runs each for a while.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::step;

/// How long each target runs, in seconds.
const SECONDS: u32 = 10;

/// Fuzzes where a nightly toolchain is installed, and says so where it is not: the corpus is replayed on stable in any case.
pub(crate) fn run() -> Result<(), String> {
    if !step::succeeds("rustup", &["run", "nightly", "cargo", "--version"]) {
        eprintln!("\n== fuzzing is left out: it needs a nightly toolchain, which `rustup toolchain install nightly` brings");
        return Ok(());
    }
    let target_dir = env::var_os("CARGO_TARGET_DIR").map_or_else(|| step::root().join("target"), PathBuf::from).join("fuzz");
    build(&target_dir)?;
    let names = names()?;
    let programs = programs(&target_dir, &names)?;
    eprintln!("\n== {} fuzz targets, {SECONDS} s each", names.len());

    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = fuzz(name, &programs, &target_dir.join("found").join(name)) {
                        failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(error);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// The flags are those of the folder's own `.cargo/config.toml`, and nothing of this build may override them.
fn build(target_dir: &Path) -> Result<(), String> {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "build", "--release", "--locked", "--target-dir"]).arg(target_dir);
    for name in ["CARGO", "RUSTC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(name);
    }
    step::run(command.current_dir(step::root().join("fuzz/targets")))
}

/// A target has a corpus of its name; that the two lists agree is a test of `fuzz/`.
fn names() -> Result<Vec<String>, String> {
    let corpus = step::root().join("fuzz/corpus");
    let entries = fs::read_dir(&corpus).map_err(|error| format!("{} cannot be read: {error}", corpus.display()))?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Where the programs are: below a folder that bears the name of the machine.
fn programs(target_dir: &Path, names: &[String]) -> Result<PathBuf, String> {
    let machines = fs::read_dir(target_dir).map_err(|error| format!("{} cannot be read: {error}", target_dir.display()))?;
    machines
        .flatten()
        .map(|machine| machine.path().join("release"))
        .find(|folder| names.iter().all(|name| folder.join(name).is_file()))
        .ok_or_else(|| format!("{} lacks the program of a target that has a corpus", target_dir.display()))
}

/// Runs one target from its corpus. What it finds new stays in `found`, and so does its log.
fn fuzz(name: &str, programs: &Path, found: &Path) -> Result<(), String> {
    let failed = |what: String| format!("fuzz target {name}: {what}");
    fs::create_dir_all(found).map_err(|error| failed(format!("{} cannot be made: {error}", found.display())))?;
    let log = found.with_extension("log");
    let file = fs::File::create(&log).map_err(|error| failed(format!("{} cannot be written: {error}", log.display())))?;
    let status = Command::new(programs.join(name))
        .arg(format!("-max_total_time={SECONDS}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args([found.to_path_buf(), step::root().join("fuzz/corpus").join(name)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .status()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let text = fs::read_to_string(&log).unwrap_or_default();
    let last = text.lines().rev().find(|line| line.starts_with("Done")).unwrap_or("no runs were counted");
    if status.success() {
        eprintln!("fuzz target {name}: {last}");
        return Ok(());
    }
    let lines: Vec<_> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(40)..].join("\n");
    Err(failed(format!("{status}; the input is in {}, and the end of {} is:\n{tail}", found.display(), log.display())))
}

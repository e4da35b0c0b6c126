//! Measures ours beside others: builds the bench and the mesh, and passes on what was asked.

use std::{env, path::PathBuf, process::Command};

use crate::step::{self, cargo};

pub(crate) const USAGE: &str = "\
  bench [SCENARIO...] [--quick] [-o table|json] [OPTION...]
                everything, into docs/benchmarks.md; or these scenarios, into the terminal; --quick shows in seconds that it works, and measures nothing";

/// What decides how to build. Everything else is the bench's to read.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    quick: bool,
    /// The page is written only of everything: half of it would be of another day.
    report: bool,
}

pub(crate) fn run(args: &[&str]) -> Result<(), String> {
    let asked = read(args);
    // An unoptimized mesh measures nothing, but builds in seconds what is built anyway.
    let (bench, mesh) = if asked.quick { ("dev", "dev") } else { ("release", "dist") };
    step::run(&mut cargo(&["build", "--locked", "--package", "meshkit-bench", "--profile", bench]))?;
    step::run(&mut cargo(&["build", "--locked", "--package", "meshkit-cli", "--profile", mesh]))?;

    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| step::root().join("target"), |folder| step::root().join(folder));
    let built = |profile: &str, program: &str| -> PathBuf { target.join(if profile == "dev" { "debug" } else { profile }).join(program) };
    let mut command = Command::new(built(bench, "meshkit-bench"));
    command.arg("run").args(args).arg("--target").arg(&target).arg("--mesh").arg(built(mesh, "mesh")).current_dir(step::root());
    if asked.report {
        command.arg("--report").arg(step::root().join("docs"));
    }
    step::run(&mut command)
}

/// The bench's options that have a value are those that it could not tell from a scenario.
fn read(args: &[&str]) -> Asked {
    const VALUED: &[&str] = &["-o", "--output", "--rounds", "--seconds", "--peers"];
    let quick = args.contains(&"--quick");
    let after_valued = |index: usize| index > 0 && VALUED.contains(&args[index - 1]);
    let scenario = args.iter().enumerate().any(|(index, arg)| !arg.starts_with('-') && !after_valued(index));
    Asked { quick, report: !quick && !scenario }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_only_of_everything() {
        assert_eq!(read(&[]), Asked { quick: false, report: true });
        assert_eq!(read(&["-o", "json", "--rounds", "3"]), Asked { quick: false, report: true });
        assert_eq!(read(&["-o", "json", "http1"]), Asked { quick: false, report: false });
        assert_eq!(read(&["--quick"]), Asked { quick: true, report: false });
    }
}

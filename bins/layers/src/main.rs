//! Counts the instructions that each layer spends, and compares them with what `instructions.txt` says.
//!
//! Times differ from run to run on a machine that others use; instructions under callgrind hardly do. A layer that needs more than a twentieth above its
//! line fails `cargo xtask layers`; a change that means to do so brings the new line with it, which `cargo xtask layers --write` writes.

mod cases;
mod count;
mod table;

use std::{env, fs, path::Path, process::ExitCode};

use cases::CASES;
use table::Table;

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["run", name, times] => run(name, times),
        ["--write"] => compare(true),
        [] => compare(false),
        _ => Err("usage: meshkit-layers [--write] | run NAME TIMES".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meshkit-layers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is run below callgrind: one layer's work, so many times.
fn run(name: &str, times: &str) -> Result<(), String> {
    let times = times.parse().map_err(|_| format!("{times:?} is not a number of times"))?;
    let (_, work) = CASES.iter().find(|(known, _)| *known == name).ok_or_else(|| format!("no layer {name:?}"))?;
    work(times);
    Ok(())
}

fn compare(write: bool) -> Result<(), String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt");
    let found = CASES.iter().map(|(name, _)| Ok(((*name).to_owned(), count::instructions(name)?))).collect::<Result<_, String>>()?;
    let found = Table(found);
    print!("{found}");
    if write {
        return fs::write(&file, found.to_string()).map_err(|error| format!("{} cannot be written: {error}", file.display()));
    }
    let text = fs::read_to_string(&file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let grown = Table::parse(&text)?.grown(&found);
    if grown.is_empty() { Ok(()) } else { Err(format!("{}\n`cargo xtask layers --write` states the new numbers", grown.join("\n"))) }
}

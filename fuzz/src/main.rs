//! Feeds a target with files, or with standard input.

use std::{
    env, fs,
    io::{self, Read as _},
    process::ExitCode,
};

use meshkit_fuzz::{TARGETS, Target, find};

/// EX_USAGE.
const BAD_USAGE: u8 = 64;

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let Some((target, files)) = args.split_first().and_then(|(name, files)| Some((find(name)?, files))) else {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("usage: meshkit-fuzz TARGET [FILE...]\nWithout files, standard input is read. Targets: {}", names.join(", "));
        return ExitCode::from(BAD_USAGE);
    };
    match feed(target, files) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meshkit-fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}

fn feed(target: &Target, files: &[String]) -> Result<(), String> {
    if files.is_empty() {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map_err(|error| format!("standard input: {error}"))?;
        println!("{}: {:?}", target.name, (target.run)(&bytes));
    }
    for file in files {
        let bytes = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
        println!("{}: {file}: {:?}", target.name, (target.run)(&bytes));
    }
    Ok(())
}

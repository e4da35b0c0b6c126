//! Where documents are read from.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use meshkit_injector::documents;
use serde_json::Value;

/// How deep folders are walked; links may lead in circles.
const DEPTH_MAX: usize = 32;

/// Every file that is meant, in order: folders are walked, `-` stands for standard input.
///
/// # Errors
/// Everything that is none.
pub(super) fn find(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, Vec<String>> {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for input in inputs {
        let text = input.to_string_lossy();
        if text.starts_with("http://") || text.starts_with("https://") {
            faults.push(format!("{text}: addresses are not read; try `curl -fsSL {text} | mesh inject -`"));
        } else if text == "-" {
            found.push(input.clone());
        } else {
            walk(input, DEPTH_MAX, &mut found, &mut faults);
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

fn walk(path: &Path, depth: usize, found: &mut Vec<PathBuf>, faults: &mut Vec<String>) {
    let mut fault = |error: io::Error| faults.push(format!("{}: {error}", path.display()));
    match fs::metadata(path) {
        Err(error) => fault(error),
        Ok(metadata) if !metadata.is_dir() => found.push(path.to_owned()),
        Ok(_) if depth == 0 => fault(io::Error::other("folders stand too deep in each other")),
        Ok(_) => match fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()) {
            Err(error) => fault(error),
            Ok(mut entries) => {
                entries.sort();
                entries.iter().for_each(|entry| walk(entry, depth - 1, found, faults));
            }
        },
    }
}

/// The documents of a file.
///
/// # Errors
/// What is wrong, with the file's name.
pub(super) fn read(path: &Path) -> Result<Vec<Value>, String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().read_to_string(&mut text).map(drop)
    } else {
        fs::read_to_string(path).map(|file| text = file)
    };
    let place = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    read.map_err(|error| format!("{place}: {error}"))?;
    documents::read(&text).map_err(|error| format!("{place}: {error}"))
}

//! The corpus, replayed on stable.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
};

use meshkit_fuzz::{TARGETS, Target, Verdict};

/// A corpus is read by people, too, and stays in the repository for ever.
const MAX_FILES: usize = 40;
const MAX_LEN: usize = 16 << 10;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn corpus(target: &Target) -> Vec<PathBuf> {
    let dir = here().join("corpus").join(target.name);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn feed(target: &Target, file: &Path) -> Verdict {
    let bytes = fs::read(file).unwrap();
    catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes))).unwrap_or_else(|panic| {
        eprintln!("cargo run -p meshkit-fuzz -- {} {}", target.name, file.display());
        resume_unwind(panic)
    })
}

#[test]
fn every_input_that_was_kept_is_handled() {
    for target in TARGETS {
        let verdicts: Vec<_> = corpus(target).iter().map(|file| feed(target, file)).collect();
        // A corpus of which all is refused, or nothing is, has lost its way to the other half of the code.
        for verdict in [Verdict::Accepted, Verdict::Refused] {
            assert!(verdicts.contains(&verdict), "{}: {verdict:?} is not in the corpus", target.name);
        }
    }
}

#[test]
fn no_target_minds_nothing_or_too_much() {
    for target in TARGETS {
        for bytes in [&[][..], &[0], &[255], &[0; 300], &[255; 300]] {
            let _ = (target.run)(bytes);
        }
    }
}

#[test]
fn a_corpus_is_small() {
    for target in TARGETS {
        let files = corpus(target);
        assert!(files.len() <= MAX_FILES, "{}: {} files", target.name, files.len());
        for file in files {
            let len = fs::metadata(&file).unwrap().len();
            assert!(len <= MAX_LEN as u64, "{}: {len} bytes", file.display());
        }
    }
}

#[test]
fn every_target_has_a_corpus_a_program_and_a_line_in_the_docs() {
    let stems = |dir: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(here().join(dir)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let names: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(stems("corpus"), names);
    assert_eq!(stems("targets/src/bin"), names);
    let docs = fs::read_to_string(here().join("src/lib.rs")).unwrap();
    for name in names {
        let program = fs::read_to_string(here().join(format!("targets/src/bin/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("meshkit_fuzz::{name}::run(data)")), "{program}");
        assert!(docs.contains(&format!("//! | [`{name}`] |")), "{name} is not in the table of lib.rs");
    }
}

//! Runs every example as a person would, and looks at what it says.

#![allow(clippy::unwrap_used)] // Everything in here is a test.

mod custom_proxy;
mod embedded;
mod in_process;
mod program;
mod small;

/// What no test can do for a reader: find the example that answers the question.
#[test]
fn the_table_of_the_readme_names_every_example() {
    let (manifest, readme) = (include_str!("../../Cargo.toml"), include_str!("../../README.md"));
    let names: Vec<_> = manifest.split("[[example]]\n").skip(1).filter_map(|part| part.split('"').nth(1)).collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        assert!(readme.contains(&format!("--example {name}`")), "{name}");
    }
}

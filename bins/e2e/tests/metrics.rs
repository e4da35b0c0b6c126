//! What a proxy's scrape consists of: families, types and label names, as dashboards know them.
//!
//! `golden/web.txt` has a line for each: the family, its type, and its labels in their order. A line that begins with `?` is for what only
//! some runs meet. `MESH_BLESS=1` writes what is new and keeps what is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use meshkit_e2e::{Demo, eventually};

/// Families with their types, and each series' label names.
fn shape(scrape: &str) -> BTreeSet<String> {
    let mut types = BTreeMap::new();
    for line in scrape.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            types.insert(name.to_owned(), kind.to_owned());
        }
    }
    let series = scrape.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    series.map(|line| shape_of(line, &types)).collect()
}

fn shape_of(line: &str, types: &BTreeMap<String, String>) -> String {
    let (name, labels) = match line.split_once('{') {
        Some((name, rest)) => (name, names(rest)),
        None => (line.split(' ').next().unwrap_or_default(), Vec::new()),
    };
    // The part of a name that a type adds.
    let family = ["", "_total", "_bucket", "_sum", "_count"].iter().find_map(|part| types.get_key_value(name.strip_suffix(part)?));
    let (family, kind) = family.unwrap_or_else(|| panic!("{line} is of no type"));
    let labels: Vec<_> = labels.into_iter().filter(|name| name != "le").collect();
    format!("{family} {kind} {}", labels.join(",")).trim_end().to_owned()
}

/// The names in `a="x",b="y"} 1`. A value may hold escaped quotes.
fn names(text: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '}' => break,
            '=' => names.push(std::mem::take(&mut name)),
            ',' => {}
            c => name.push(c),
        }
    }
    names
}

#[test]
fn a_scrape_has_the_families_and_labels_that_dashboards_know() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/web.txt");
    let golden = fs::read_to_string(&file).unwrap_or_default();
    let known: BTreeSet<String> = golden.lines().map(|line| line.trim_start_matches("? ").to_owned()).collect();
    let needed: BTreeSet<String> = golden.lines().filter(|line| !line.starts_with('?')).map(str::to_owned).collect();

    let demo = Demo::failing("0.3");
    assert_eq!(demo.status("/api/vote?choice=:joy:"), 200);
    assert_eq!(demo.status("/api/leaderboard"), 200);
    let complete = eventually(Duration::from_secs(30), || {
        let shape = shape(&demo.metrics("web-0"));
        shape.is_superset(&needed).then_some(shape)
    });
    let found = complete.unwrap_or_else(|| shape(&demo.metrics("web-0")));
    if std::env::var_os("MESH_BLESS").is_some() {
        let all: Vec<_> = found.difference(&known).map(String::as_str).chain(golden.lines()).collect();
        fs::write(file, all.join("\n") + "\n").unwrap();
        return;
    }
    let missing: Vec<_> = needed.difference(&found).collect();
    let unknown: Vec<_> = found.difference(&known).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:#?}\nunknown: {unknown:#?}");
}

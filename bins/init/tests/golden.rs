//! The rules as text, compared with files. `UPDATE_GOLDEN=1` writes the files anew.

#![allow(clippy::unwrap_used)] // A helper's unwrap is its test's.

use std::{fmt::Write as _, fs, path::Path};

use meshkit_init::{
    ports::PortRange,
    rules::{
        Family, Redirect,
        iptables::{self, Existing, Mode},
        nft,
    },
};

fn ranges(text: &str) -> Vec<PortRange> {
    text.split(',').map(|entry| entry.parse().unwrap()).collect()
}

/// What the injector asks for by default.
fn default() -> Redirect {
    Redirect::new(4143, 4140).proxy_uid(2102).ignore_inbound(ranges("4190,4191,4567,4568")).ignore_outbound(ranges("4567,4568"))
}

/// Every option, and more ports than one rule takes.
fn everything() -> Redirect {
    default()
        .proxy_gid(2103)
        .only_ports(vec![80, 8080])
        .ignore_inbound(ranges("1000-1010,1005-1020,1,2,3,4,5,6,7,8,9,2000-2001"))
        .ignore_outbound(ranges("443,3306,27017-27019"))
        .ignore_subnets(["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"].map(|text| text.parse().unwrap()))
}

fn commands(redirect: &Redirect, mode: Mode, existing: &Existing) -> String {
    let mut text = String::new();
    for family in [Family::V4, Family::V6] {
        writeln!(text, "{}", iptables::save(mode, family)).unwrap();
        for command in iptables::install(redirect, mode, family, existing) {
            writeln!(text, "{command}").unwrap();
        }
        writeln!(text, "{}", iptables::save(mode, family)).unwrap();
    }
    text
}

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let difference = text.lines().zip(golden.lines()).find(|(now, then)| now != then);
    assert!(text == golden, "{} differs: {difference:?}; UPDATE_GOLDEN=1 takes the new text over", path.display());
}

#[test]
fn the_default_rules_in_each_mode() {
    for (name, mode) in [("legacy", Mode::Legacy), ("nft", Mode::Nft), ("plain", Mode::Plain)] {
        compare(&format!("default-{name}.txt"), &commands(&default(), mode, &Existing::default()));
    }
    let both = [Family::V4, Family::V6].map(|family| nft::ruleset(&default(), family)).concat();
    compare("default.nft", &both);
}

#[test]
fn every_option() {
    compare("everything.txt", &commands(&everything(), Mode::Legacy, &Existing::default()));
    let both = [Family::V4, Family::V6].map(|family| nft::ruleset(&everything(), family)).concat();
    compare("everything.nft", &both);
}

#[test]
fn no_option() {
    compare("nothing.txt", &commands(&Redirect::new(4143, 4140), Mode::Legacy, &Existing::default()));
}

#[test]
fn a_second_time_empties_and_fills_and_adds_no_jump() {
    // What iptables-nft-save 1.8.9 prints after the first time.
    let saved = include_str!("golden/saved.txt");
    compare("again.txt", &commands(&default(), Mode::Nft, &Existing::parse(saved)));
}

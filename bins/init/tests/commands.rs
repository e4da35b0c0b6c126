//! How commands are run, with scripts in place of iptables.

#![allow(clippy::unwrap_used)] // A helper's unwrap is its test's.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use meshkit_init::{
    apply::{ApplyError, Target},
    rules::{Redirect, iptables::Mode},
};
use tempfile::TempDir;

/// Programs that write what they are called with into `log`. `body` is what the one that changes rules does then.
fn programs(names: &[&str], body: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in names {
        let path = folder.path().join(name);
        let body = if name.ends_with("-save") { "" } else { body };
        let script = format!("#!/bin/sh\ncd {}\necho {name} \"$@\" >> log\n{body}\n", folder.path().display());
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

const NFT: [&str; 2] = ["iptables-nft", "iptables-nft-save"];

fn target(folder: &TempDir) -> Target {
    Target::new(Mode::Nft, folder.path()).without_ipv6()
}

fn log(folder: &TempDir) -> Vec<String> {
    let text = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_flag_to_wait_ends_every_change() {
    let folder = programs(&NFT, "");
    target(&folder).wait().apply(&Redirect::new(1, 2)).await.unwrap();
    let log = log(&folder);
    let (saves, changes): (Vec<_>, Vec<_>) = log.iter().partition(|line| line.starts_with("iptables-nft-save"));
    assert_eq!(saves, ["iptables-nft-save -t nat"; 2]);
    assert!(!changes.is_empty() && changes.iter().all(|line| line.ends_with(" -w")), "{log:?}");
}

#[tokio::test]
async fn a_held_lock_is_tried_again() {
    let folder = programs(&NFT, "if [ ! -e twice ]; then if [ -e once ]; then : > twice; fi; : > once; exit 4; fi");
    target(&folder).apply(&Redirect::new(1, 2)).await.unwrap();
    let log = log(&folder);
    let first = "iptables-nft -t nat -N PROXY_INIT_REDIRECT";
    assert_eq!(log.iter().filter(|line| *line == first).count(), 3, "{log:?}");
    assert_eq!(log[1..4], [first; 3]);
}

#[tokio::test]
async fn the_first_failure_ends_it_and_is_told() {
    let folder = programs(&NFT, "case \"$*\" in *REDIRECT*--to-port*) echo 'Permission denied (you must be root)' >&2; exit 3;; esac");
    let error = target(&folder).apply(&Redirect::new(1, 2)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("`iptables-nft -t nat -A PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-port 1 "), "{text}");
    assert!(
        text.ends_with("failed (exit status: 3): Permission denied (you must be root); it needs the capabilities NET_ADMIN and NET_RAW"),
        "{text}"
    );
    assert_eq!(log(&folder).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_hangs_is_ended() {
    let folder = programs(&NFT, "exec /bin/sleep 600");
    let error = target(&folder).apply(&Redirect::new(1, 2)).await.unwrap_err();
    // Whichever came first: the paused clock runs while a child does.
    assert!(matches!(error, ApplyError::Elapsed { limit, .. } if limit == Duration::from_secs(30)), "{error}");
}

#[tokio::test]
async fn modes_are_tried_in_order_where_one_is_missing() {
    for (names, expected) in [
        (&["iptables-nft", "iptables-nft-save", "iptables", "iptables-save"][..], "iptables-nft-save"),
        // A mode without its save program is not there.
        (&["iptables-nft", "iptables", "iptables-save", "iptables-legacy"], "iptables-save"),
        (&["iptables-legacy", "iptables-legacy-save", "nft"], "iptables-legacy-save"),
        (&["nft"], "nft"),
    ] {
        let folder = programs(names, "");
        let mode = if names.contains(&"iptables-legacy-save") { Mode::Plain } else { Mode::Legacy };
        Target::new(mode, folder.path()).without_ipv6().apply(&Redirect::new(1, 2)).await.unwrap();
        let log = log(&folder);
        assert!(log[0].starts_with(&format!("{expected} ")), "{names:?}: {log:?}");
    }
}

#[tokio::test]
async fn a_machine_without_any_program_is_told_what_to_install() {
    let folder = programs(&[], "");
    let error = target(&folder).apply(&Redirect::new(1, 2)).await.unwrap_err();
    assert!(matches!(error, ApplyError::Missing { wanted: "iptables-nft" }));
    assert_eq!(
        error.to_string(),
        "neither iptables-nft nor another iptables nor nft is on PATH: install one of them, or use another image"
    );
}

#[tokio::test]
async fn what_a_program_is_told_by_nft_arrives_whole() {
    let folder = programs(&["nft"], "while IFS= read -r line; do echo \"$line\" >> ruleset; done");
    target(&folder).apply(&Redirect::new(4143, 4140)).await.unwrap();
    let ruleset = fs::read_to_string(folder.path().join("ruleset")).unwrap();
    let expected = meshkit_init::rules::nft::ruleset(&Redirect::new(4143, 4140), meshkit_init::rules::Family::V4);
    let trim = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert_eq!(trim(&ruleset), trim(&expected));
}

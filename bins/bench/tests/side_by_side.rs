//! The whole harness, as it is called: quick, and only for what it counts.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The build folder: this test runs from `target/<profile>/deps`.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    test.ancestors().nth(3).expect("a test lies in deps").to_owned()
}

fn run(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_meshkit-bench"))
        .args(["run", "--quick", "-o", "json", "--target"])
        .arg(target())
        .args(args)
        .output()
        .expect("the bench is started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn first<'a>(results: &'a Value, scenario: &str, peer: &str) -> &'a Value {
    &results["rows"][scenario]["samples"][peer][0]
}

fn passed(results: &Value, scenario: &str, peer: &str) {
    let sample = first(results, scenario, peer);
    let (requests, bytes) = (sample["requests"].as_u64().unwrap(), sample["bytes"].as_u64().unwrap());
    assert!(requests + bytes > 0 && sample["failures"] == 0, "{scenario}, {peer}: {sample}");
}

#[test]
fn the_floor_passes_everything_that_it_is_given() {
    let scenarios = ["http1", "http2", "grpc", "handshake", "upload", "download", "body"];
    let results = run(&[&["--peers", "direct,floor"], scenarios.as_slice()].concat());
    for scenario in scenarios {
        passed(&results, scenario, "direct");
        passed(&results, scenario, "floor");
        let sample = first(&results, scenario, "floor");
        assert!(sample["memory"].as_u64().unwrap() > 1000, "{sample}");
        // Two hops: both have worked.
        assert!(sample["outbound_cpu"].as_f64().unwrap() + sample["inbound_cpu"].as_f64().unwrap() > 0.0, "{sample}");
    }
}

#[test]
fn ours_passes_everything_where_it_is_built() {
    let mesh = ["debug", "release", "dist"].iter().map(|profile| target().join(profile).join("mesh")).find(|path| path.exists());
    let Some(mesh) = mesh else {
        eprintln!("mesh is not built: nothing to look at");
        return;
    };
    let scenarios = ["http1", "grpc", "download"];
    let results = run(&[&["--peers", "ours", "--mesh", mesh.to_str().unwrap()], scenarios.as_slice()].concat());
    for scenario in scenarios {
        passed(&results, scenario, "ours");
    }
}

#[test]
fn others_pass_everything_where_they_are_installed() {
    let results = run(&["--peers", "envoy,haproxy,nginx", "http1", "http2", "retries"]);
    for (peer, scenarios) in [("envoy", &["http1", "http2"][..]), ("haproxy", &["http1", "http2"]), ("nginx", &["http1"])] {
        let missing = results["rows"]["http1"]["missing"][peer].as_str();
        if missing.is_some_and(|why| why.contains("is not installed")) {
            eprintln!("{peer} is not installed: nothing to look at");
            continue;
        }
        for scenario in scenarios {
            passed(&results, scenario, peer);
        }
        // One in five fails, and is asked for again up to three times. nginx is not asked to.
        if peer != "nginx" {
            let sample = first(&results, "retries", peer);
            let (requests, failures) = (sample["requests"].as_u64().unwrap(), sample["failures"].as_u64().unwrap());
            assert!(requests > 0 && failures * 20 < requests, "{peer}: {sample}");
        }
    }
}

#[test]
fn nothing_is_left_running_and_no_folder_stays() {
    let output = Command::new(env!("CARGO_BIN_EXE_meshkit-bench"))
        .args(["run", "--quick", "--peers", "floor", "http1", "--target"])
        .arg(target())
        .spawn()
        .expect("the bench is started");
    let id = output.id();
    let dir = std::env::temp_dir().join(format!("meshkit-bench-{id}"));
    let mut bench = output;
    assert!(bench.wait().unwrap().success());
    assert!(!dir.exists());
    assert_eq!(processes_of(&dir), 0);
}

#[test]
fn whoever_interrupts_ends_everything() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_meshkit-bench"))
        .args(["run", "--peers", "floor", "--rounds", "1", "--seconds", "60", "http1", "--target"])
        .arg(target())
        .spawn()
        .expect("the bench is started");
    let dir = std::env::temp_dir().join(format!("meshkit-bench-{}", bench.id()));
    // Two inbound proxies and an outbound one name the folder.
    while processes_of(&dir) < 3 {
        assert!(bench.try_wait().unwrap().is_none(), "the bench ended");
        std::thread::yield_now();
    }
    bench.kill().unwrap();
    bench.wait().unwrap();
    while processes_of(&dir) > 0 {
        std::thread::yield_now();
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_scenario_that_is_not_there_is_named_with_those_that_are() {
    let output = Command::new(env!("CARGO_BIN_EXE_meshkit-bench")).args(["run", "htpt1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("no scenario htpt1; there are http1, http2, grpc"), "{said}");
}

/// How many processes name a folder on their command line.
fn processes_of(dir: &Path) -> usize {
    let dir = dir.display().to_string();
    let names = |entry: std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&line).contains(&dir).then_some(())
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(names).count()
}

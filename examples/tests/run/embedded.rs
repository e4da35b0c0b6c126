//! Workloads that are their own proxies, as `mesh run` starts them.

use std::{net::TcpListener, path::PathBuf, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use crate::program::{curl, path, run};

/// The `mesh` program, built as these tests are.
async fn mesh() -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--package", "meshkit-cli"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(build.status().await.unwrap().success(), "mesh cannot be built");
    let tests = std::env::current_exe().unwrap();
    tests.ancestors().nth(2).unwrap().join("mesh")
}

#[tokio::test]
async fn without_a_mesh_around_it_says_what_is_missing() {
    let ended = run("embedded", &[]).await;
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("IDENTITY"), "{}", ended.stderr);
}

#[tokio::test]
async fn in_a_mesh_both_replicas_greet_the_front() {
    let dir = tempfile::tempdir().unwrap();
    // A port that is free now; the manifest names one for a person.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let manifest = include_str!("../../embedded/mesh.yaml").replace("\"18081\"", &format!("\"{port}\""));
    let program = path("embedded");
    let manifest = manifest.replace("target/debug/examples/embedded", program.to_str().unwrap());
    std::fs::write(dir.path().join("mesh.yaml"), manifest).unwrap();

    let mut mesh = Command::new(mesh().await);
    mesh.arg("run").arg(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mesh = mesh.spawn().unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    let greeted = async {
        let mut from = [false; 2];
        while from != [true; 2] {
            let (_, body) = curl(&[&url]).await;
            for (replica, seen) in from.iter_mut().enumerate() {
                *seen |= body.contains(&format!("hello from greeter-{replica}"));
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let greeted = timeout(Duration::from_secs(60), greeted).await;
    // Ctrl-C, as a terminal sends it.
    kill(Pid::from_raw(mesh.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
    let ended = timeout(Duration::from_secs(60), mesh.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(greeted.is_ok(), "{said}");
    assert!(ended.status.success(), "{said}");
}

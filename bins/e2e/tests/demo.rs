//! The demo application in a mesh on this machine, looked at with curl and with the command line.

use std::{process::Command, time::Duration};

use meshkit_e2e::{Demo, eventually, mesh, signal};

/// Long enough for a busy machine, and far below what a person would call broken.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn every_edge_of_the_demo_is_encrypted_and_the_intruder_is_denied() {
    let dir = tempfile::tempdir().unwrap();
    let run = Command::new(mesh()).args(["demo", "--for", "15s", "-o", "json", "--dir"]).arg(dir.path()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let edges = summary["edges"].as_array().unwrap();
    let edge = |src: &str, dst: &str| {
        edges.iter().find(|e| e["src"] == src && e["dst"] == dst).unwrap_or_else(|| panic!("{src} -> {dst}: {summary}"))
    };
    for (src, dst) in [("vote-bot", "web"), ("web", "emoji"), ("web", "voting"), ("web", "voting-v2"), ("intruder", "voting")] {
        assert_eq!(edge(src, dst)["tls"], true, "{src} -> {dst}: {summary}");
    }
    assert!(edges.iter().all(|e| e["tls"] == true), "{summary}");
    assert!(edge("web", "voting")["success_rate"].as_f64().unwrap() < 1.0, "the doughnut always fails");
    assert!(edge("web", "emoji")["p99_ms"].as_f64().unwrap() > 0.0);
    let denied = summary["denied"].as_array().unwrap();
    assert!(denied.iter().any(|d| d["dst"] == "voting" && d["client"].as_str().unwrap().starts_with("intruder.emojivoto.")), "{summary}");
    assert_eq!(summary["certificates"].as_array().unwrap().len(), 7, "{summary}");
    assert!(!summary["routes"].as_array().unwrap().is_empty());
}

#[test]
fn edited_policy_is_in_force_at_once_and_so_is_its_undoing() {
    let demo = Demo::start();
    assert_eq!(demo.status("/api/list"), 200);

    // Deny all, over HTTP: what curl may do at the published port.
    let before = demo.edit("30-policy.yaml", "name: web-public", "name: web-public-gone\n  labels: {unused: \"true\"}");
    // Renaming keeps the grant; taking its target away ends it.
    demo.write("30-policy.yaml", &before.split("\n---\n").filter(|d| !d.contains("name: web-public")).collect::<Vec<_>>().join("\n---\n"));
    assert!(eventually(SOON, || (demo.status("/api/list") == 403).then_some(())).is_some(), "curl is denied");

    demo.write("30-policy.yaml", &before);
    assert!(eventually(SOON, || (demo.status("/api/list") == 200).then_some(())).is_some(), "and let in again");

    // Deny all, over gRPC: web may call nobody.
    let allow_none = before.replace("- kind: ServiceAccount\n      name: web\n", "- kind: ServiceAccount\n      name: nobody\n");
    assert_ne!(allow_none, before);
    demo.write("30-policy.yaml", &allow_none);
    let denied = eventually(SOON, || Some(demo.body("/api/list")).filter(|body| body.contains("PermissionDenied (7)")));
    assert!(denied.is_some(), "web is denied by emoji: {}", demo.body("/api/list"));
    demo.write("30-policy.yaml", &before);
    assert!(eventually(SOON, || (demo.status("/api/list") == 200).then_some(())).is_some());

    // A broken edit changes nothing.
    demo.write("30-policy.yaml", "kind: [");
    let log = demo.dir().join(".mesh/logs/control-plane.log");
    let told = eventually(SOON, || std::fs::read_to_string(&log).ok().filter(|text| text.contains("30-policy.yaml:1")));
    assert!(told.is_some(), "the fault is told with its file and line");
    assert_eq!(demo.status("/api/list"), 200);
}

#[test]
fn the_mesh_outlives_its_control_plane_and_its_proxies() {
    let demo = Demo::start();
    for what in ["control-plane", "proxy"] {
        let victims = demo.processes(&[what]);
        assert!(!victims.is_empty(), "{what}");
        victims.iter().for_each(|id| signal(*id, "KILL"));
        if what == "control-plane" {
            assert_eq!(demo.status("/api/list"), 200, "what is known goes on");
        }
        let back = eventually(SOON, || {
            let fresh = demo.processes(&[what]);
            (fresh.len() == victims.len() && fresh.iter().all(|id| !victims.contains(id))).then_some(())
        });
        assert!(back.is_some(), "{what} is started again");
        assert!(eventually(SOON, || (demo.status("/api/list") == 200).then_some(())).is_some(), "after {what} was killed");
    }
    let stat = demo.stat();
    assert!(stat["edges"].as_array().unwrap().iter().all(|e| e["tls"] == true), "{stat}");
}

#[test]
fn what_cannot_run_is_said_and_nothing_is_started() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        let out = Command::new(mesh()).arg("run").arg(dir.path()).output().unwrap();
        assert_eq!(out.status.code(), Some(1));
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let deployment = |command: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a}}\nspec: {{template: {{spec: {{containers: [{{name: a, command: [{command}]}}]}}}}}}\n"
        )
    };
    assert!(run("a.yaml", "kind: [").contains("a.yaml:1"));
    assert!(run("a.yaml", "").contains("there is no Deployment"));
    assert!(run("a.yaml", &deployment("no-such-command")).contains("the command no-such-command does not exist"));
    let unknown = Command::new(mesh()).arg("no-such-task").output().unwrap();
    assert_eq!(unknown.status.code(), Some(64));
}

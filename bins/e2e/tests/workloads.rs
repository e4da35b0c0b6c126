//! Workloads of a running mesh, as they come, change and go with an edit.

use std::time::Duration;

use meshkit_e2e::{Demo, eventually};

/// Long enough for a busy machine to start a few processes.
const LATER: Duration = Duration::from_secs(30);

fn pods(demo: &Demo, workload: &str) -> Vec<String> {
    demo.replicas().into_iter().map(|(pod, _)| pod).filter(|pod| pod.starts_with(workload)).collect()
}

/// How many requests of other workloads a replica was given.
fn requests(demo: &Demo, pod: &str) -> f64 {
    let metrics = demo.metrics(pod);
    let counted = metrics.lines().filter(|line| line.starts_with("request_total{") && line.contains("direction=\"inbound\""));
    counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn replicas_come_change_and_go_while_the_application_serves() {
    let demo = Demo::start();
    let serves = || assert_eq!(demo.status("/api/list"), 200);

    let _ = demo.edit("10-emoji.yaml", "replicas: 2", "replicas: 3");
    let joined = eventually(LATER, || {
        serves();
        (pods(&demo, "emoji").len() == 3 && requests(&demo, "emoji-2") > 0.0).then_some(())
    });
    assert!(joined.is_some(), "the third replica is not used: {:?}", pods(&demo, "emoji"));

    // One after the other is restarted with its new environment; the proxies stay.
    let apps = || demo.processes(&["demo-app", "emoji"]);
    let (before, proxies) = (apps(), demo.processes(&["proxy"]));
    assert_eq!(before.len(), 3);
    let _ = demo.edit("10-emoji.yaml", "value: \"8801\"", "value: \"8801\"\n            - name: SPARE\n              value: \"1\"");
    let replaced = eventually(LATER, || {
        serves();
        let now = apps();
        (now.len() == 3 && now.iter().all(|id| !before.contains(id))).then_some(())
    });
    assert!(replaced.is_some(), "{before:?} became {:?}", apps());
    assert_eq!(demo.processes(&["proxy"]), proxies);

    let _ = demo.edit("10-emoji.yaml", "replicas: 3", "replicas: 1");
    let left = eventually(LATER, || {
        serves();
        (apps().len() == 1 && demo.processes(&["proxy"]).len() == proxies.len() - 2).then_some(())
    });
    assert!(left.is_some(), "{:?}", apps());
    assert_eq!(pods(&demo, "emoji"), ["emoji-0"]);
}

#[test]
fn a_proxy_with_other_settings_is_restarted_alone() {
    let demo = Demo::start();
    let proxies = || demo.processes(&["proxy"]);
    let before = proxies();
    let _ = demo.edit(
        "12-web.yaml",
        "  template:\n    metadata:\n",
        "  template:\n    metadata:\n      annotations: {config.linkerd.io/proxy-cpu-limit: \"2\", config.linkerd.io/access-log: apache}\n",
    );
    let restarted = eventually(LATER, || {
        let now = proxies();
        let kept = now.iter().filter(|id| before.contains(id)).count();
        (now.len() == before.len() && kept == before.len() - 1 && demo.status("/api/list") == 200).then_some(())
    });
    assert!(restarted.is_some(), "{before:?} became {:?}", proxies());

    // One of the settings was the access log: whoever asked is in it, once for each request.
    let log = || std::fs::read_to_string(demo.dir().join(".mesh/logs/emojivoto.web-0.linkerd-proxy.log")).unwrap_or_default();
    let line = eventually(LATER, || {
        log().lines().find(|line| line.contains("GET") && line.contains("/api/list HTTP/1.1\" 200")).map(str::to_owned)
    });
    let line = line.unwrap_or_else(|| panic!("no line in {}", log()));
    assert!(line.contains(" - [20") && (line.contains(" - - [") || line.contains(".serviceaccount.identity.")), "{line}");
}

#[test]
fn an_edit_that_cannot_run_changes_nothing_and_is_said() {
    let demo = Demo::start();
    let everything = || demo.processes(&[]);
    let before = everything();
    let whole = demo.edit("10-emoji.yaml", "command: [\"mesh\", ", "command: [\"no-such-program\", ");
    assert!(demo.says("emojivoto/emoji-0 emoji: the command no-such-program does not exist: everything runs on as it did"));
    assert_eq!(everything(), before);
    assert_eq!(demo.status("/api/list"), 200);

    demo.write("10-emoji.yaml", &whole.replace("spec:\n  replicas: 2", "spec: [\n  replicas: 2"));
    assert!(demo.says("10-emoji.yaml:"));
    assert_eq!(everything(), before);
}

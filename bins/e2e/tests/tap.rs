//! Live requests of the running demo, as `mesh tap` shows them.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use meshkit_e2e::{Demo, mesh};
use serde_json::Value;

/// The first events that `mesh tap` shows, up to the one that `last` takes for the last.
fn tap(demo: &Demo, words: &[&str], last: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    // Where nothing is seen, `timeout` ends it.
    let mut child = Command::new("timeout")
        .args(["--kill-after=5", "30"])
        .arg(mesh())
        .args(["tap", "-o", "json", "--dir"])
        .arg(demo.dir())
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("mesh tap is started");
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut events = Vec::new();
    for line in stdout.lines().map_while(Result::ok) {
        events.push(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}")));
        if last(&events) || events.len() > 5000 {
            break;
        }
    }
    // Killed, `timeout` would leave what it started behind; asked to end, it passes that on.
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let _ = child.wait();
    events
}

fn of<'a>(events: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    let kind = kind.to_owned();
    events.iter().filter(move |event| event.get(&kind).is_some())
}

#[test]
fn a_request_is_seen_on_both_sides_of_its_proxy_with_who_sent_it() {
    let demo = Demo::start();
    let events = tap(&demo, &["deploy/web", "--max-rps", "1000"], |events| {
        let ended = of(events, "responseEndEvent");
        let sides: std::collections::BTreeSet<_> = ended.filter_map(|event| event["proxyDirection"].as_str()).collect();
        sides.len() == 2
    });
    let side = |kind: &str, direction: &str| of(&events, kind).find(|event| event["proxyDirection"] == direction).cloned();
    let inbound = side("requestInitEvent", "INBOUND").unwrap_or_else(|| panic!("{events:?}"));
    assert_eq!(inbound["source"]["metadata"]["tls"], "true", "{inbound}");
    let client = inbound["source"]["metadata"]["client_id"].as_str().unwrap();
    assert!(client.starts_with("default.emojivoto."), "{client}");
    assert!(inbound["requestInitEvent"]["path"].as_str().is_some_and(|path| path.starts_with("/api/")), "{inbound}");
    assert!(inbound["requestInitEvent"]["headers"].as_array().is_some_and(|headers| !headers.is_empty()), "{inbound}");

    let outbound = side("requestInitEvent", "OUTBOUND").unwrap_or_else(|| panic!("{events:?}"));
    let metadata = &outbound["destination"]["metadata"];
    assert_eq!(metadata["tls"], "true", "{outbound}");
    assert!(metadata["deployment"].is_string() && metadata["server_id"].is_string(), "{outbound}");
    let ended = side("responseEndEvent", "OUTBOUND").unwrap();
    assert!(ended["responseEndEvent"]["grpcStatusCode"].is_u64(), "calls of web are gRPC: {ended}");
}

#[test]
fn what_is_asked_for_is_all_that_is_seen() {
    let demo = Demo::start();
    let events = tap(&demo, &["web", "--to", "deploy/emoji", "--method", "POST"], |events| of(events, "requestInitEvent").count() >= 5);
    for event in of(&events, "requestInitEvent") {
        assert_eq!(event["destination"]["metadata"]["deployment"], "emoji", "{event}");
        assert_eq!(event["requestInitEvent"]["method"], "POST", "{event}");
    }
    let nobody = Command::new(mesh()).args(["tap", "deploy/nobody", "--dir"]).arg(demo.dir()).output().expect("mesh tap is started");
    let said = String::from_utf8_lossy(&nobody.stderr);
    assert!(!nobody.status.success() && said.contains("deploy/nobody is not there; there are emojivoto/"), "{said}");
}

//! Processes of the demo that are killed under load: no wrong answer, no plaintext, and soon everything is as it was.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use meshkit_e2e::{Demo, eventually, signal};

use crate::{
    clients::{CLIENTS, Load, failures, wrong},
    processes::{command_line, process_of},
};

/// How soon the mesh serves again.
const RECOVERY: Duration = Duration::from_secs(5);
/// Answers in a row without a failure that count as recovered.
const STEADY: usize = 100;

fn kill(id: Option<u32>, what: &str) -> u32 {
    let id = id.unwrap_or_else(|| panic!("no {what} runs"));
    signal(id, "KILL");
    id
}

/// No request came to a workload in plaintext; what people send to `web` is theirs.
fn is_encrypted(demo: &Demo) {
    for (pod, _) in demo.replicas().into_iter().filter(|(pod, _)| !pod.starts_with("web")) {
        let metrics = demo.metrics(&pod);
        let plain = metrics.lines().find(|line| {
            line.starts_with("request_total{") && line.contains("direction=\"inbound\"") && line.contains("tls=\"no_identity\"")
        });
        assert_eq!(plain, None, "{pod}");
    }
}

/// From some moment within the limit on, nothing fails any more.
fn recovers(load: &Load, what: &str) {
    let mut last = Vec::new();
    let recovered = eventually(RECOVERY, || {
        last = load.next(STEADY);
        failures(&last).is_empty().then_some(())
    });
    assert!(recovered.is_some(), "{what}: still failing: {:?}", failures(&last));
}

#[test]
fn one_replica_of_two_is_killed_and_no_more_fails_than_was_in_flight_on_it() {
    let demo = Demo::start();
    let load = Load::start(demo.published());
    assert!(failures(&load.next(STEADY)).is_empty());

    for (pod, words) in [("emoji-0", &["proxy"][..]), ("emoji-1", &["demo-app"]), ("emoji-0", &["proxy", "demo-app"])] {
        let from = load.count();
        let killed: Vec<_> = words.iter().map(|word| (*word, kill(process_of(&demo, pod, word), word))).collect();
        recovers(&load, &format!("{pod} {words:?}"));
        let answers = load.since(from);
        assert!(wrong(&answers).is_empty(), "{pod} {words:?}: {:?}", wrong(&answers));
        assert!(failures(&answers).len() <= CLIENTS, "{pod} {words:?}: {:?}", failures(&answers));
        let back = eventually(RECOVERY, || {
            killed.iter().all(|(word, id)| process_of(&demo, pod, word).is_some_and(|now| now != *id)).then_some(())
        });
        assert!(back.is_some(), "{pod} {words:?} is started again");
        // The next one is killed when both serve.
        let before = requests(&demo, pod);
        assert!(eventually(RECOVERY * 2, || (requests(&demo, pod) > before).then_some(())).is_some(), "{pod} is used again");
    }
    is_encrypted(&demo);
}

/// How many requests of others a replica was given.
fn requests(demo: &Demo, pod: &str) -> f64 {
    let metrics = demo.metrics(pod);
    let counted = metrics.lines().filter(|line| line.starts_with("request_total{") && line.contains("direction=\"inbound\""));
    counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn what_exists_once_is_killed_and_is_back_soon() {
    let demo = Demo::start();
    let load = Load::start(demo.published());
    assert!(failures(&load.next(STEADY)).is_empty());
    let restarted = |word: &str, find: &dyn Fn() -> Option<u32>, before: u32| {
        let back = eventually(RECOVERY, || find().filter(|now| *now != before));
        assert!(back.is_some(), "{word} is started again");
    };

    // Nobody notices: the data path has what it needs.
    let control = || demo.processes(&["control-plane"]).first().copied();
    let from = load.count();
    let before = kill(control(), "control plane");
    load.next(STEADY);
    restarted("the control plane", &control, before);
    load.next(STEADY);
    assert!(failures(&load.since(from)).is_empty(), "{:?}", failures(&load.since(from)));

    for words in [&["demo-app"][..], &["proxy"], &["proxy", "demo-app"]] {
        let from = load.count();
        let killed: Vec<_> = words.iter().map(|word| (*word, kill(process_of(&demo, "web-0", word), word))).collect();
        for (word, before) in killed {
            restarted(word, &|| process_of(&demo, "web-0", word), before);
        }
        recovers(&load, &format!("web {words:?}"));
        let answers = load.since(from);
        assert!(wrong(&answers).is_empty(), "web {words:?}: {:?}", wrong(&answers));
    }
    is_encrypted(&demo);
}

#[test]
fn whatever_ends_the_supervisor_no_process_and_no_listener_is_left() {
    for name in ["INT", "KILL"] {
        let demo = Demo::start();
        let load = Load::start(demo.published());
        load.next(STEADY);
        let children = demo.processes(&[]);
        assert!(children.len() > 10, "{children:?}");
        let mut listeners = vec![demo.published()];
        for (pod, admin) in demo.replicas() {
            listeners.push(admin.parse::<SocketAddr>().unwrap());
            listeners.push(SocketAddr::new(demo.ip(&pod), 4143));
        }
        signal(demo.id(), name);
        let left = || children.iter().filter_map(|id| command_line(*id)).collect::<Vec<_>>();
        let gone = eventually(Duration::from_secs(20), || (left().is_empty() && command_line(demo.id()).is_none()).then_some(()));
        assert!(gone.is_some(), "{name}: {:?}", left());
        for addr in listeners {
            assert!(TcpStream::connect(addr).is_err(), "{name}: somebody still listens on {addr}");
        }
    }
}

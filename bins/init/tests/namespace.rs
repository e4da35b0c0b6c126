//! The rules in real network namespaces: made by the real programs, met by real connections.
//!
//! A pod and its peer, each in a namespace of its own, joined by a virtual cable. Every listener answers with the port it listens on and with where the connection
//! was meant to go, as the proxy sees it. Needs root, `ip`, `nsenter`, `setpriv`, `curl` and iptables; says so in one line where one is missing.

#![allow(clippy::unwrap_used)] // A helper's unwrap is its test's.

mod common;

use std::time::Duration;

use common::{Net, missing, search_path};
use meshkit_init::{
    apply::Target,
    rules::{Redirect, iptables::Mode},
};

/// The settings of every test here.
fn redirect() -> Redirect {
    Redirect::new(4143, 4140)
        .proxy_uid(2102)
        .proxy_gid(2103)
        .ignore_inbound(["4190", "4191", "3000-3010"].map(|text| text.parse().unwrap()))
        .ignore_outbound(["443".parse().unwrap()])
        .ignore_subnets(["10.77.0.3/32", "fd77::3/128"].map(|text| text.parse().unwrap()))
}

/// What each connection must meet once the rules are there.
fn check_redirected(net: &Net) {
    for family in [net.v4(), net.v6()] {
        let (pod, peer, other) = (family.pod, family.peer, family.other);
        let to_pod = |port| net.peer_curl(pod, port, None);
        assert_eq!(to_pod(8080), format!("pod 4143 for {}", family.at(pod, 8080)), "incoming");
        assert_eq!(to_pod(4191), format!("pod 4191 for {}", family.at(pod, 4191)), "incoming to an ignored port");
        assert_eq!(to_pod(3005), format!("pod 3005 for {}", family.at(pod, 3005)), "incoming to an ignored range");
        assert_eq!(
            net.peer_curl(pod, 8080, Some(other)),
            format!("pod 8080 for {}", family.at(pod, 8080)),
            "incoming from an ignored subnet"
        );

        let to_peer = |port, who: &[&str]| net.pod_curl(peer, port, who);
        assert_eq!(to_peer(80, &[]), format!("pod 4140 for {}", family.at(peer, 80)), "outgoing");
        assert_eq!(to_peer(443, &[]), format!("peer 443 for {}", family.at(peer, 443)), "outgoing to an ignored port");
        let proxy = ["--reuid=2102", "--clear-groups"];
        assert_eq!(to_peer(80, &proxy), format!("peer 80 for {}", family.at(peer, 80)), "outgoing from the proxy");
        let group = ["--regid=2103", "--clear-groups"];
        assert_eq!(to_peer(80, &group), format!("peer 80 for {}", family.at(peer, 80)), "outgoing from the proxy's group");
        let application = ["--reuid=1000", "--clear-groups"];
        assert_eq!(to_peer(80, &application), format!("pod 4140 for {}", family.at(peer, 80)), "outgoing from another user");
        assert_eq!(net.pod_curl(pod, 8080, &[]), format!("pod 8080 for {}", family.at(pod, 8080)), "to itself");
        // What only matches the outbound list is no exception for what comes in, and the other way round.
        assert_eq!(to_pod(443), format!("pod 4143 for {}", family.at(pod, 443)), "incoming to a port ignored outbound");
        assert_eq!(to_peer(4191, &[]), format!("pod 4140 for {}", family.at(peer, 4191)), "outgoing to a port ignored inbound");
    }
    net.check_udp();
}

fn check_direct(net: &Net) {
    for family in [net.v4(), net.v6()] {
        assert_eq!(net.peer_curl(family.pod, 8080, None).split(" for ").next(), Some("pod 8080"));
        assert_eq!(net.pod_curl(family.peer, 80, &[]).split(" for ").next(), Some("peer 80"));
    }
}

/// The whole life of the rules in one namespace.
fn life(mode: Mode, path: &str, programs: &[&str], print: &[&str]) {
    if let Some(reason) = missing(programs) {
        println!("skipped: {reason}");
        return;
    }
    let net = Net::new();
    net.listen("pod", &[4140, 4143, 4191, 3005, 8080]);
    net.listen("peer", &[80, 443]);
    check_direct(&net);

    let target = Target::new(mode, path).netns(net.pod_file());
    net.block_on(target.apply(&redirect())).unwrap();
    check_redirected(&net);

    // Again, as a restarted init container does: the same rules, once each.
    let before = net.pod_prints(print);
    assert!(before.contains("PROXY_INIT_OUTPUT"), "{before}");
    net.block_on(target.apply(&redirect())).unwrap();
    assert_eq!(net.pod_prints(print), before);
    check_redirected(&net);

    net.block_on(target.remove()).unwrap();
    let after = net.pod_prints(print);
    assert!(!after.contains("PROXY_INIT") && !after.contains("proxy_init"), "{after}");
    check_direct(&net);
    // Where there is nothing, nothing is removed.
    net.block_on(target.remove()).unwrap();
}

#[test]
fn legacy_rules_redirect_and_go() {
    let print = ["sh", "-c", "iptables-legacy-save -t nat; ip6tables-legacy-save -t nat"];
    life(Mode::Legacy, &search_path(), &["iptables-legacy", "ip6tables-legacy"], &print);
}

#[test]
fn nft_rules_redirect_and_go() {
    let print = ["sh", "-c", "iptables-nft-save -t nat; ip6tables-nft-save -t nat"];
    life(Mode::Nft, &search_path(), &["iptables-nft", "ip6tables-nft"], &print);
}

#[test]
fn plain_rules_redirect_and_go() {
    let print = ["sh", "-c", "iptables-save -t nat; ip6tables-save -t nat"];
    life(Mode::Plain, &search_path(), &["iptables", "ip6tables"], &print);
}

#[test]
fn without_iptables_nft_itself_redirects() {
    if let Some(reason) = missing(&["nft"]) {
        println!("skipped: {reason}");
        return;
    }
    let folder = common::only(&["nsenter", "nft"]);
    life(Mode::Nft, &folder.path().display().to_string(), &["nft"], &["nft", "list", "ruleset"]);
}

#[test]
fn a_missing_mode_falls_back_to_one_that_is_there() {
    if let Some(reason) = missing(&["iptables-legacy", "ip6tables-legacy"]) {
        println!("skipped: {reason}");
        return;
    }
    let names = ["nsenter", "iptables-legacy", "iptables-legacy-save", "ip6tables-legacy", "ip6tables-legacy-save"];
    let folder = common::only(&names);
    let net = Net::new();
    let target = Target::new(Mode::Nft, folder.path()).netns(net.pod_file());
    net.block_on(target.apply(&redirect())).unwrap();
    assert!(net.pod_prints(&["iptables-legacy-save", "-t", "nat"]).contains("PROXY_INIT_OUTPUT"));
    assert!(net.pod_prints(&["ip6tables-legacy-save", "-t", "nat"]).contains("PROXY_INIT_OUTPUT"));
}

#[test]
fn listed_ports_alone_are_redirected() {
    if let Some(reason) = missing(&["iptables-nft", "ip6tables-nft"]) {
        println!("skipped: {reason}");
        return;
    }
    let net = Net::new();
    net.listen("pod", &[4143, 8080, 8081]);
    let target = Target::new(Mode::Nft, search_path()).netns(net.pod_file()).wait();
    net.block_on(target.apply(&Redirect::new(4143, 4140).only_ports(vec![8081]))).unwrap();
    for family in [net.v4(), net.v6()] {
        assert_eq!(net.peer_curl(family.pod, 8080, None), format!("pod 8080 for {}", family.at(family.pod, 8080)));
        assert_eq!(net.peer_curl(family.pod, 8081, None), format!("pod 4143 for {}", family.at(family.pod, 8081)));
    }
}

#[test]
fn simulating_changes_nothing_and_no_ipv6_means_none() {
    if let Some(reason) = missing(&["iptables-nft", "ip6tables-nft"]) {
        println!("skipped: {reason}");
        return;
    }
    let net = Net::new();
    let target = Target::new(Mode::Nft, search_path()).netns(net.pod_file());
    net.block_on(target.clone().simulate().apply(&redirect())).unwrap();
    assert!(!net.pod_prints(&["iptables-nft-save", "-t", "nat"]).contains("PROXY_INIT"));
    net.block_on(target.without_ipv6().apply(&redirect())).unwrap();
    assert!(net.pod_prints(&["iptables-nft-save", "-t", "nat"]).contains("PROXY_INIT"));
    assert!(!net.pod_prints(&["ip6tables-nft-save", "-t", "nat"]).contains("PROXY_INIT"));
}

#[test]
fn the_validator_sees_whether_the_rules_are_there() {
    if let Some(reason) = missing(&["iptables-nft", "ip6tables-nft"]) {
        println!("skipped: {reason}");
        return;
    }
    let net = Net::new();
    // Those of the chart. Nobody is there: the peer drops what it does not know.
    let tries = [("1.1.1.1:20001", "0.0.0.0:4140"), ("[fd00::1]:20001", "[::]:4140")];
    for (connect, listen) in tries {
        net.validate(connect, listen).unwrap_err();
    }
    let target = Target::new(Mode::Nft, search_path()).netns(net.pod_file());
    net.block_on(target.apply(&redirect())).unwrap();
    for (connect, listen) in tries {
        net.validate(connect, listen).unwrap();
    }
}

#[test]
fn a_refusal_by_iptables_is_told_in_its_words() {
    if let Some(reason) = missing(&["iptables-nft"]) {
        println!("skipped: {reason}");
        return;
    }
    let net = Net::new();
    let target = Target::new(Mode::Nft, search_path()).netns("/run/netns/no-such-namespace");
    let error = net.block_on(target.apply(&redirect())).unwrap_err().to_string();
    assert!(
        error.starts_with("`nsenter --net=/run/netns/no-such-namespace -- iptables-nft-save -t nat` failed (exit status: 1)"),
        "{error}"
    );
    assert!(error.contains("No such file or directory"), "{error}");
}

#[test]
fn closed_connections_are_remembered_as_long_as_said() {
    if let Some(reason) = missing(&["iptables-nft", "ip6tables-nft"]) {
        println!("skipped: {reason}");
        return;
    }
    let net = Net::new();
    let print = ["cat", "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait"];
    let target = Target::new(Mode::Nft, search_path());
    net.within("pod", || net.block_on(target.clone().close_wait(Duration::from_secs(3601)).apply(&redirect()))).unwrap();
    assert_eq!(net.pod_prints(&print), "3601");
    let elsewhere = target.netns(net.pod_file()).close_wait(Duration::from_secs(3602));
    net.block_on(elsewhere.apply(&redirect())).unwrap();
    assert_eq!(net.pod_prints(&print), "3602");
}

//! The programs as processes: what they exit with, and what they leave behind.

#![allow(clippy::unwrap_used)] // A helper's unwrap is its test's.

mod common;

use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::symlink,
    process::{Child, Command, Output, Stdio},
};

use common::{Net, missing, search_path};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_meshkit-init");

/// A program by its own name.
fn called(name: &str) -> (TempDir, Command) {
    let folder = TempDir::new().unwrap();
    symlink(PROGRAM, folder.path().join(name)).unwrap();
    let command = Command::new(folder.path().join(name));
    (folder, command)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const INIT: [&str; 6] = ["--incoming-proxy-port", "4143", "--outgoing-proxy-port", "4140", "--proxy-uid", "2102"];

#[test]
fn bad_usage_exits_with_64_and_names_the_argument() {
    let (_folder, mut init) = called("linkerd2-proxy-init");
    let output = init.args(["--incoming-proxy-port", "4143"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output).contains("--outgoing-proxy-port"), "{}", text(&output));

    let (_folder, mut validate) = called("linkerd2-network-validator");
    let output = validate.args(["--timeout", "ten"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output).contains("\"ten\" is no time"), "{}", text(&output));

    let (_folder, mut install) = called("install-cni");
    let output = install.env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output).contains("CNI_NETWORK_CONFIG is not set"), "{}", text(&output));

    let output = Command::new(PROGRAM).arg("something").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn simulating_prints_the_commands_and_needs_nothing() {
    let output = Command::new(PROGRAM)
        .args(["linkerd2-proxy-init", "--simulate", "--iptables-mode=nft", "--ipv6=false", "--timeout-close-wait-secs=60"])
        .args(INIT)
        .env("PATH", "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = text(&output);
    for line in [
        "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_close_wait=60",
        "iptables-nft -t nat -A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -j RETURN -m comment --comment proxy-init/ignore-proxy-user-id",
        "iptables-nft -t nat -A OUTPUT -j PROXY_INIT_OUTPUT",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert!(!said.contains("ip6tables"), "{said}");
}

#[test]
fn without_iptables_it_exits_with_1_and_says_what_is_missing() {
    let output = Command::new(PROGRAM).arg("linkerd2-proxy-init").args(INIT).env("PATH", "").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("neither iptables-legacy nor another iptables"), "{}", text(&output));
}

#[test]
fn without_capabilities_it_exits_with_1_and_names_them() {
    if let Some(reason) = missing(&["iptables-nft", "iptables-legacy"]) {
        println!("skipped: {reason}");
        return;
    }
    let (net, folder) = (Net::new(), TempDir::new().unwrap());
    // A copy where every user gets at it.
    let program = folder.path().join("linkerd2-proxy-init");
    std::fs::copy(PROGRAM, &program).unwrap();
    common::run("chmod", &["755", &folder.path().display().to_string()]);
    for mode in ["nft", "legacy"] {
        let output = Command::new("nsenter")
            .args([&format!("--net={}", net.pod_file().display()), "--", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(["--iptables-mode", mode])
            .args(INIT)
            .env("PATH", search_path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("it needs the capabilities NET_ADMIN and NET_RAW"), "{}", text(&output));
    }
}

#[test]
fn the_init_container_and_then_the_validator_succeed() {
    if let Some(reason) = missing(&["iptables-nft", "ip6tables-nft"]) {
        println!("skipped: {reason}");
        return;
    }
    let net = Net::new();
    let inside = |args: &[&str]| {
        let netns = format!("--net={}", net.pod_file().display());
        Command::new("nsenter").args([&netns, "--", PROGRAM]).args(args).env("PATH", search_path()).output().unwrap()
    };
    let validate = ["linkerd2-network-validator", "--connect-addr", "1.1.1.1:20001", "--listen-addr", "0.0.0.0:4140", "--timeout", "1s"];
    let output = inside(&validate);
    assert_eq!(output.status.code(), Some(95), "{}", text(&output));
    assert!(text(&output).contains("was not redirected to the proxy"), "{}", text(&output));

    let init = inside(&[&["linkerd2-proxy-init", "--firewall-bin-path", "iptables-nft"][..], &INIT].concat());
    assert_eq!(init.status.code(), Some(0), "{}", text(&init));
    let output = inside(&validate);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn a_stopped_validator_lets_no_pod_start() {
    // It has no answer for ever: the address is its own, of somebody who does not speak.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = silent.local_addr().unwrap().to_string();
    let mut child: Child = Command::new(PROGRAM)
        .args([
            "linkerd2-network-validator",
            "--log-level",
            "debug",
            "--connect-addr",
            &connect,
            "--listen-addr",
            "127.0.0.1:0",
            "--timeout",
            "5m",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("connecting")));
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(95));
    assert!(lines.any(|line| line.unwrap().contains("before a connection was redirected")));
}

/// The image gives the programs their capabilities as files, because the init container runs as nobody.
#[test]
fn nobody_makes_rules_with_programs_that_have_the_capabilities() {
    if let Some(reason) = missing(&["iptables-nft", "iptables-legacy", "setcap"]) {
        println!("skipped: {reason}");
        return;
    }
    let (net, folder) = (Net::new(), TempDir::new().unwrap());
    common::run("chmod", &["777", &folder.path().display().to_string()]);
    let copy = |from: &std::path::Path, name: &str| {
        let to = folder.path().join(name);
        std::fs::copy(from, &to).unwrap();
        to.display().to_string()
    };
    let program = copy(PROGRAM.as_ref(), "linkerd2-proxy-init");
    for multi in ["xtables-nft-multi", "xtables-legacy-multi"] {
        let to = copy(&std::path::Path::new("/usr/sbin").join(multi), multi);
        common::run("setcap", &["cap_net_admin,cap_net_raw+eip", &to]);
    }
    for mode in ["nft", "legacy"] {
        for name in ["iptables", "ip6tables"].map(|family| format!("{family}-{mode}")) {
            symlink(format!("xtables-{mode}-multi"), folder.path().join(&name)).unwrap();
            symlink(format!("xtables-{mode}-multi"), folder.path().join(format!("{name}-save"))).unwrap();
        }
        let output = Command::new("nsenter")
            .args([&format!("--net={}", net.pod_file().display()), "--", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
            .args([&program, "--iptables-mode", mode])
            .args(INIT)
            .env("PATH", format!("{}:{}", folder.path().display(), search_path()))
            .env("XTABLES_LOCKFILE", folder.path().join("lock"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{mode}: {}", text(&output));
        assert!(net.pod_prints(&[&format!("ip6tables-{mode}-save"), "-t", "nat"]).contains("PROXY_INIT_OUTPUT"));
    }
}

#[test]
fn the_installer_equips_a_node_and_cleans_up_when_it_is_stopped() {
    if let Some(reason) = missing(&["unshare", "mount"]) {
        println!("skipped: {reason}");
        return;
    }
    let host = TempDir::new().unwrap();
    let (net_dir, bin_dir) = (host.path().join("etc/cni/net.d"), host.path().join("opt/cni/bin"));
    for folder in [&net_dir, &bin_dir] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let before = r#"{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"ptp"}]}"#;
    let list = net_dir.join("10-n.conflist");
    std::fs::write(&list, before).unwrap();
    // The account of a pod, where only this process sees it.
    let account = "mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount && cd /run/secrets/kubernetes.io/serviceaccount \
                   && echo CA > ca.crt && echo token > token && exec \"$0\" install-cni";
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-c", account, PROGRAM])
        .env("CONTAINER_MOUNT_PREFIX", host.path())
        .env("CNI_NETWORK_CONFIG", r#"{"name":"linkerd-cni","type":"linkerd-cni","kubernetes":{"kubeconfig":"__KUBECONFIG_FILEPATH__"}}"#)
        .env("KUBERNETES_SERVICE_HOST", "10.96.0.1")
        .env("SLEEP", "true")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("wrote a network configuration")));
    assert!(std::fs::read_to_string(&list).unwrap().contains("\"/etc/cni/net.d/ZZZ-linkerd-cni-kubeconfig\""));
    // What it installed is a plugin.
    let version = Command::new(bin_dir.join("linkerd-cni")).env("CNI_COMMAND", "VERSION").stdin(Stdio::null()).output().unwrap();
    assert!(text(&version).contains("supportedVersions"), "{}", text(&version));

    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(json(&std::fs::read_to_string(&list).unwrap()), json(before));
    let left = |folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!((left(&net_dir), left(&bin_dir)), (vec!["10-n.conflist".into()], Vec::new()));
}

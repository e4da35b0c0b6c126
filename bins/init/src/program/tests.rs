//! What the command lines mean.

use crate::rules::{
    Family,
    iptables::{self, Existing},
};

use super::*;

fn init(args: &[&str]) -> Init {
    alone(std::iter::once(&"linkerd2-proxy-init").chain(args).map(OsString::from)).expect("usable arguments")
}

#[test]
fn the_injectors_arguments_are_understood() {
    let init = init(&[
        "--firewall-bin-path",
        "iptables-nft",
        "--firewall-save-bin-path",
        "iptables-nft-save",
        "--ipv6=false",
        "--incoming-proxy-port",
        "4143",
        "--outgoing-proxy-port",
        "4140",
        "--proxy-uid",
        "2102",
        "--inbound-ports-to-ignore",
        "4190,4191,4567,4568",
        "--outbound-ports-to-ignore",
        "4567,4568",
        "--timeout-close-wait-secs",
        "3600",
        "--log-format",
        "json",
        "--log-level",
        "warning",
        "--subnets-to-ignore",
        "10.0.0.0/8,fd00::/8",
    ]);
    let range = |text: &str| text.parse::<PortRange>().unwrap();
    let expected = Redirect::new(4143, 4140)
        .proxy_uid(2102)
        .ignore_inbound(["4190", "4191", "4567", "4568"].map(range))
        .ignore_outbound(["4567", "4568"].map(range))
        .ignore_subnets(["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()));
    assert_eq!(init.redirect(), expected);
    assert_eq!((init.mode(), init.ipv6, init.timeout_close_wait_secs), (Mode::Nft, false, 3600));
    assert_eq!(level(&init.log_level), "warn");
}

#[test]
fn defaults_are_legacy_both_families_and_no_exemption() {
    let init = init(&["-p", "1", "-o", "2"]);
    assert_eq!((init.mode(), init.ipv6, init.simulate, init.use_wait_flag), (Mode::Legacy, true, false, false));
    let commands = iptables::install(&init.redirect(), init.mode(), Family::V4, &Existing::default());
    assert!(commands.iter().all(|command| !command.to_string().contains("owner")));
}

#[test]
fn short_flags_and_negative_owners_are_understood() {
    let init = init(&["-p", "1", "-o", "2", "-u", "-1", "--proxy-gid", "7", "-r", "80,81", "-r", "82", "-w", "--simulate"]);
    assert_eq!(init.redirect(), Redirect::new(1, 2).proxy_gid(7).only_ports(vec![80, 81, 82]));
    assert!(init.use_wait_flag && init.simulate);
}

#[test]
fn the_mode_goes_before_the_program() {
    let args = |mode, program| init(&["-p", "1", "-o", "2", "--iptables-mode", mode, "--firewall-bin-path", program]).mode();
    assert_eq!(args("legacy", "iptables-nft"), Mode::Legacy);
    assert_eq!(args("plain", ""), Mode::Plain);
    assert_eq!(args("", "iptables"), Mode::Plain);
    assert_eq!(args("", ""), Mode::Legacy);
}

#[test]
fn ports_that_are_none_are_passed_over() {
    let init = init(&["-p", "1", "-o", "2", "--inbound-ports-to-ignore", "80,http,9-8", "--outbound-ports-to-ignore", ""]);
    assert_eq!(init.redirect(), Redirect::new(1, 2).ignore_inbound([PortRange::single(80)]));
}

#[test]
fn what_cannot_be_used_is_bad_usage() {
    for args in [
        &["-p", "1"][..],
        &["-p", "-1", "-o", "2"],
        &["-p", "65536", "-o", "2"],
        &["-p", "1", "-o", "2", "--subnets-to-ignore", "10.0.0.0/33"],
        &["-p", "1", "-o", "2", "--firewall-bin-path", "ufw"],
        &["-p", "1", "-o", "2", "--iptables-mode", "bpf"],
        &["-p", "1", "-o", "2", "--proxy-uid", "4294967296"],
        &["-p", "1", "-o", "2", "--log-level", "verbose"],
    ] {
        let name = "linkerd2-proxy-init";
        let result = alone::<Init>(std::iter::once(&name).chain(args).map(OsString::from));
        assert_eq!(result.err(), Some(ExitCode::from(64)), "{args:?}");
    }
}

#[test]
fn the_injectors_validator_arguments_are_understood() {
    let args = "linkerd2-network-validator --log-format plain --log-level debug --connect-addr [fd00::1]:20001 --listen-addr [::]:4140 --timeout 10s";
    let validate = alone::<Validate>(args.split(' ').map(OsString::from)).expect("usable arguments");
    assert_eq!(validate.connect_addr, "[fd00::1]:20001".parse().unwrap());
    assert_eq!(validate.listen_addr, "[::]:4140".parse().unwrap());
    assert_eq!(validate.timeout, Duration::from_secs(10));
}

#[test]
fn times_have_a_unit() {
    assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
    for wrong in ["10", "s", "", "1h", "99999999999999999999s", "18446744073709551615m", "-1s"] {
        assert!(duration(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn other_names_are_other_programs() {
    assert_eq!(named("/usr/bin/mesh".as_ref(), []), None);
    assert_eq!(named("".as_ref(), []), None);
}

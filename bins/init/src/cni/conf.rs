//! What the plugin is told: the configuration on standard input.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{
    apply::Target,
    ports::{PortRange, parse_list},
    rules::{Redirect, iptables::Mode},
};

/// The configuration of a network, as the container runtime passes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NetConf {
    /// Version of the CNI specification that the runtime speaks here.
    #[serde(rename = "cniVersion")]
    pub cni_version: String,
    /// What the plugins before this one did.
    #[serde(rename = "prevResult")]
    pub prev_result: Option<Value>,
    /// What is logged.
    pub log_level: String,
    /// Where pods are looked up.
    pub kubernetes: Kubernetes,
    /// What is redirected.
    pub linkerd: Settings,
}

/// Where pods are looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Kubernetes {
    /// A file on the node.
    pub kubeconfig: PathBuf,
}

/// What is redirected in pods that say nothing themselves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Where incoming connections go.
    pub incoming_proxy_port: u16,
    /// Where outgoing connections go.
    pub outgoing_proxy_port: u16,
    /// The user whose connections are left alone; negative for none.
    pub proxy_uid: i64,
    /// The group whose connections are left alone; negative for none.
    pub proxy_gid: i64,
    /// Incoming ports to redirect; none for all.
    pub ports_to_redirect: Vec<u16>,
    /// Incoming ports to leave alone.
    #[serde(deserialize_with = "entries")]
    pub inbound_ports_to_ignore: Vec<String>,
    /// Outgoing ports to leave alone.
    #[serde(deserialize_with = "entries")]
    pub outbound_ports_to_ignore: Vec<String>,
    /// Networks whose connections are left alone when they come in.
    #[serde(deserialize_with = "entries")]
    pub subnets_to_ignore: Vec<String>,
    /// Logs the commands and runs none.
    pub simulate: bool,
    /// Lets iptables wait for its lock.
    pub use_wait_flag: bool,
    /// `legacy`, `nft` or `plain`; legacy where missing.
    pub iptables_mode: String,
    /// Makes rules for IPv6, too.
    pub ipv6: bool,
}

/// The configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidConf {
    reason: String,
}

impl InvalidConf {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl NetConf {
    /// Reads what the runtime writes.
    ///
    /// # Errors
    /// It is no configuration of this plugin.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidConf> {
        serde_json::from_slice(text).map_err(|error| InvalidConf { reason: error.to_string() })
    }
}

impl Settings {
    /// What is redirected, before pods have a say.
    ///
    /// # Errors
    /// A number is none of a user or group, or a network is none.
    pub fn redirect(&self) -> Result<Redirect, InvalidConf> {
        let mut redirect = Redirect::new(self.incoming_proxy_port, self.outgoing_proxy_port).only_ports(self.ports_to_redirect.clone());
        if let Some(uid) = owner(self.proxy_uid, "proxy-uid")? {
            redirect = redirect.proxy_uid(uid);
        }
        if let Some(gid) = owner(self.proxy_gid, "proxy-gid")? {
            redirect = redirect.proxy_gid(gid);
        }
        let subnets: Result<Vec<_>, _> = self.subnets_to_ignore.iter().map(|entry| entry.trim().parse::<ipnet::IpNet>()).collect();
        let subnets = subnets.map_err(|_| InvalidConf { reason: "an entry of subnets-to-ignore is no network (as 10.0.0.0/8)".into() })?;
        Ok(redirect
            .ignore_inbound(ranges(&self.inbound_ports_to_ignore))
            .ignore_outbound(ranges(&self.outbound_ports_to_ignore))
            .ignore_subnets(subnets))
    }

    /// Where and how rules are made for a pod.
    ///
    /// # Errors
    /// The mode is none.
    pub fn target(&self, netns: &str, path: &std::ffi::OsStr) -> Result<Target, InvalidConf> {
        let mode = match self.iptables_mode.as_str() {
            "" | "legacy" => Mode::Legacy,
            "nft" => Mode::Nft,
            "plain" => Mode::Plain,
            other => return Err(InvalidConf { reason: format!("iptables-mode is {other:?}; wanted: legacy, nft or plain") }),
        };
        let mut target = Target::new(mode, path).netns(netns);
        if !self.ipv6 {
            target = target.without_ipv6();
        }
        if self.simulate {
            target = target.simulate();
        }
        if self.use_wait_flag {
            target = target.wait();
        }
        Ok(target)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            incoming_proxy_port: 4143,
            outgoing_proxy_port: 4140,
            proxy_uid: -1,
            proxy_gid: -1,
            ports_to_redirect: Vec::new(),
            inbound_ports_to_ignore: Vec::new(),
            outbound_ports_to_ignore: Vec::new(),
            subnets_to_ignore: Vec::new(),
            simulate: false,
            use_wait_flag: false,
            iptables_mode: String::new(),
            ipv6: false,
        }
    }
}

/// Reads entries that may be lists themselves; entries that are none are logged and passed over.
pub(super) fn ranges(entries: &[String]) -> Vec<PortRange> {
    let (ranges, faults) = parse_list(&entries.join(","));
    faults.iter().for_each(|fault| tracing::error!("{fault}: passed over"));
    ranges
}

pub(super) fn owner(id: i64, name: &str) -> Result<Option<u32>, InvalidConf> {
    if id < 0 {
        return Ok(None);
    }
    u32::try_from(id).map(Some).map_err(|_| InvalidConf { reason: format!("{name} is {id}, which is no user and no group") })
}

/// Ports may be written as numbers, too, and `null` is an empty list.
fn entries<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entry {
        Number(u16),
        Text(String),
    }
    let entries = Option::<Vec<Entry>>::deserialize(input)?.unwrap_or_default();
    let text = |entry| match entry {
        Entry::Number(port) => port.to_string(),
        Entry::Text(text) => text,
    };
    Ok(entries.into_iter().map(text).collect())
}

impl std::fmt::Display for InvalidConf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for InvalidConf {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the chart of Linkerd 2.19 renders, with a cniVersion and prevResult as a runtime adds them.
    const CHART: &str = r#"{
        "cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "linkerd-cni", "log_level": "info",
        "kubernetes": {"kubeconfig": "/etc/cni/net.d/ZZZ-linkerd-cni-kubeconfig"},
        "linkerd": {"incoming-proxy-port": 4143, "outgoing-proxy-port": 4140, "proxy-uid": 2102, "ports-to-redirect": [],
            "inbound-ports-to-ignore": ["4191", "4190", "25,9000-9010"], "outbound-ports-to-ignore": ["443"], "simulate": false,
            "use-wait-flag": false, "iptables-mode": "nft", "ipv6": false},
        "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/24"}]}
    }"#;

    #[test]
    fn the_chart_is_understood() {
        let conf = NetConf::parse(CHART.as_bytes()).unwrap();
        assert_eq!(conf.kubernetes.kubeconfig, PathBuf::from("/etc/cni/net.d/ZZZ-linkerd-cni-kubeconfig"));
        let range = |text: &str| text.parse::<PortRange>().unwrap();
        let expected = Redirect::new(4143, 4140)
            .proxy_uid(2102)
            .ignore_inbound(["4191", "4190", "25", "9000-9010"].map(range))
            .ignore_outbound([range("443")]);
        assert_eq!(conf.linkerd.redirect(), Ok(expected));
        assert_eq!(conf.prev_result.unwrap()["ips"][0]["address"], "10.1.2.3/24");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let refuse = |text: &str| {
            let conf = NetConf::parse(text.as_bytes()).unwrap();
            let target = conf.linkerd.target("/x", "/bin".as_ref()).map(|_| ());
            conf.linkerd.redirect().map(|_| ()).and(target).unwrap_err().to_string()
        };
        assert_eq!(refuse(r#"{"linkerd":{"iptables-mode":"bpf"}}"#), "iptables-mode is \"bpf\"; wanted: legacy, nft or plain");
        assert!(refuse(r#"{"linkerd":{"proxy-uid":4294967296}}"#).starts_with("proxy-uid is 4294967296"));
        assert!(refuse(r#"{"linkerd":{"subnets-to-ignore":["ten"]}}"#).contains("no network"));
        assert!(NetConf::parse(br#"{"linkerd":{"incoming-proxy-port":65536}}"#).is_err());
    }

    #[test]
    fn numbers_and_nulls_are_lists_too() {
        let conf = NetConf::parse(br#"{"linkerd":{"inbound-ports-to-ignore":[80,"81"],"outbound-ports-to-ignore":null}}"#).unwrap();
        assert_eq!(conf.linkerd.inbound_ports_to_ignore, ["80", "81"]);
        assert!(conf.linkerd.outbound_ports_to_ignore.is_empty());
    }
}

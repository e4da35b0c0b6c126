//! Which connections go through the proxy, as a value: what to redirect in, the chains of the table `nat` out.
//!
//! Chain names, comments and the order of the rules are those of Linkerd's `proxy-init`, so that tools and people find what they know. [`iptables`] says the
//! same as commands, [`nft`] as a ruleset for machines that have no iptables.

pub mod iptables;
pub mod nft;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::ports::PortRange;

/// The chain for connections that come in.
pub const REDIRECT_CHAIN: &str = "PROXY_INIT_REDIRECT";
/// The chain for connections that go out.
pub const OUTPUT_CHAIN: &str = "PROXY_INIT_OUTPUT";

/// As many ports as one `multiport` match takes; a range counts as two.
const MULTIPORT_MAX: usize = 15;

/// What is to be redirected where. TCP alone; other protocols are untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    incoming: u16,
    outgoing: u16,
    uid: Option<u32>,
    gid: Option<u32>,
    listed: Vec<u16>,
    inbound_ignored: Vec<PortRange>,
    outbound_ignored: Vec<PortRange>,
    subnets_ignored: Vec<IpNet>,
}

/// A version of the Internet Protocol; each has rules of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // There are two.
pub enum Family {
    /// Version 4.
    V4,
    /// Version 6.
    V6,
}

/// A chain of ours and the place it is entered from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// The chain of the kernel's that jumps to it.
    pub hook: Hook,
    /// In the order in which a connection meets them.
    pub rules: Vec<Rule>,
}

/// A chain of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // The two that see new connections before they are routed.
pub enum Hook {
    /// Connections from other machines and pods.
    Prerouting,
    /// Connections of local processes.
    Output,
}

/// What happens to the connections it matches; the others meet the next rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which connections.
    pub matches: Match,
    /// What happens to them.
    pub verdict: Verdict,
    /// Says why it is there, without the prefix `proxy-init/`.
    pub comment: String,
}

/// Which connections.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // Every one is spelled in two languages.
pub enum Match {
    /// To any of these TCP ports.
    Ports(Vec<PortRange>),
    /// To this TCP port.
    Port(u16),
    /// From these addresses.
    Source(IpNet),
    /// Of processes of this user.
    Uid(u32),
    /// Of processes of this group.
    Gid(u32),
    /// Over the loopback interface.
    Loopback,
    /// Every TCP connection.
    Tcp,
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // Every one is spelled in two languages.
pub enum Verdict {
    /// It goes its way.
    Return,
    /// It goes to this local port.
    Redirect(u16),
}

impl Redirect {
    /// Sends every incoming connection to the local port `incoming`, every outgoing one to `outgoing`.
    #[must_use]
    pub const fn new(incoming: u16, outgoing: u16) -> Self {
        Self {
            incoming,
            outgoing,
            uid: None,
            gid: None,
            listed: Vec::new(),
            inbound_ignored: Vec::new(),
            outbound_ignored: Vec::new(),
            subnets_ignored: Vec::new(),
        }
    }

    /// Leaves alone what the user sends: it is the proxy. Root (0) is never exempt.
    #[must_use]
    pub const fn proxy_uid(mut self, uid: u32) -> Self {
        self.uid = if uid == 0 { None } else { Some(uid) };
        self
    }

    /// Leaves alone what the group sends. The group 0 is never exempt.
    #[must_use]
    pub const fn proxy_gid(mut self, gid: u32) -> Self {
        self.gid = if gid == 0 { None } else { Some(gid) };
        self
    }

    /// Redirects these incoming ports and no others. None listed means all.
    #[must_use]
    pub fn only_ports(mut self, ports: Vec<u16>) -> Self {
        self.listed = ports;
        self
    }

    /// Leaves alone what comes in for these ports.
    #[must_use]
    pub fn ignore_inbound(mut self, ports: impl IntoIterator<Item = PortRange>) -> Self {
        self.inbound_ignored.extend(ports);
        self
    }

    /// Leaves alone what goes out to these ports.
    #[must_use]
    pub fn ignore_outbound(mut self, ports: impl IntoIterator<Item = PortRange>) -> Self {
        self.outbound_ignored.extend(ports);
        self
    }

    /// Leaves alone what comes in from these addresses. What goes out to them is redirected like all else.
    #[must_use]
    pub fn ignore_subnets(mut self, subnets: impl IntoIterator<Item = IpNet>) -> Self {
        self.subnets_ignored.extend(subnets);
        self
    }

    /// The rules of a family, in the order in which they are to be made. Subnets of the other family are left out: there is no way to say them.
    #[must_use]
    pub fn chains(&self, family: Family) -> [Chain; 2] {
        let mut inbound = ignore_ports(&self.inbound_ignored);
        inbound.extend(self.subnets_ignored.iter().filter(|subnet| family.has(subnet.addr())).map(|&subnet| Rule {
            matches: Match::Source(subnet),
            verdict: Verdict::Return,
            comment: format!("ignore-subnet-{subnet}"),
        }));
        let verdict = Verdict::Redirect(self.incoming);
        if self.listed.is_empty() {
            inbound.push(Rule { matches: Match::Tcp, verdict, comment: "redirect-all-incoming-to-proxy-port".into() });
        }
        inbound.extend(self.listed.iter().map(|&port| Rule {
            matches: Match::Port(port),
            verdict,
            comment: format!("redirect-port-{port}-to-proxy-port"),
        }));

        let mut outbound = Vec::new();
        let mut leave = |matches, comment: &str| outbound.push(Rule { matches, verdict: Verdict::Return, comment: comment.into() });
        if let Some(uid) = self.uid {
            leave(Match::Uid(uid), "ignore-proxy-user-id");
        }
        if let Some(gid) = self.gid {
            leave(Match::Gid(gid), "ignore-proxy-group-id");
        }
        leave(Match::Loopback, "ignore-loopback");
        outbound.extend(ignore_ports(&self.outbound_ignored));
        outbound.push(Rule {
            matches: Match::Tcp,
            verdict: Verdict::Redirect(self.outgoing),
            comment: "redirect-all-outgoing-to-proxy-port".into(),
        });
        [
            Chain { name: REDIRECT_CHAIN, hook: Hook::Prerouting, rules: inbound },
            Chain { name: OUTPUT_CHAIN, hook: Hook::Output, rules: outbound },
        ]
    }
}

impl Family {
    /// Is the address of this family?
    #[must_use]
    pub const fn has(self, addr: IpAddr) -> bool {
        match self {
            Self::V4 => addr.is_ipv4(),
            Self::V6 => addr.is_ipv6(),
        }
    }
}

impl Hook {
    /// What the comment of the jump says.
    #[must_use]
    pub const fn comment(self) -> &'static str {
        match self {
            Self::Prerouting => "install-proxy-init-prerouting",
            Self::Output => "install-proxy-init-output",
        }
    }

    /// Its name in the table `nat`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Output => "OUTPUT",
        }
    }
}

fn ignore_ports(ports: &[PortRange]) -> Vec<Rule> {
    let mut batches: Vec<Vec<PortRange>> = Vec::new();
    let mut weight = MULTIPORT_MAX;
    for &range in ports {
        let more = if range.is_single() { 1 } else { 2 };
        if weight + more > MULTIPORT_MAX {
            batches.push(Vec::new());
            weight = 0;
        }
        weight += more;
        if let Some(batch) = batches.last_mut() {
            batch.push(range);
        }
    }
    let rule = |batch: Vec<PortRange>| Rule {
        comment: format!("ignore-port-{}", iptables::ports(&batch)),
        matches: Match::Ports(batch),
        verdict: Verdict::Return,
    };
    batches.into_iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn batches_keep_every_port_in_order_within_the_limit(ends in proptest::collection::vec((any::<u16>(), 0u16..3), 0..80)) {
            let ranges: Vec<_> = ends.iter().filter_map(|&(a, more)| PortRange::new(a, a.saturating_add(more))).collect();
            let mut seen = Vec::new();
            for rule in ignore_ports(&ranges) {
                let Match::Ports(batch) = rule.matches else { panic!("not a match of ports") };
                let weight: usize = batch.iter().map(|range| if range.is_single() { 1 } else { 2 }).sum();
                prop_assert!((1..=MULTIPORT_MAX).contains(&weight));
                // The kernel takes comments of up to 255 bytes.
                prop_assert!("proxy-init/".len() + rule.comment.len() <= 255);
                seen.extend(batch);
            }
            prop_assert_eq!(seen, ranges);
        }
    }

    #[test]
    fn root_is_not_exempt() {
        let redirect = Redirect::new(4143, 4140).proxy_uid(0).proxy_gid(0);
        assert_eq!(redirect, Redirect::new(4143, 4140));
    }
}

//! Addresses, networks, durations, identities.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use ipnet::IpNet;
use linkerd2_proxy_api::net as proto;
use meshkit_policy::net::Network;

use crate::Invalid;

pub(crate) fn socket_addr(addr: Option<proto::TcpAddress>) -> Result<SocketAddr, Invalid> {
    let addr = addr.ok_or_else(|| Invalid::missing("addr"))?;
    let ip: IpAddr = addr.ip.ok_or_else(|| Invalid::missing("addr.ip"))?.try_into().map_err(|e| Invalid::new("addr.ip", e))?;
    Ok(SocketAddr::new(ip, port(addr.port, "addr.port")?.get()))
}

pub(crate) fn tcp_address(addr: SocketAddr) -> proto::TcpAddress {
    proto::TcpAddress { ip: Some(addr.ip().into()), port: addr.port().into() }
}

pub(crate) fn port(port: u32, field: &str) -> Result<NonZeroU16, Invalid> {
    u16::try_from(port)
        .ok()
        .and_then(NonZeroU16::new)
        .ok_or_else(|| Invalid::new(field, format_args!("{port} is not a port from 1 to 65535")))
}

fn ip_net(net: proto::IpNetwork, field: &str) -> Result<IpNet, Invalid> {
    net.try_into().map_err(|e| Invalid::new(field, e))
}

pub(crate) fn network(network: linkerd2_proxy_api::inbound::Network) -> Result<Network, Invalid> {
    let net = network.net.ok_or_else(|| Invalid::missing("net"))?;
    let except = network.except.into_iter().map(|n| ip_net(n, "except"));
    Ok(Network { net: ip_net(net, "net")?, except: except.collect::<Result<_, _>>()? })
}

pub(crate) fn network_to(network: &Network) -> linkerd2_proxy_api::inbound::Network {
    linkerd2_proxy_api::inbound::Network { net: Some(network.net.into()), except: network.except.iter().map(|n| (*n).into()).collect() }
}

/// Reads a duration; `None` where it is absent. Negative ones are refused.
pub(crate) fn duration(duration: Option<prost_types::Duration>, field: &str) -> Result<Option<Duration>, Invalid> {
    let convert =
        |d: prost_types::Duration| Duration::try_from(d).map_err(|_| Invalid::new(field, format_args!("{d:?} is not a positive duration")));
    duration.map(convert).transpose()
}

/// Like [`duration`], but zero counts as absent, too: a limit of no time is no limit.
pub(crate) fn limit(limit: Option<prost_types::Duration>, field: &str) -> Result<Option<Duration>, Invalid> {
    Ok(duration(limit, field)?.filter(|d| !d.is_zero()))
}

/// Durations beyond 292 million years become the longest one.
pub(crate) fn duration_to(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_an_ip_and_a_port() {
        let addr: SocketAddr = "[fd00::7]:4143".parse().unwrap();
        assert_eq!(socket_addr(Some(tcp_address(addr))), Ok(addr));
        let mut bad = tcp_address(addr);
        bad.port = 65_536;
        assert_eq!(socket_addr(Some(bad)).unwrap_err().to_string(), "addr.port: 65536 is not a port from 1 to 65535");
        bad.ip = None;
        assert!(socket_addr(Some(bad)).is_err());
        assert!(socket_addr(None).is_err());
    }

    #[test]
    fn a_limit_of_zero_is_no_limit() {
        assert_eq!(limit(Some(duration_to(Duration::ZERO)), "timeout"), Ok(None));
        assert_eq!(
            duration(Some(prost_types::Duration { seconds: -1, nanos: 0 }), "t").unwrap_err().to_string().split(':').next(),
            Some("t")
        );
    }
}

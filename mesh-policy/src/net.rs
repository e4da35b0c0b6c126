//! Networks of clients.

use std::net::IpAddr;

use ipnet::IpNet;

/// A network without some of its parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// The whole.
    pub net: IpNet,
    /// What does not belong to it.
    pub except: Vec<IpNet>,
}

impl Network {
    /// Does the address belong to the network? An IPv4 address inside of IPv6 (`::ffff:10.0.0.1`) counts as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.net.contains(&ip) && !self.except.iter().any(|part| part.contains(&ip))
    }

    /// Every address of both families.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let whole = |ip: IpAddr| Self { net: IpNet::new(ip, 0).expect("a prefix of no bits fits every family"), except: Vec::new() };
        vec![whole([0, 0, 0, 0].into()), whole([0u16; 8].into())]
    }

    /// The loopback addresses of the compatible system: 127.0.0.1 and ::1.
    #[must_use]
    pub fn loopback() -> Vec<Self> {
        let host = |ip: IpAddr| Self { net: IpNet::from(ip), except: Vec::new() };
        vec![host([127, 0, 0, 1].into()), host(std::net::Ipv6Addr::LOCALHOST.into())]
    }
}

impl From<IpNet> for Network {
    fn from(net: IpNet) -> Self {
        Self { net, except: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_the_whole_without_its_exceptions() {
        let network = Network { net: "10.0.0.0/8".parse().unwrap(), except: vec!["10.9.0.0/16".parse().unwrap()] };
        let contains = |ip: &str| network.contains(ip.parse().unwrap());
        assert!(contains("10.1.2.3") && contains("::ffff:10.1.2.3"));
        assert!(!contains("10.9.2.3") && !contains("::ffff:10.9.2.3") && !contains("11.0.0.1") && !contains("fd00::1"));
        assert!(Network::all().iter().any(|all| all.contains("fd00::1".parse().unwrap())));
        assert!(Network::loopback().iter().all(|own| !own.contains("127.0.0.2".parse().unwrap())));
    }
}

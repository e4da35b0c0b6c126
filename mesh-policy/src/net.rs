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
    /// Does the address belong to the network?
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
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

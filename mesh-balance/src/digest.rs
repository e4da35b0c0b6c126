use std::{collections::BTreeMap, hash::Hasher, net::IpAddr};

use meshkit_core::{Endpoint, ProtocolHint, endpoint::Locality};

/// A number that two holders of the same endpoints agree on, whatever the order, the process or the machine.
///
/// It covers address, identity, protocol, tagged port, authority override, weight and zone: what decides where a request goes. Labels and
/// HTTP/2 settings are not in it. It finds lost updates, not forgeries. The parts are FNV-1a (draft-eastlake-fnv), scrambled and added up.
#[must_use]
pub fn digest<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> u64 {
    // Each address once: the last description counts, as in a pool.
    let by_addr: BTreeMap<_, _> = endpoints.into_iter().map(|e| (e.addr, e)).collect();
    by_addr.values().fold(0, |sum, endpoint| sum.wrapping_add(part(endpoint)))
}

/// What one endpoint adds to the digest.
pub(crate) fn part(endpoint: &Endpoint) -> u64 {
    scramble(hash(endpoint))
}

struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

// Fields are written byte for byte, with their lengths: the `Hash` of the types may differ between versions and machines.
fn hash(endpoint: &Endpoint) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    let mut text = |bytes: &[u8]| {
        hasher.write(&(bytes.len() as u64).to_le_bytes());
        hasher.write(bytes);
    };
    match endpoint.addr.ip() {
        IpAddr::V4(ip) => text(&ip.octets()),
        IpAddr::V6(ip) => text(&ip.octets()),
    }
    text(&endpoint.addr.port().to_le_bytes());
    if let Some(tls) = &endpoint.tls {
        text(tls.identity.as_str().as_bytes());
        text(tls.server_name.as_bytes());
    } else {
        text(&[]);
    }
    text(match endpoint.protocol {
        ProtocolHint::Http2 => b"h2",
        ProtocolHint::Opaque => b"opaque",
        _ => b"",
    });
    text(&endpoint.tagged_port.map_or(0, |port| port.get()).to_le_bytes());
    text(endpoint.authority_override.as_ref().map(ToString::to_string).unwrap_or_default().as_bytes());
    text(&endpoint.weight.to_le_bytes());
    text(match endpoint.locality {
        Locality::Unknown => b"",
        Locality::Local => b"local",
        Locality::Remote => b"remote",
    });
    hasher.finish()
}

// Sums of raw FNV values of similar endpoints could cancel out. Source: SplitMix64's output function.
const fn scramble(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(n: u8) -> Endpoint {
        Endpoint::new(([10, 0, 0, n], 80).into())
    }

    #[test]
    fn the_order_does_not_matter_and_every_endpoint_does() {
        let (a, b, c) = (endpoint(1), endpoint(2), endpoint(3));
        assert_eq!(digest([&a, &b, &c]), digest([&c, &a, &b, &a]));
        assert_ne!(digest([&a, &b]), digest([&a, &c]));
        assert_ne!(digest([&a, &b]), digest([&a]));
        assert_eq!(digest([]), 0);
    }

    #[test]
    fn what_decides_where_a_request_goes_is_covered() {
        let plain = endpoint(1);
        let others = [
            plain.clone().weight(1),
            plain.clone().protocol(ProtocolHint::Http2),
            plain.clone().locality(Locality::Local),
            plain.clone().identity("a.b".parse().unwrap()),
        ];
        for other in &others {
            assert_ne!(digest([&plain]), digest([other]), "{other:?}");
        }
    }

    #[test]
    fn the_number_is_the_same_in_every_process() {
        // Written down once: a change here is a change of the protocol between proxy and control plane.
        assert_eq!(digest([&endpoint(1), &endpoint(2)]), GOLDEN);
    }

    const GOLDEN: u64 = 4_429_818_381_102_221_828;
}

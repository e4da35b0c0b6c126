//! The addresses of controllers, as DNS knows them.
//!
//! A headless Service names every pod: first its `SRV` records are asked for, whose targets begin with the pod's address, then its addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    Resolver, ResolverBuilder, TokioResolver,
    config::{ResolveHosts, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::RData,
};
use meshkit_core::{Authority, Host};
use tokio::time::Instant;

use crate::metrics::{ControlFamilies, Resolution};

/// However short an answer is valid, it is not asked for again before this.
const SHORTEST: Duration = Duration::from_secs(5);

/// Resolves names. Answers are not kept: who asks knows how long they are valid.
#[derive(Clone)]
pub struct Dns {
    resolver: Option<TokioResolver>,
    metrics: ControlFamilies,
}

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Each once, in order.
    pub addrs: Vec<SocketAddr>,
    /// When to ask again; `None` of what never changes.
    pub valid_for: Option<Duration>,
}

impl Dns {
    /// As `/etc/resolv.conf` and `/etc/hosts` say. Without the former, only addresses and `localhost` resolve.
    #[must_use]
    pub fn system(metrics: ControlFamilies) -> Self {
        let builder = Resolver::builder_tokio().inspect_err(|error| tracing::warn!(%error, "/etc/resolv.conf cannot be used"));
        Self::with(builder.ok(), metrics)
    }

    /// Asks the servers of `config`, and no files.
    #[must_use]
    pub fn servers(config: ResolverConfig, metrics: ControlFamilies) -> Self {
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        Self::with(Some(builder), metrics)
    }

    fn with(builder: Option<ResolverBuilder<TokioRuntimeProvider>>, metrics: ControlFamilies) -> Self {
        let build = |mut builder: ResolverBuilder<_>| {
            builder.options_mut().cache_size = 0;
            builder.build().inspect_err(|error| tracing::warn!(%error, "names cannot be resolved")).ok()
        };
        Self { resolver: builder.and_then(build), metrics }
    }

    /// The addresses of a controller, for the client of this name.
    ///
    /// # Errors
    /// There are none, or nobody answers.
    ///
    /// # Cancel safety
    /// Dropping the future gives the lookup up.
    pub async fn resolve(&self, client: &str, controller: &Authority) -> io::Result<Answer> {
        let port = controller.port();
        let name = match controller.host() {
            Host::Ip(ip) => return Ok(Answer { addrs: vec![(*ip, port).into()], valid_for: None }),
            Host::Name(name) if name.trim_end_matches('.') == "localhost" => {
                return Ok(Answer { addrs: vec![([127, 0, 0, 1], port).into()], valid_for: None });
            }
            Host::Name(name) => name,
        };
        let resolver = self.resolver.as_ref().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no name server"))?;
        let result = |found| if found { Resolution::Found } else { Resolution::NotFound };

        let services = resolver.srv_lookup(&**name).await.ok();
        let pods = services.as_ref().map(|found| pods(found.answers().iter().map(|record| &record.data), port)).unwrap_or_default();
        self.metrics.resolved(client, "SRV", result(!pods.is_empty()));
        let (addrs, valid_until) = match services {
            Some(found) if !pods.is_empty() => (pods, found.valid_until()),
            _ => {
                let found = resolver.lookup_ip(&**name).await;
                self.metrics.resolved(client, "A/AAAA", result(found.is_ok()));
                let found = found.map_err(|error| failed(name, &error))?;
                (found.iter().map(|ip| SocketAddr::new(ip, port)).collect(), found.valid_until())
            }
        };
        let valid_for = Instant::from_std(valid_until).saturating_duration_since(Instant::now()).max(SHORTEST);
        Ok(Answer { addrs: sorted(addrs), valid_for: Some(valid_for) })
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

fn sorted(mut addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addrs.sort_unstable();
    addrs.dedup();
    addrs
}

fn failed(name: &str, error: &NetError) -> io::Error {
    let kind = if error.is_no_records_found() { io::ErrorKind::NotFound } else { io::ErrorKind::HostUnreachable };
    io::Error::new(kind, format!("{name} cannot be resolved: {error}"))
}

/// The pods that service records name by their addresses, at this port. Records of other ports and other names are not meant.
fn pods<'a>(records: impl Iterator<Item = &'a RData>, port: u16) -> Vec<SocketAddr> {
    let pod = |record: &RData| match record {
        RData::SRV(service) if service.port == port => {
            let first = service.target.iter().next().and_then(|label| std::str::from_utf8(label).ok())?;
            Some(SocketAddr::new(address(first)?, port))
        }
        _ => None,
    };
    records.filter_map(pod).collect()
}

/// An address with dashes in place of its dots or colons.
fn address(label: &str) -> Option<IpAddr> {
    label.replace('-', ".").parse().or_else(|_| label.replace('-', ":").parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
    use meshkit_core::clock;
    use meshkit_runtime::metrics::Registry;
    use tokio::net::UdpSocket;

    /// The record types that are asked for.
    const A: u16 = 1;
    const SRV: u16 = 33;

    /// A name server written down byte by byte: `answer` gives the record's data to a question of a type, or nothing for a name without such.
    async fn server(answer: fn(u16) -> Option<Vec<u8>>) -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buf = [0; 512];
            while let Ok((len, from)) = socket.recv_from(&mut buf).await {
                // A header of 12 bytes, the labels of one name, its type and class; what follows is not looked at.
                let name_end = 12 + buf[12..len].iter().position(|byte| *byte == 0).unwrap();
                let asked = u16::from_be_bytes([buf[name_end + 1], buf[name_end + 2]]);
                let data = answer(asked);
                let mut reply = vec![buf[0], buf[1], 0x81, if data.is_some() { 0x80 } else { 0x83 }];
                reply.extend([0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0]);
                reply.extend(&buf[12..name_end + 5]);
                if let Some(data) = data {
                    // The name again, by its place; type, class, 30 seconds, length.
                    reply.extend([0xc0, 12]);
                    reply.extend(asked.to_be_bytes());
                    reply.extend([0, 1, 0, 0, 0, 30]);
                    reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
                    reply.extend(data);
                }
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        let mut connection = ConnectionConfig::udp();
        connection.port = port;
        let server = NameServerConfig::new([127, 0, 0, 1].into(), true, vec![connection]);
        let clock: Arc<dyn meshkit_core::Clock> = Arc::new(clock::SystemClock);
        let metrics = ControlFamilies::register(&Registry::new(Duration::from_secs(600)), &clock);
        Dns::servers(ResolverConfig::from_parts(None, Vec::new(), vec![server]), metrics)
    }

    fn controller() -> Authority {
        Authority::parse("linkerd-policy.linkerd.svc.cluster.local.:8090", 80).unwrap()
    }

    #[tokio::test]
    async fn service_records_name_the_pods() {
        let dns = server(|asked| {
            // Priority, weight, port 8090, and a target that begins with the pod's address.
            (asked == SRV).then(|| [&[0, 0, 0, 50, 0x1f, 0x9a, 9][..], b"10-42-0-7", &[3], b"pod", &[0]].concat())
        });
        let answer = dns.await.resolve("policy", &controller()).await.unwrap();
        assert_eq!(answer.addrs, [([10, 42, 0, 7], 8090).into()]);
        assert!(answer.valid_for.is_some_and(|wait| wait > SHORTEST && wait <= Duration::from_secs(30)), "{answer:?}");
    }

    #[tokio::test]
    async fn without_service_records_the_addresses_count() {
        let dns = server(|asked| (asked == A).then(|| vec![10, 42, 0, 8])).await;
        let answer = dns.resolve("policy", &controller()).await.unwrap();
        assert_eq!(answer.addrs, [([10, 42, 0, 8], 8090).into()]);
    }

    #[tokio::test]
    async fn what_does_not_exist_is_an_error_that_names_it() {
        let error = server(|_| None).await.resolve("policy", &controller()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("linkerd-policy.linkerd.svc.cluster.local"), "{error}");
    }

    #[test]
    fn a_pod_is_named_by_its_address() {
        assert_eq!(address("10-42-0-7"), Some([10, 42, 0, 7].into()));
        assert_eq!(address("fd00--1-2"), "fd00::1:2".parse().ok());
        assert_eq!(address("linkerd-dst-0"), None);
    }
}

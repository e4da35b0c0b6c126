//! `io.linkerd.proxy.destination`: endpoints and profiles.

mod endpoint;
mod message;
mod profile;
mod server;

use std::{collections::BTreeMap, sync::Arc};

use linkerd2_proxy_api::destination as proto;
use meshkit_core::Update;

pub(crate) use endpoint::{endpoint, endpoint_to};
pub use message::{profile_to_bytes, updates_to_bytes};
pub use profile::{profile, profile_to};
pub use server::{Answers, Resolve, Server, server};

use crate::{Invalid, net};

/// Reads one step of discovery. Labels of the set are added to those of each endpoint, which win.
///
/// # Errors
/// The step, or one of its addresses, is malformed. An endpoint whose identity cannot be read is left out with a log line instead: it could
/// not be reached safely, and the others can.
pub fn update(update: proto::Update) -> Result<Update, Invalid> {
    use proto::update::Update as Step;
    match update.update.ok_or_else(|| Invalid::missing("update"))? {
        Step::Add(set) => {
            let addrs = set.addrs.into_iter();
            Ok(Update::Add(addrs.map(|addr| endpoint(addr, &set.metric_labels)).collect::<Result<_, _>>()?))
        }
        Step::Remove(set) => {
            let addrs = set.addrs.into_iter();
            Ok(Update::Remove(addrs.map(|addr| net::socket_addr(Some(addr))).collect::<Result<_, _>>()?))
        }
        Step::NoEndpoints(none) if none.exists => Ok(Update::Reset(Vec::new())),
        Step::NoEndpoints(_) => Ok(Update::DoesNotExist),
    }
}

/// The step on the wire, with the labels that every endpoint of the set has.
///
/// The API has no reset: a [`Update::Reset`] becomes an `add`, which a client applies as a reset when it is the first after a
/// (re)connect, and an empty one becomes "no endpoints".
#[must_use]
pub fn update_to(update: &Update, set_labels: &BTreeMap<String, String>) -> proto::Update {
    use proto::update::Update as Step;
    let step = match update {
        Update::Reset(endpoints) if endpoints.is_empty() => Step::NoEndpoints(proto::NoEndpoints { exists: true }),
        Update::Add(endpoints) | Update::Reset(endpoints) => Step::Add(proto::WeightedAddrSet {
            addrs: endpoints.iter().map(|e| endpoint_to(e, set_labels)).collect(),
            metric_labels: set_labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        }),
        Update::Remove(addrs) => Step::Remove(proto::AddrSet { addrs: addrs.iter().map(|a| net::tcp_address(*a)).collect() }),
        Update::DoesNotExist => Step::NoEndpoints(proto::NoEndpoints { exists: false }),
    };
    proto::Update { update: Some(step) }
}

/// Endpoints that share everything but their address share their labels, too.
pub(crate) fn shared_labels(
    own: impl IntoIterator<Item = (String, String)>,
    set: impl IntoIterator<Item = (String, String)>,
) -> Arc<BTreeMap<String, String>> {
    let mut labels: BTreeMap<_, _> = set.into_iter().collect();
    labels.extend(own);
    Arc::new(labels)
}

#[cfg(test)]
mod tests {
    use meshkit_core::{Endpoint, ProtocolHint, endpoint::Locality};
    use proptest::prelude::*;

    use super::*;

    fn endpoints() -> impl Strategy<Value = Endpoint> {
        (any::<[u8; 4]>(), 1u16.., any::<bool>(), 0..3u8, any::<Option<std::num::NonZeroU16>>(), 0u32..100_000, 0..3u8).prop_map(
            |(ip, port, meshed, hint, tagged, weight, locality)| {
                let mut e = Endpoint::new((ip, port).into()).weight(weight);
                if meshed {
                    e = e.identity("web.emojivoto.serviceaccount.identity.linkerd.cluster.local".parse().unwrap());
                }
                e.protocol = [ProtocolHint::Unknown, ProtocolHint::Http2, ProtocolHint::Opaque][usize::from(hint)];
                e.tagged_port = tagged;
                let (locality, name) =
                    [(Locality::Unknown, "unknown"), (Locality::Local, "local"), (Locality::Remote, "remote")][usize::from(locality)];
                e.locality(locality).labels([("pod".to_owned(), "web-1".to_owned()), ("zone_locality".to_owned(), name.to_owned())].into())
            },
        )
    }

    proptest! {
        #[test]
        fn updates_round_trip(added in proptest::collection::vec(endpoints(), 1..4)) {
            let set: BTreeMap<_, _> = [("service".to_owned(), "web-svc".to_owned())].into();
            let gone = added.iter().map(|e| e.addr).collect();
            let labelled: Vec<_> = added.iter().map(|e| {
                let labels = e.labels.iter().map(|(k, v)| (k.clone(), v.clone())).chain(set.clone()).collect();
                e.clone().labels(labels)
            }).collect();
            prop_assert_eq!(update(update_to(&Update::Add(labelled.clone()), &set)), Ok(Update::Add(labelled)));
            let gone = Update::Remove(gone);
            prop_assert_eq!(update(update_to(&gone, &set)), Ok(gone));
        }
    }

    #[test]
    fn nothing_left_and_never_existed_differ() {
        let none = BTreeMap::new();
        assert_eq!(update(update_to(&Update::Reset(Vec::new()), &none)), Ok(Update::Reset(Vec::new())));
        assert_eq!(update(update_to(&Update::DoesNotExist, &none)), Ok(Update::DoesNotExist));
        assert!(update(proto::Update { update: None }).is_err());
    }
}

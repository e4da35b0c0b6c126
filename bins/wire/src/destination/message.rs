//! Answers as they stand on the wire, for a server that tells the same to many.

use std::collections::BTreeMap;

use meshkit_core::Update;
use prost::Message;

use super::{endpoint_to, profile_to, update_to};
use crate::profile::Profile;

/// Bytes of endpoints in one message. A larger set is told in several, for clients take no message of more than 4 MiB.
const MAX_ADDED: usize = 3 * 1024 * 1024;
/// So many endpoints are not larger than that, whatever is told of them.
const FEW: usize = 500;
/// Flag and length before a message.
const HEAD: usize = 5;

/// The messages that tell these steps of discovery, each with its head. All endpoints have `set_labels`.
#[must_use]
pub fn updates_to_bytes(updates: &[Update], set_labels: &BTreeMap<String, String>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for update in updates {
        match update {
            Update::Add(endpoints) if endpoints.len() > FEW => {
                let size: usize = endpoints.iter().map(|endpoint| endpoint_to(endpoint, set_labels).encoded_len()).sum();
                for some in endpoints.chunks(endpoints.len().div_ceil(size.div_ceil(MAX_ADDED).max(1))) {
                    append(&update_to(&Update::Add(some.to_vec()), set_labels), &mut bytes);
                }
            }
            update => append(&update_to(update, set_labels), &mut bytes),
        }
    }
    bytes
}

/// The message that tells a profile, with its head.
#[must_use]
pub fn profile_to_bytes(profile: &Profile) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(&profile_to(profile), &mut bytes);
    bytes
}

fn append(message: &impl Message, bytes: &mut Vec<u8>) {
    let len = message.encoded_len();
    bytes.reserve_exact(HEAD + len);
    bytes.push(0);
    // A profile of four gigabytes does not fit into the objects that it is made of.
    bytes.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(message.encode_to_vec());
}

#[cfg(test)]
mod tests {
    use linkerd2_proxy_api::destination as proto;
    use meshkit_core::Endpoint;

    use super::*;
    use crate::destination::{profile, update};

    fn messages<M: Message + Default>(mut bytes: &[u8]) -> Vec<M> {
        let mut all = Vec::new();
        while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
            let [0, len @ ..] = *head else { panic!("{head:?} is compressed") };
            let (message, rest) = rest.split_at(u32::from_be_bytes(len) as usize);
            all.push(M::decode(message).unwrap());
            bytes = rest;
        }
        assert!(bytes.is_empty(), "no half head is left");
        all
    }

    #[test]
    fn every_step_is_a_message_and_a_large_set_is_several() {
        let labels = [("pod".to_owned(), "p".repeat(1000))];
        let endpoint = |n: u16| Endpoint::new(([10, 0, 0, 1], n + 1).into()).labels(labels.clone().into());
        let many: Vec<_> = (0..4500).map(endpoint).collect();
        let updates = [Update::Add(many.clone()), Update::Remove(vec![many[0].addr])];
        let bytes = updates_to_bytes(&updates, &BTreeMap::new());
        let read: Vec<_> = messages::<proto::Update>(&bytes).into_iter().map(|m| update(m).unwrap()).collect();
        let sizes: Vec<_> = read.iter().map(|u| u.endpoints().len()).collect();
        assert_eq!(sizes, [2250, 2250, 0]);
        let told: Vec<_> = read.iter().flat_map(|u| u.endpoints()).map(|e| e.addr).collect();
        assert!(told.iter().eq(many.iter().map(|e| &e.addr)));
        assert_eq!(read[2], updates[1]);
        let small =
            updates_to_bytes(&[Update::Add((0..4500).map(|n| Endpoint::new(([10, 0, 0, 1], n + 1).into())).collect())], &BTreeMap::new());
        assert_eq!(messages::<proto::Update>(&small).len(), 1, "as long as they fit, all are told at once");
        assert!(updates_to_bytes(&[], &BTreeMap::new()).is_empty());
    }

    #[test]
    fn a_profile_is_one_message() {
        let [read] = messages::<proto::DestinationProfile>(&profile_to_bytes(&Profile::default())).try_into().unwrap();
        assert_eq!(profile(read), Ok(Profile::default()));
    }
}

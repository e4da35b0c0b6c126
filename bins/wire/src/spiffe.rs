//! Certificates from an agent of SPIFFE, over its Workload API.

use std::fmt;

use futures_util::{Stream, StreamExt as _};

use crate::{Channel, Refused};

#[allow(missing_docs, unreachable_pub, unnameable_types, clippy::all, clippy::pedantic)]
mod proto {
    tonic::include_proto!("_");
}

/// An X.509 SVID: a certificate, what vouches for it, and its key.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Svid {
    /// Who it says that one is: `spiffe://...`.
    pub id: String,
    /// The leaf and intermediates, as DER without anything between.
    pub chain: Vec<u8>,
    /// The key: PKCS #8, as DER.
    pub key: Vec<u8>,
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid").field("id", &self.id).finish_non_exhaustive()
    }
}

/// All SVIDs of the workload that asks, again whenever one changes. Ends with an error, or with the agent.
///
/// # Errors
/// The agent cannot be reached, or knows nothing of the workload.
pub async fn svids(channel: Channel) -> Result<impl Stream<Item = Result<Vec<Svid>, Refused>> + Send, Refused> {
    let mut client = proto::spiffe_workload_api_client::SpiffeWorkloadApiClient::new(channel);
    let mut request = tonic::Request::new(proto::X509svidRequest {});
    // An agent answers nobody who does not say this: it keeps forged requests of browsers out. Source: SPIFFE Workload API, section 4.2.
    request.metadata_mut().insert("workload.spiffe.io", tonic::metadata::MetadataValue::from_static("true"));
    let answers = client.fetch_x509svid(request).await.map_err(|status| Refused::of(&status))?.into_inner();
    Ok(answers.map(|answer| answer.map(|answer| answer.svids.into_iter().map(svid).collect()).map_err(|status| Refused::of(&status))))
}

/// Takes certificates apart that stand one behind the other without anything between; `None` if they are something else, or nothing.
#[must_use]
pub fn certificates(mut chain: &[u8]) -> Option<Vec<&[u8]>> {
    let mut all = Vec::new();
    while !chain.is_empty() {
        let (certificate, rest) = chain.split_at_checked(sequence_len(chain)?)?;
        all.push(certificate);
        chain = rest;
    }
    (!all.is_empty()).then_some(all)
}

/// The length of the DER sequence that stands first, with its head. Source: ITU-T X.690, section 8.1.3.
fn sequence_len(der: &[u8]) -> Option<usize> {
    const SEQUENCE: u8 = 0x30;
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    if *tag != SEQUENCE {
        return None;
    }
    let (head, len) = match usize::from(*first) {
        len @ 0..=0x7f => (2, len),
        // A certificate of more than 64 KiB is none.
        0x81 => (3, usize::from(*rest.first()?)),
        0x82 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        _ => return None,
    };
    Some(head + len)
}

fn svid(svid: proto::X509svid) -> Svid {
    Svid { id: svid.spiffe_id, chain: svid.x509_svid, key: svid.x509_svid_key }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn certificates_are_told_apart_by_their_lengths() {
        let short = [vec![0x30, 3], vec![1; 3]].concat();
        let long = [vec![0x30, 0x81, 200], vec![2; 200]].concat();
        let longer = [vec![0x30, 0x82, 1, 0], vec![3; 256]].concat();
        let chain = [short.clone(), long.clone(), longer.clone()].concat();
        assert_eq!(certificates(&chain), Some(vec![&short[..], &long, &longer]));
        for bad in [&[][..], &[0x30], &[0x31, 0], &[0x30, 5, 0], &[0x30, 0x82, 1], &[0x30, 0x83, 0, 0, 0]] {
            assert_eq!(certificates(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_apart_is_the_whole(bytes: Vec<u8>) {
            if let Some(all) = certificates(&bytes) {
                prop_assert_eq!(all.concat(), bytes);
            }
        }
    }
}

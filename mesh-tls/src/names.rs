//! The identities in a certificate.

use std::time::{Duration, SystemTime};

use meshkit_core::Identity;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its begin.
    pub not_before: SystemTime,
    /// Its end.
    pub not_after: SystemTime,
}

/// Every DNS name and URI among the alternative names that is an identity, in the certificate's order. A certificate that cannot be read
/// has none.
#[must_use]
pub fn identities(certificate: &CertificateDer<'_>) -> Vec<Identity> {
    found(certificate, |names| names.collect()).unwrap_or_default()
}

/// The first of the [`identities`]: who a client is.
#[must_use]
pub fn first_identity(certificate: &CertificateDer<'_>) -> Option<Identity> {
    found(certificate, |names| names.next()).flatten()
}

fn found<T>(certificate: &CertificateDer<'_>, take: impl FnOnce(&mut dyn Iterator<Item = Identity>) -> T) -> Option<T> {
    let certificate = parse(certificate)?;
    let names = certificate.subject_alternative_name().ok()??;
    let identity = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => name.parse().ok(),
        GeneralName::URI(uri) => uri.parse().ok(),
        _ => None,
    };
    Some(take(&mut names.value.general_names.iter().filter_map(identity)))
}

/// The certificate's validity, or `None` if it cannot be read.
#[must_use]
pub fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let certificate = parse(certificate)?;
    let date = |time: x509_parser::time::ASN1Time| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
    };
    let validity = certificate.validity();
    Some(Validity { not_before: date(validity.not_before), not_after: date(validity.not_after) })
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(certificate).ok().map(|(_, certificate)| certificate)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn dns_names_and_uris_are_identities_and_addresses_are_not() {
        let mut params = CertificateParams::new(vec!["web.emojivoto".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://td/ns/web".try_into().unwrap()));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let names: Vec<_> = identities(certificate.der()).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["web.emojivoto", "spiffe://td/ns/web"]);
        assert_eq!(first_identity(certificate.der()).unwrap().as_str(), "web.emojivoto");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let der = CertificateDer::from(bytes);
            prop_assert!(identities(&der).is_empty());
            prop_assert!(validity(&der).is_none());
        }
    }
}

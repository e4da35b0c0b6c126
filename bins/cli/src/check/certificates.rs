//! What can be said of certificates, as functions of them and the date.

use std::time::{Duration, SystemTime};

use x509_parser::{certificate::X509Certificate, extensions::GeneralName, pem::Pem, prelude::FromDer as _, public_key::PublicKey};

/// Whatever ends sooner than this should be renewed.
const SOON: Duration = Duration::from_secs(60 * 24 * 3600);
const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";
const RSA_SHA256: &str = "1.2.840.113549.1.1.11";
const P256: &str = "1.2.840.10045.3.1.7";

/// Certificates that were PEM.
#[derive(Clone, Debug)]
pub(crate) struct Bundle(Vec<Vec<u8>>);

impl Bundle {
    /// Reads PEM.
    ///
    /// # Errors
    /// It has no certificate, or one that cannot be read.
    pub(crate) fn parse(pem: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for block in Pem::iter_from_buffer(pem.as_bytes()) {
            let block = block.map_err(|error| format!("no PEM: {error}"))?;
            if block.label == "CERTIFICATE" {
                X509Certificate::from_der(&block.contents).map_err(|error| format!("no certificate: {error}"))?;
                all.push(block.contents);
            }
        }
        if all.is_empty() { Err("there is no certificate".to_owned()) } else { Ok(Self(all)) }
    }

    fn each(&self) -> impl Iterator<Item = X509Certificate<'_>> {
        self.0.iter().filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1))
    }

    /// Algorithms that every proxy can use: ECDSA P-256 for issuers, RSA too for anchors.
    pub(crate) fn supported_anchors(&self) -> Result<(), String> {
        each_must(self.each(), |certificate| supported_key(certificate, true))
    }

    /// Algorithms that every proxy can use, in the first certificate.
    pub(crate) fn supported_issuer(&self) -> Result<(), String> {
        each_must(self.each().take(1), |certificate| {
            supported_key(certificate, false)?;
            let signature = certificate.signature_algorithm.algorithm.to_id_string();
            if [ECDSA_SHA256, RSA_SHA256].contains(&signature.as_str()) {
                Ok(())
            } else {
                Err(format!("signed by algorithm {signature}, must be ECDSA or RSA with SHA-256"))
            }
        })
    }

    /// All are valid at this moment.
    pub(crate) fn valid_at(&self, now: SystemTime) -> Result<(), String> {
        each_must(self.each(), |certificate| {
            let (from, to) = validity(certificate);
            match () {
                () if now < from => Err(format!("not valid before {}", certificate.validity().not_before)),
                () if now > to => Err(format!("expired on {}", certificate.validity().not_after)),
                () => Ok(()),
            }
        })
    }

    /// All are valid for a while yet.
    pub(crate) fn valid_for_long(&self, now: SystemTime) -> Result<(), String> {
        each_must(self.each(), |certificate| {
            if validity(certificate).1 < now + SOON { Err(format!("will expire on {}", certificate.validity().not_after)) } else { Ok(()) }
        })
    }

    /// The first is vouched for by one of these, by way of the others.
    pub(crate) fn issued_by(&self, anchors: &Self) -> Result<(), String> {
        let chain: Vec<_> = self.each().collect();
        let signed = |child: &X509Certificate<'_>, parent: &X509Certificate<'_>| {
            child.issuer() == parent.subject() && child.verify_signature(Some(parent.public_key())).is_ok()
        };
        let Some(first) = chain.first() else {
            return Err("there is no certificate".to_owned());
        };
        // Further certificates may be in any number; the first broken link ends the chain.
        let linked = 1 + chain.windows(2).take_while(|pair| signed(&pair[0], &pair[1])).count();
        let trusted =
            chain[..linked].iter().any(|link| anchors.each().any(|anchor| anchor.as_raw() == link.as_raw() || signed(link, &anchor)));
        if trusted { Ok(()) } else { Err(format!("no trust anchor vouches for {}", name(first))) }
    }

    /// The first is for this server.
    pub(crate) fn is_for(&self, server: &str) -> Result<(), String> {
        let names = |certificate: &X509Certificate<'_>| -> Vec<String> {
            let found = certificate.subject_alternative_name().ok().flatten();
            let names = found.map(|found| {
                found.value.general_names.iter().filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                })
            });
            names.map(Iterator::collect).unwrap_or_default()
        };
        let found = self.each().next().map(|certificate| names(&certificate)).unwrap_or_default();
        if found.iter().any(|name| name == server) {
            Ok(())
        } else {
            Err(format!("the certificate is for {}, not for {server}", found.join(", ")))
        }
    }
}

fn each_must<'a>(
    certificates: impl Iterator<Item = X509Certificate<'a>>,
    holds: impl Fn(&X509Certificate<'a>) -> Result<(), String>,
) -> Result<(), String> {
    let faults: Vec<_> = certificates
        .filter_map(|certificate| holds(&certificate).err().map(|error| format!("* {}: {error}", name(&certificate))))
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// Its serial number and its name, as tools show them.
fn name(certificate: &X509Certificate<'_>) -> String {
    let common = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or("without a name");
    format!("{} {common}", certificate.tbs_certificate.serial)
}

fn validity(certificate: &X509Certificate<'_>) -> (SystemTime, SystemTime) {
    let date = |time: x509_parser::time::ASN1Time| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
    };
    (date(certificate.validity().not_before), date(certificate.validity().not_after))
}

fn supported_key(certificate: &X509Certificate<'_>, rsa: bool) -> Result<(), String> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::EC(_)) => {
            let curve = certificate.public_key().algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
            let curve = curve.map(|curve| curve.to_id_string()).unwrap_or_default();
            if curve == P256 { Ok(()) } else { Err(format!("elliptic curve {curve}, must be P-256")) }
        }
        Ok(PublicKey::RSA(key)) if rsa => match key.key_size() {
            2048 | 4096 => Ok(()),
            bits => Err(format!("RSA of {bits} bits, must be 2048 or 4096")),
        },
        _ => Err("unsupported key, must be ECDSA P-256".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use meshkit_identity::authority::Authority;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};

    use super::*;
    use crate::install::{WEBHOOKS, webhook_pair};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY * 20_000
    }

    fn bundles(domain: &str) -> (Bundle, Bundle) {
        let made = Authority::generate("linkerd", domain, now()).unwrap();
        (Bundle::parse(made.anchors_pem()).unwrap(), Bundle::parse(made.issuer_pem()).unwrap())
    }

    #[test]
    fn what_an_install_makes_is_well() {
        let (anchors, issuer) = bundles("cluster.local");
        assert_eq!((anchors.supported_anchors(), issuer.supported_issuer()), (Ok(()), Ok(())));
        assert_eq!((anchors.valid_at(now()), issuer.valid_at(now()), issuer.valid_for_long(now())), (Ok(()), Ok(()), Ok(())));
        assert_eq!(issuer.issued_by(&anchors), Ok(()));
        assert_eq!(anchors.issued_by(&anchors), Ok(()), "one certificate may be both");
    }

    #[test]
    fn certificates_end() {
        let (anchors, issuer) = bundles("cluster.local");
        assert!(issuer.valid_for_long(now() + DAY * 304).is_ok());
        assert!(issuer.valid_for_long(now() + DAY * 306).unwrap_err().contains("will expire on"));
        assert!(issuer.valid_at(now() + DAY * 366).unwrap_err().contains("expired on"));
        assert!(issuer.valid_at(now() - DAY).unwrap_err().contains("not valid before"));
        assert!(anchors.valid_at(now() + DAY * 366).is_ok());
    }

    #[test]
    fn strangers_are_not_trusted() {
        let ((anchors, _), (_, issuer)) = (bundles("one"), bundles("two"));
        assert!(issuer.issued_by(&anchors).unwrap_err().contains("identity.linkerd.two"));
        assert!(Bundle::parse("").is_err());
        assert!(Bundle::parse("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    }

    #[test]
    fn only_what_every_proxy_can_use_is_supported() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let other = Bundle::parse(&CertificateParams::new(vec!["x".to_owned()]).unwrap().self_signed(&key).unwrap().pem()).unwrap();
        assert!(other.supported_anchors().unwrap_err().contains("P-256"));
        assert!(other.supported_issuer().unwrap_err().contains("P-256"));
    }

    #[test]
    fn a_webhook_is_asked_by_its_name() {
        let made = webhook_pair(WEBHOOKS[0], "linkerd", now()).unwrap();
        let (leaf, authority) = (Bundle::parse(&made.certificate).unwrap(), Bundle::parse(&made.authority).unwrap());
        assert_eq!(leaf.issued_by(&authority), Ok(()));
        assert_eq!(leaf.is_for("linkerd-proxy-injector.linkerd.svc"), Ok(()));
        assert!(leaf.is_for("linkerd-proxy-injector.mesh.svc").unwrap_err().contains("not for linkerd-proxy-injector.mesh.svc"));
    }
}

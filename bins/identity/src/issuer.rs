//! A CA certificate with its key.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use meshkit_core::Identity;
use rcgen::{CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long certificates are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// From now to the end. Default 24 hours.
    pub validity: Duration,
    /// How far clocks may be apart: added at both ends. Default 20 seconds.
    pub skew: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { validity: Duration::from_secs(24 * 3600), skew: Duration::from_secs(20) }
    }
}

/// Signs certificates with a CA certificate's key.
pub struct Issuer {
    signer: rcgen::Issuer<'static, KeyPair>,
    /// From the signing certificate towards the trust anchor, which is not part of it unless it signs itself.
    chain: Vec<CertificateDer<'static>>,
    /// The latest beginning in the chain.
    not_before: SystemTime,
    /// The earliest end in the chain: nothing signed here is valid longer.
    not_after: SystemTime,
}

/// A certificate that was just signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// DER.
    pub leaf: Vec<u8>,
    /// DER, from the issuer upwards.
    pub intermediates: Vec<Vec<u8>>,
    /// Its end.
    pub not_after: SystemTime,
}

/// The issuer's files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidIssuer {
    /// A file is not what it should be.
    Malformed {
        /// Which one: `certificate` or `key`.
        what: &'static str,
        /// What the parser says.
        why: String,
    },
    /// The certificate is not a CA's.
    NotCa,
    /// The key is not the certificate's.
    KeyMismatch,
    /// The certificate is not valid at this time.
    NotValidNow,
    /// No trust anchor vouches for the certificate.
    Untrusted,
}

/// A signing request that is not answered with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadRequest {
    /// Not a PKCS#10 request, or its own signature does not hold.
    Malformed(String),
    /// It asks for other names than the one that was proved.
    Names {
        /// The one name that was proved.
        wanted: String,
        /// What the request holds.
        found: Vec<String>,
    },
    /// Its key is not an ECDSA P-256 key.
    Key,
}

impl Issuer {
    /// Reads a chain and a key in PEM, and checks them against the trust anchors at `now`.
    ///
    /// # Errors
    /// See [`InvalidIssuer`].
    pub fn from_pem(certificates: &str, key: &str, anchors: &str, now: SystemTime) -> Result<Self, InvalidIssuer> {
        let chain = pem_chain(certificates, "certificate")?;
        let anchors = pem_chain(anchors, "trust anchors")?;
        let key = KeyPair::from_pem(key).map_err(|e| InvalidIssuer::Malformed { what: "key", why: e.to_string() })?;

        let parsed = chain.iter().map(|der| parse(der)).collect::<Result<Vec<_>, _>>()?;
        let leaf = parsed.first().ok_or_else(|| malformed("certificate", "holds no certificate"))?;
        if !leaf.is_ca() {
            return Err(InvalidIssuer::NotCa);
        }
        if leaf.public_key().subject_public_key.data.as_ref() != rcgen::PublicKeyData::der_bytes(&key) {
            return Err(InvalidIssuer::KeyMismatch);
        }
        let mut not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::MAX >> 24);
        let mut not_before = SystemTime::UNIX_EPOCH;
        for certificate in &parsed {
            let (from, until) = validity(certificate);
            if !(from..=until).contains(&now) {
                return Err(InvalidIssuer::NotValidNow);
            }
            (not_before, not_after) = (not_before.max(from), not_after.min(until));
        }
        let trusted = anchors.iter().map(|der| parse(der)).collect::<Result<Vec<_>, _>>()?;
        if !is_trusted(&parsed, &trusted) {
            return Err(InvalidIssuer::Untrusted);
        }

        let signer = rcgen::Issuer::from_ca_cert_der(&chain[0], key).map_err(|e| malformed("certificate", e))?;
        Ok(Self { signer, chain, not_before, not_after })
    }

    /// Is the whole chain valid at `now`?
    ///
    /// # Errors
    /// It is not: [`InvalidIssuer::NotValidNow`].
    pub fn check(&self, now: SystemTime) -> Result<(), InvalidIssuer> {
        (self.not_before..self.not_after).contains(&now).then_some(()).ok_or(InvalidIssuer::NotValidNow)
    }

    /// The earliest end in the issuer's chain.
    #[must_use]
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Signs a request that asks for exactly one name, `identity`.
    ///
    /// # Errors
    /// See [`BadRequest`].
    pub fn sign(&self, csr: &[u8], identity: &Identity, now: SystemTime, lifetimes: Lifetimes) -> Result<Issued, BadRequest> {
        // This also verifies the request's own signature: whoever asks holds the key.
        let mut request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))
            .map_err(|e| BadRequest::Malformed(e.to_string()))?;
        if *request.public_key.algorithm() != rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(BadRequest::Key);
        }
        check_names(&request, identity)?;

        let params = &mut request.params;
        let not_after = (now + lifetimes.validity + lifetimes.skew).min(self.not_after);
        params.not_before = (now - lifetimes.skew).into();
        params.not_after = not_after.into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions.clear();
        let leaf = request.signed_by(&self.signer).map_err(|e| BadRequest::Malformed(e.to_string()))?;
        Ok(Issued { leaf: leaf.der().to_vec(), intermediates: self.chain.iter().map(|der| der.to_vec()).collect(), not_after })
    }
}

/// One DNS name, the proved one; the common name is empty or the same; nothing else.
fn check_names(request: &CertificateSigningRequestParams, identity: &Identity) -> Result<(), BadRequest> {
    let params = &request.params;
    let name = |san: &SanType| match san {
        SanType::DnsName(name) => format!("DNS:{name}"),
        SanType::URI(uri) => format!("URI:{uri}"),
        SanType::IpAddress(ip) => format!("IP:{ip}"),
        SanType::Rfc822Name(mail) => format!("email:{mail}"),
        _ => "another kind of name".to_owned(),
    };
    let mut found: Vec<_> = params.subject_alt_names.iter().map(name).collect();
    let one = matches!(params.subject_alt_names.as_slice(), [SanType::DnsName(dns)] if Some(dns.as_str()) == identity.as_dns());
    let common = match params.distinguished_name.get(&DnType::CommonName) {
        Some(rcgen::DnValue::Utf8String(name)) => Some(name.clone()),
        Some(rcgen::DnValue::PrintableString(name)) => Some(name.as_str().to_owned()),
        Some(_) => Some("a name that is not UTF-8".to_owned()),
        None => None,
    };
    let common_ok = common.as_deref().is_none_or(|name| name.is_empty() || Some(name) == identity.as_dns());
    if one && common_ok {
        return Ok(());
    }
    found.extend(common.map(|name| format!("CN:{name}")));
    Err(BadRequest::Names { wanted: identity.to_string(), found })
}

fn malformed(what: &'static str, why: impl fmt::Display) -> InvalidIssuer {
    InvalidIssuer::Malformed { what, why: why.to_string() }
}

fn pem_chain(text: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, InvalidIssuer> {
    CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(|e| malformed(what, format_args!("{e:?}")))
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, InvalidIssuer> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|e| malformed("certificate", e))?;
    Ok(certificate)
}

fn validity(certificate: &X509Certificate<'_>) -> (SystemTime, SystemTime) {
    let date =
        |t: x509_parser::time::ASN1Time| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(t.timestamp()).unwrap_or_default());
    (date(certificate.validity().not_before), date(certificate.validity().not_after))
}

/// Each certificate is signed by the next, and the last one is an anchor or signed by one.
fn is_trusted(chain: &[X509Certificate<'_>], anchors: &[X509Certificate<'_>]) -> bool {
    let signed_by = |child: &X509Certificate<'_>, parent: &X509Certificate<'_>| {
        child.issuer() == parent.subject() && child.verify_signature(Some(parent.public_key())).is_ok()
    };
    let Some(last) = chain.last() else { return false };
    let linked = chain.windows(2).all(|pair| signed_by(&pair[0], &pair[1]));
    linked && anchors.iter().any(|anchor| anchor.public_key() == last.public_key() || signed_by(last, anchor))
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl fmt::Display for InvalidIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { what, why } => write!(f, "the issuer's {what} cannot be read: {why}"),
            Self::NotCa => f.write_str("the issuer's certificate is not a CA certificate"),
            Self::KeyMismatch => f.write_str("the issuer's key does not belong to its certificate"),
            Self::NotValidNow => f.write_str("the issuer's certificate has expired or is not yet valid"),
            Self::Untrusted => f.write_str("no trust anchor vouches for the issuer's certificate"),
        }
    }
}

impl std::error::Error for InvalidIssuer {}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "the signing request cannot be read or verified: {why}"),
            Self::Names { wanted, found } => {
                write!(f, "the signing request must name exactly DNS:{wanted}, and names {}", found.join(", "))
            }
            Self::Key => f.write_str("the signing request's key is not ECDSA P-256"),
        }
    }
}

impl std::error::Error for BadRequest {}

#[cfg(test)]
mod tests {
    use rcgen::CertificateParams;

    use super::*;
    use crate::authority::Authority;

    const WEB: &str = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local";
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY * 20_000
    }

    fn issuer() -> Issuer {
        let made = Authority::generate("linkerd", "cluster.local", now()).unwrap();
        Issuer::from_pem(made.issuer_pem(), made.issuer_key_pem(), made.anchors_pem(), now()).unwrap()
    }

    fn csr(names: &[&str], key: &KeyPair) -> Vec<u8> {
        let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn a_request_for_the_proved_name_is_signed_within_the_issuers_life() {
        let (issuer, key) = (issuer(), KeyPair::generate().unwrap());
        let web: Identity = WEB.parse().unwrap();
        let issued = issuer.sign(&csr(&[WEB], &key), &web, now(), Lifetimes::default()).unwrap();
        assert_eq!(issued.not_after, now() + DAY + Duration::from_secs(20));
        let late = issuer.not_after() - Duration::from_secs(60);
        let issued = issuer.sign(&csr(&[WEB], &key), &web, late, Lifetimes::default()).unwrap();
        assert_eq!(issued.not_after, issuer.not_after());

        let (_, leaf) = X509Certificate::from_der(&issued.leaf).unwrap();
        assert!(!leaf.is_ca());
        let names: Vec<_> = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.iter().map(ToString::to_string).collect();
        assert_eq!(names, [format!("DNSName({WEB})")]);
    }

    #[test]
    fn requests_for_other_names_are_refused() {
        let (issuer, key) = (issuer(), KeyPair::generate().unwrap());
        let web: Identity = WEB.parse().unwrap();
        for names in [&["voting.emojivoto"][..], &[WEB, "voting.emojivoto"], &[], &["10.0.0.1"]] {
            let refused = issuer.sign(&csr(names, &key), &web, now(), Lifetimes::default()).unwrap_err();
            assert!(matches!(refused, BadRequest::Names { .. }), "{names:?}: {refused}");
        }
    }

    #[test]
    fn a_request_that_its_key_did_not_sign_is_refused() {
        let (issuer, key) = (issuer(), KeyPair::generate().unwrap());
        let mut forged = csr(&[WEB], &key);
        let last = forged.len() - 1;
        forged[last] ^= 1;
        let refused = issuer.sign(&forged, &WEB.parse().unwrap(), now(), Lifetimes::default()).unwrap_err();
        assert!(matches!(refused, BadRequest::Malformed(_)), "{refused}");
        assert!(issuer.sign(b"not a request", &WEB.parse().unwrap(), now(), Lifetimes::default()).is_err());
    }

    #[test]
    fn an_issuer_must_be_a_valid_ca_with_its_own_key_under_a_known_anchor() {
        let made = Authority::generate("linkerd", "cluster.local", now()).unwrap();
        let other = Authority::generate("linkerd", "cluster.local", now()).unwrap();
        let load = |crt: &str, key: &str, anchors: &str, at| Issuer::from_pem(crt, key, anchors, at).map(|_| ());
        let (crt, key, anchors) = (made.issuer_pem(), made.issuer_key_pem(), made.anchors_pem());
        assert_eq!(load(crt, key, anchors, now()), Ok(()));
        assert_eq!(load(crt, other.issuer_key_pem(), anchors, now()), Err(InvalidIssuer::KeyMismatch));
        assert_eq!(load(crt, key, other.anchors_pem(), now()), Err(InvalidIssuer::Untrusted));
        assert_eq!(load(crt, key, anchors, now() + DAY * 10_000), Err(InvalidIssuer::NotValidNow));
        assert!(matches!(load("", key, anchors, now()), Err(InvalidIssuer::Malformed { .. })));
    }
}

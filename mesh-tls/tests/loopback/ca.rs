//! A certificate authority for one test.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use meshkit_core::{Clock, Identity, SystemClock, endpoint::ServerTls};
use meshkit_tls::{Credentials, KeyPair, Store, TrustAnchors};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyUsagePurpose, SanType};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) struct Ca {
    issuer: Issuer<'static, rcgen::KeyPair>,
    pub(crate) pem: String,
}

/// A certificate with its key.
pub(crate) struct Leaf {
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: rcgen::KeyPair,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = authority(name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// An authority that this one vouches for.
    pub(crate) fn vouches_for(&self, name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = authority(name);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn anchors(&self) -> TrustAnchors {
        TrustAnchors::from_pem(&self.pem).unwrap()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()
    }

    /// A certificate of these names, DNS or URI, from then to then.
    pub(crate) fn leaf_within(&self, names: &[&str], from: SystemTime, until: SystemTime) -> Leaf {
        self.leaf_of(rcgen::KeyPair::generate().unwrap(), names, from, until)
    }

    /// The same for a key of the caller's.
    pub(crate) fn leaf_of(&self, key: rcgen::KeyPair, names: &[&str], from: SystemTime, until: SystemTime) -> Leaf {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.iter().map(|name| san(name)).collect();
        (params.not_before, params.not_after) = (from.into(), until.into());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { certificate, key }
    }

    /// A certificate for this hour.
    pub(crate) fn leaf(&self, names: &[&str]) -> Leaf {
        self.leaf_within(names, now() - HOUR, now() + HOUR)
    }

    pub(crate) fn credentials(&self, name: &Identity) -> Credentials {
        self.leaf(&[name.as_str()]).credentials(&self.anchors(), name)
    }

    /// A workload of this authority.
    pub(crate) fn store(&self, name: &str) -> Store {
        let name: Identity = name.parse().unwrap();
        let store = Store::new(Arc::new(meshkit_tls::provider()), self.anchors(), name.clone()).unwrap();
        store.set_credentials(self.credentials(&name));
        store
    }
}

impl Leaf {
    pub(crate) fn credentials(&self, anchors: &TrustAnchors, name: &Identity) -> Credentials {
        let key = KeyPair::from_pkcs8(&self.key.serialize_der()).unwrap();
        let chain = vec![self.certificate.der().clone()];
        Credentials::new(&meshkit_tls::provider(), anchors, name, chain, &key, now()).unwrap()
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn san(name: &str) -> SanType {
    match name.contains("://") {
        true => SanType::URI(name.try_into().unwrap()),
        false => SanType::DnsName(name.try_into().unwrap()),
    }
}

pub(crate) fn now() -> SystemTime {
    SystemClock.now()
}

/// A server that must be this.
pub(crate) fn server(name: &str) -> ServerTls {
    ServerTls { identity: name.parse().unwrap(), server_name: name.into() }
}

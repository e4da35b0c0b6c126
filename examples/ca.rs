//! A certificate authority for an afternoon. On a mesh, the identity controller does this.

use std::{sync::Arc, time::Duration};

use meshkit_core::{Clock, Identity, SystemClock};
use meshkit_tls::{Credentials, KeyPair, Store, TrustAnchors};
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer};

use crate::BoxError;

pub(crate) struct LocalCa {
    issuer: Issuer<'static, rcgen::KeyPair>,
    anchors: TrustAnchors,
}

impl LocalCa {
    /// A new key, which signs its own certificate: the trust anchor.
    pub(crate) fn new(name: &str) -> Result<Self, BoxError> {
        let key = rcgen::KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let anchors = TrustAnchors::from_pem(&params.self_signed(&key)?.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), anchors })
    }

    /// What a workload shakes hands with: it trusts this authority, and has a certificate from it.
    pub(crate) fn store(&self, name: &Identity) -> Result<Store, BoxError> {
        let store = Store::new(Arc::new(meshkit_tls::provider()), self.anchors.clone(), name.clone())?;
        store.set_credentials(self.issue(name)?);
        Ok(store)
    }

    /// A certificate for an hour. The workload makes its key, which never leaves it, and this end sees the signing request.
    pub(crate) fn issue(&self, name: &Identity) -> Result<Credentials, BoxError> {
        let key = KeyPair::generate()?;
        let request = key.signing_request(name)?;

        let now = SystemClock.now();
        let mut request = CertificateSigningRequestParams::from_der(&request.into())?;
        request.params.not_before = now.into();
        request.params.not_after = (now + Duration::from_secs(3600)).into();
        let certificate = request.signed_by(&self.issuer)?.der().clone();

        Ok(Credentials::new(&meshkit_tls::provider(), &self.anchors, name, vec![certificate], &key, now)?)
    }
}

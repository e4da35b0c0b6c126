//! The Certify API.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use meshkit_core::{Clock, Identity, grpc::Code};
use meshkit_wire::{
    Refused,
    identity::{Certified, Certify, CertifyRequest},
};
use tracing::{info, warn};

use crate::{
    issuer::{BadRequest, Issuer, Lifetimes},
    token::{Authenticate, InvalidToken},
};

/// Answers Certify requests for one trust domain.
#[derive(Debug)]
pub struct Service<A> {
    /// Replaced while running; `None` until one could be loaded.
    issuer: RwLock<Option<Arc<Issuer>>>,
    tokens: A,
    clock: Arc<dyn Clock>,
    control_plane: String,
    trust_domain: String,
    lifetimes: Lifetimes,
}

impl<A> Service<A> {
    /// A service without an issuer: it refuses until [`Service::set_issuer`] gives it one.
    #[must_use]
    pub fn new(tokens: A, control_plane: &str, trust_domain: &str, lifetimes: Lifetimes, clock: Arc<dyn Clock>) -> Self {
        Self {
            issuer: RwLock::new(None),
            tokens,
            clock,
            control_plane: control_plane.to_owned(),
            trust_domain: trust_domain.to_owned(),
            lifetimes,
        }
    }

    /// Signs with this issuer from now on.
    pub fn set_issuer(&self, issuer: Issuer) {
        info!(not_after = ?issuer.not_after(), "issuer loaded");
        *self.issuer.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(issuer));
    }

    fn sign(&self, csr: &[u8], identity: &Identity, now: SystemTime) -> Result<Certified, Refused> {
        let issuer = self.issuer.read().unwrap_or_else(PoisonError::into_inner).clone();
        let issuer = issuer.ok_or_else(|| Refused::new(Code::UNAVAILABLE, "cert issuer not ready yet"))?;
        if issuer.not_after() <= now {
            return Err(Refused::new(Code::UNAVAILABLE, "the issuer's certificate has expired: replace the issuer"));
        }
        let issued = issuer.sign(csr, identity, now, self.lifetimes).map_err(|bad| {
            let code = match bad {
                BadRequest::Malformed(_) | BadRequest::Key => Code::INVALID_ARGUMENT,
                BadRequest::Names { .. } => Code::FAILED_PRECONDITION,
            };
            Refused::new(code, bad.to_string())
        })?;
        Ok(Certified { leaf: issued.leaf, intermediates: issued.intermediates, valid_until: issued.not_after })
    }

    async fn answer(&self, request: &CertifyRequest) -> Result<Certified, Refused>
    where
        A: Authenticate,
    {
        if request.identity.is_empty() || request.token.is_empty() || request.csr.is_empty() {
            return Err(Refused::new(Code::INVALID_ARGUMENT, "identity, token and signing request must all be given"));
        }
        let wanted: Identity = request.identity.parse().map_err(|e| Refused::new(Code::INVALID_ARGUMENT, format!("{e}")))?;
        let account = self.tokens.authenticate(&request.token).await.map_err(|bad| {
            let code = match bad {
                InvalidToken::Malformed => Code::INVALID_ARGUMENT,
                InvalidToken::NotAuthenticated => Code::FAILED_PRECONDITION,
                InvalidToken::Unavailable(_) => Code::INTERNAL,
            };
            Refused::new(code, bad.to_string())
        })?;
        let proved = account.identity(&self.control_plane, &self.trust_domain);
        if wanted.as_str() != proved {
            return Err(Refused::new(Code::FAILED_PRECONDITION, format!("the token proves {proved}, and {wanted} was asked for")));
        }
        self.sign(&request.csr, &wanted, self.clock.now())
    }
}

impl<A: Authenticate> Certify for Service<A> {
    async fn certify(&self, request: CertifyRequest) -> Result<Certified, Refused> {
        let answer = self.answer(&request).await;
        match &answer {
            Ok(issued) => info!(identity = %request.identity, valid_until = ?issued.valid_until, "certificate issued"),
            Err(error) => warn!(identity = %request.identity, %error, "certificate refused"),
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::{
        authority::Authority,
        token::{ServiceAccount, Tokens},
    };

    const WEB: &str = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local";

    struct Fixture {
        service: Service<Tokens>,
        request: CertifyRequest,
        dir: tempfile::TempDir,
        now: SystemTime,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let tokens = Tokens::load_or_generate(&dir.path().join("token.key")).unwrap();
        let token = tokens.issue(&ServiceAccount::new("emojivoto", "web").unwrap()).into_bytes();
        let service = Service::new(tokens, "linkerd", "cluster.local", Lifetimes::default(), Arc::new(now));
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![WEB.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let csr = params.serialize_request(&key).unwrap().der().to_vec();
        Fixture { service, request: CertifyRequest { identity: WEB.to_owned(), token, csr }, dir, now }
    }

    impl Fixture {
        fn with_issuer(self) -> Self {
            let made = Authority::load_or_generate(self.dir.path(), "linkerd", "cluster.local", self.now).unwrap();
            let issuer = Issuer::from_pem(made.issuer_pem(), made.issuer_key_pem(), made.anchors_pem(), self.now).unwrap();
            self.service.set_issuer(issuer);
            self
        }

        async fn code(&self, request: CertifyRequest) -> Code {
            self.service.certify(request).await.unwrap_err().code()
        }
    }

    #[tokio::test]
    async fn a_proved_workload_gets_its_certificate() {
        let f = fixture().with_issuer();
        let certified = f.service.certify(f.request.clone()).await.unwrap();
        assert!(certified.valid_until > f.now);
        assert_eq!(certified.intermediates.len(), 1);
    }

    #[tokio::test]
    async fn every_refusal_has_its_code() {
        let f = fixture();
        assert_eq!(f.code(f.request.clone()).await, Code::UNAVAILABLE);
        let f = f.with_issuer();
        let with = |change: fn(&mut CertifyRequest)| {
            let mut request = f.request.clone();
            change(&mut request);
            request
        };
        assert_eq!(f.code(with(|r| r.token.clear())).await, Code::INVALID_ARGUMENT);
        assert_eq!(f.code(with(|r| r.csr = b"x".to_vec())).await, Code::INVALID_ARGUMENT);
        assert_eq!(f.code(with(|r| r.token = b"x".to_vec())).await, Code::INVALID_ARGUMENT);
        assert_eq!(f.code(with(|r| r.token[3] ^= 1)).await, Code::FAILED_PRECONDITION);
        let other = "voting.emojivoto.serviceaccount.identity.linkerd.cluster.local";
        assert_eq!(f.code(CertifyRequest { identity: other.to_owned(), ..f.request.clone() }).await, Code::FAILED_PRECONDITION);
    }
}

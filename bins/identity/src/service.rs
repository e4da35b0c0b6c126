//! The Certify API.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use jiff::Timestamp;
use meshkit_core::{Clock, Identity, grpc::Code};
use meshkit_wire::{
    Refused,
    identity::{Certified, Certify, CertifyRequest},
};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    Anchors, Observe,
    issuer::{BadRequest, Issuer, Lifetimes},
    token::{Authenticate, InvalidToken, ServiceAccount},
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
    observe: Arc<dyn Observe>,
    anchors: Option<Arc<Anchors>>,
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
            observe: Arc::new(()),
            anchors: None,
        }
    }

    /// Tells somebody what it does.
    #[must_use]
    pub fn observe(mut self, observe: Arc<dyn Observe>) -> Self {
        self.observe = observe;
        self
    }

    /// Lets these know who asks for certificates: they tell who does not follow them.
    #[must_use]
    pub fn anchors(mut self, anchors: Arc<Anchors>) -> Self {
        self.anchors = Some(anchors);
        self
    }

    /// Signs with this issuer from now on.
    pub fn set_issuer(&self, issuer: Issuer) {
        info!(not_after = %date(issuer.not_after()), "issuer loaded");
        self.observe.loaded(issuer.not_after());
        *self.issuer.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(issuer));
    }

    fn issuer(&self) -> Result<Arc<Issuer>, Refused> {
        let issuer = self.issuer.read().unwrap_or_else(PoisonError::into_inner).clone();
        issuer.ok_or_else(|| Refused::new(Code::UNAVAILABLE, "cert issuer not ready yet"))
    }

    fn sign(&self, issuer: &Issuer, csr: &[u8], identity: &Identity, now: SystemTime) -> Result<Certified, Refused> {
        let issued = issuer.sign(csr, identity, now, self.lifetimes).map_err(|bad| {
            let code = match bad {
                BadRequest::Malformed(_) | BadRequest::Key => Code::INVALID_ARGUMENT,
                BadRequest::Names { .. } => Code::FAILED_PRECONDITION,
            };
            Refused::new(code, bad.to_string())
        })?;
        Ok(Certified { leaf: issued.leaf, intermediates: issued.intermediates, valid_until: issued.not_after })
    }

    async fn answer(&self, request: &CertifyRequest) -> Result<(ServiceAccount, Identity, Certified), Refused>
    where
        A: Authenticate,
    {
        let issuer = self.issuer()?;
        if request.identity.is_empty() || request.token.is_empty() || request.csr.is_empty() {
            return Err(Refused::new(Code::INVALID_ARGUMENT, "identity, token and signing request must all be given"));
        }
        let wanted: Identity = request.identity.parse().map_err(|e| Refused::new(Code::INVALID_ARGUMENT, format!("{e}")))?;
        if let Err(invalid) = issuer.check(self.clock.now()) {
            let why = format!("{invalid}: replace the issuer");
            self.observe.issuer_invalid(&why);
            return Err(Refused::new(Code::UNKNOWN, why));
        }
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
        let certified = self.sign(&issuer, &request.csr, &wanted, self.clock.now())?;
        Ok((account, wanted, certified))
    }
}

/// For people.
fn date(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or_default()
}

impl<A: Authenticate> Certify for Service<A> {
    async fn certify(&self, request: CertifyRequest) -> Result<Certified, Refused> {
        let began = Instant::now();
        self.observe.asked();
        let answer = self.answer(&request).await;
        match &answer {
            Ok((account, identity, issued)) => {
                info!(identity = %request.identity, valid_until = %date(issued.valid_until), "certificate issued");
                self.observe.issued(account, identity, &issued.leaf, issued.valid_until);
                if let Some(anchors) = &self.anchors {
                    anchors.certified(identity, &request.csr, request.trust, issued.valid_until);
                }
            }
            Err(error) => warn!(identity = %request.identity, %error, "certificate refused"),
        }
        self.observe.answered(answer.as_ref().err().map_or(Code::OK, Refused::code), began.elapsed());
        answer.map(|(_, _, certified)| certified)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshkit_wire::identity::Trust;
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
        Fixture { service, request: CertifyRequest { identity: WEB.to_owned(), token, csr, trust: Trust::Fixed }, dir, now }
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
        let mut f = f.with_issuer();
        f.service.clock = Arc::new(f.now + Duration::from_secs(400 * 24 * 3600));
        assert_eq!(f.code(f.request.clone()).await, Code::UNKNOWN);
        f.service.clock = Arc::new(f.now);
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

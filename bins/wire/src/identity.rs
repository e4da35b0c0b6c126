//! `io.linkerd.proxy.identity`: a token and a signing request in, a certificate out.

use std::{sync::Arc, time::SystemTime};

use linkerd2_proxy_api::identity as proto;
use tonic::{Request, Response, Status, metadata::MetadataValue};

use crate::{Channel, Invalid, Refused};

/// A workload asks for a certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct CertifyRequest {
    /// The name that the certificate is to have.
    pub identity: String,
    /// Proof of who asks.
    pub token: Vec<u8>,
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
    /// What it says of its trust anchors.
    pub trust: Trust,
}

/// What becomes of a client's trust anchors when the mesh has others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // They stay or they do not.
pub enum Trust {
    /// They stay until it is restarted, as far as anybody knows.
    #[default]
    Fixed,
    /// It follows [those that it is told](crate::extension::anchors).
    Followed,
}

/// A header of the call, for the API has no field for it.
const TRUST: &str = "mesh-trust-anchors";
/// Its value.
const FOLLOWED: &str = "followed";

/// A certificate and the chain above it, without the trust anchor. DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// The workload's own certificate.
    pub leaf: Vec<u8>,
    /// From the issuer of the leaf upwards.
    pub intermediates: Vec<Vec<u8>>,
    /// The leaf's end.
    pub valid_until: SystemTime,
}

/// Issues certificates.
pub trait Certify: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// # Errors
    /// The request is refused, with a code that says whether asking again can help.
    fn certify(&self, request: CertifyRequest) -> impl Future<Output = Result<Certified, Refused>> + Send;
}

/// Serves an issuer over gRPC.
#[must_use]
pub fn server<C: Certify>(certify: Arc<C>) -> proto::identity_server::IdentityServer<Server<C>> {
    proto::identity_server::IdentityServer::new(Server(certify)).max_decoding_message_size(64 * 1024)
}

/// Adapts [`Certify`] to the generated service.
#[derive(Debug)]
pub struct Server<C>(Arc<C>);

#[tonic::async_trait]
impl<C: Certify> proto::identity_server::Identity for Server<C> {
    async fn certify(&self, request: Request<proto::CertifyRequest>) -> Result<Response<proto::CertifyResponse>, Status> {
        let is_followed = request.metadata().get(TRUST).is_some_and(|value| value.as_bytes() == FOLLOWED.as_bytes());
        let trust = if is_followed { Trust::Followed } else { Trust::Fixed };
        let proto::CertifyRequest { identity, token, certificate_signing_request: csr } = request.into_inner();
        let certified = self.0.certify(CertifyRequest { identity, token, csr, trust }).await.map_err(Refused::into_status)?;
        Ok(Response::new(proto::CertifyResponse {
            leaf_certificate: certified.leaf,
            intermediate_certificates: certified.intermediates,
            valid_until: Some(certified.valid_until.into()),
        }))
    }
}

/// Asks an issuer for a certificate.
///
/// # Errors
/// The issuer refuses or cannot be reached, or its answer cannot be read.
///
/// # Cancel safety
/// Dropping the future gives the request up; the issuer may have signed all the same, which does no harm.
pub async fn certify(channel: Channel, request: CertifyRequest) -> Result<Certified, Refused> {
    let mut client = proto::identity_client::IdentityClient::new(channel);
    let CertifyRequest { identity, token, csr, trust } = request;
    let mut request = Request::new(proto::CertifyRequest { identity, token, certificate_signing_request: csr });
    if trust == Trust::Followed {
        request.metadata_mut().insert(TRUST, MetadataValue::from_static(FOLLOWED));
    }
    let response = client.certify(request).await.map_err(|status| Refused::of(&status))?.into_inner();
    certified(response).map_err(|invalid| Refused::new(meshkit_core::grpc::Code::INTERNAL, format!("malformed answer: {invalid}")))
}

fn certified(response: proto::CertifyResponse) -> Result<Certified, Invalid> {
    if response.leaf_certificate.is_empty() {
        return Err(Invalid::missing("leaf_certificate"));
    }
    let valid_until = response.valid_until.ok_or_else(|| Invalid::missing("valid_until"))?;
    let valid_until = SystemTime::try_from(valid_until).map_err(|e| Invalid::new("valid_until", e))?;
    Ok(Certified { leaf: response.leaf_certificate, intermediates: response.intermediate_certificates, valid_until })
}

/// Tokens and requests are proofs of identity: they are not shown.
impl std::fmt::Debug for CertifyRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertifyRequest").field("identity", &self.identity).finish_non_exhaustive()
    }
}

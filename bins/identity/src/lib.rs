//! Signs workload certificates: who asks is proved by a token, what is asked by a signing request, and what is answered
//! never outlives the issuer.
//!
//! | module | what it holds |
//! |---|---|
//! | [`issuer`] | a CA certificate with its key: checks signing requests, signs |
//! | [`authority`] | a trust anchor and issuer made on the spot, kept in a folder |
//! | [`token`] | who a token belongs to |
//! | [`review`] | tokens that the API server of Kubernetes checks |
//! | [`service`] | the Certify API over these |
//! | [`anchors`] | trust anchors as proxies follow them, and who cannot |
//! | [`mounted`], [`reload`] | issuer and trust anchors in files, read again as they change |
//! | [`metrics`] | what is counted |

pub mod anchors;
pub mod authority;
pub mod issuer;
pub mod metrics;
pub mod mounted;
mod observe;
pub mod reload;
pub mod review;
pub mod service;
pub mod token;

pub use anchors::Anchors;
pub use issuer::{Issuer, Lifetimes};
pub use observe::Observe;
pub use service::Service;
pub use token::{Authenticate, Tokens};

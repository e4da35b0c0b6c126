//! What is checked before credentials and anchors are adopted.

use std::{sync::Arc, time::SystemTime};

use meshkit_core::Identity;
use meshkit_tls::{
    Credentials, InvalidCredentials, KeyPair, TrustAnchors,
    anchors::{InvalidAnchors, MAX_ANCHORS},
    provider,
    rustls::crypto::CryptoProvider,
};
use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::ca::{Ca, HOUR, Leaf, now};

const NAME: &str = "web.emojivoto";

fn adopt(ca: &Ca, leaf: &Leaf, at: SystemTime) -> Result<Credentials, InvalidCredentials> {
    let (name, key) = (NAME.parse::<Identity>().unwrap(), KeyPair::from_pkcs8(&leaf.key.serialize_der()).unwrap());
    Credentials::new(&provider(), &ca.anchors(), &name, vec![leaf.certificate.der().clone()], &key, at)
}

#[test]
fn credentials_must_be_of_this_workload_vouched_for_valid_now_and_of_this_key() {
    let (ca, elsewhere) = (Ca::new("root"), Ca::new("root"));
    let leaf = ca.leaf(&["other.name", NAME]);
    assert!(adopt(&ca, &leaf, now()).unwrap().not_after() > now());

    let refused = |leaf: &Leaf, at| adopt(&ca, leaf, at).unwrap_err();
    let error = refused(&ca.leaf(&["emoji.emojivoto"]), now());
    assert_eq!(error.to_string(), r#"the certificate names ["emoji.emojivoto"], not web.emojivoto"#);
    assert!(matches!(refused(&elsewhere.leaf(&[NAME]), now()), InvalidCredentials::Untrusted(_)));
    assert!(matches!(refused(&leaf, now() + 2 * HOUR), InvalidCredentials::Untrusted(_)), "it has ended");
    assert!(matches!(refused(&leaf, now() - 2 * HOUR), InvalidCredentials::Untrusted(_)), "it has not begun");
    let other_key = Leaf { certificate: ca.leaf(&[NAME]).certificate, key: ca.leaf(&[NAME]).key };
    assert!(matches!(refused(&other_key, now()), InvalidCredentials::Key(_)));
}

#[test]
fn an_agent_may_bring_a_key_of_another_kind() {
    let ca = Ca::new("root");
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let leaf = ca.leaf_of(rcgen::KeyPair::generate_for(algorithm).unwrap(), &[NAME], now() - HOUR, now() + HOUR);
        let key = PrivatePkcs8KeyDer::from(leaf.key.serialize_der());
        let (name, chain) = (NAME.parse().unwrap(), vec![leaf.certificate.der().clone()]);
        assert!(Credentials::with_key(&provider(), &ca.anchors(), &name, chain.clone(), key.into(), now()).is_ok());
        let no_key = PrivatePkcs8KeyDer::from(vec![0; 32]);
        let refused = Credentials::with_key(&provider(), &ca.anchors(), &name, chain, no_key.into(), now());
        assert!(matches!(refused, Err(InvalidCredentials::Key(_))), "{refused:?}");
    }
}

#[test]
fn what_is_no_certificate_is_refused() {
    let (ca, name, key) = (Ca::new("root"), NAME.parse().unwrap(), KeyPair::generate().unwrap());
    for chain in [vec![], vec![b"no certificate".to_vec().into()]] {
        let refused = Credentials::new(&provider(), &ca.anchors(), &name, chain, &key, now());
        assert!(matches!(refused, Err(InvalidCredentials::Malformed(_))), "{refused:?}");
    }
}

#[test]
fn the_provider_decides_which_signatures_count() {
    let ca = Ca::new("root");
    let leaf = ca.leaf(&[NAME]);
    let (name, key) = (NAME.parse().unwrap(), KeyPair::from_pkcs8(&leaf.key.serialize_der()).unwrap());
    let mut none: CryptoProvider = provider();
    none.signature_verification_algorithms.all = &[];
    let refused = Credentials::new(&Arc::new(none), &ca.anchors(), &name, vec![leaf.certificate.der().clone()], &key, now());
    assert!(matches!(refused, Err(InvalidCredentials::Untrusted(_))), "{refused:?}");
}

#[test]
fn anchors_are_one_or_more_certificates_and_not_too_many() {
    let ca = Ca::new("root");
    assert_eq!(ca.anchors().certificates().len(), 1);
    let bundle = |n| TrustAnchors::from_pem(&format!("# a comment\n{}", ca.pem.repeat(n)));
    assert_eq!(bundle(MAX_ANCHORS).unwrap().certificates().len(), MAX_ANCHORS);
    assert_eq!(bundle(MAX_ANCHORS + 1), Err(InvalidAnchors::TooMany(MAX_ANCHORS + 1)));
    assert_eq!(bundle(0), Err(InvalidAnchors::Empty));
    let broken = format!("{}{}", ca.pem, ca.pem.replace("MII", "AAA"));
    assert!(matches!(TrustAnchors::from_pem(&broken), Err(InvalidAnchors::Malformed(2, _))));
}

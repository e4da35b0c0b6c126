//! Keys and signing requests, as OpenSSL reads them.

use meshkit_core::Identity;
use meshkit_tls::{KeyPair, key};

use rustls_pki_types::pem::PemObject as _;

use crate::openssl::openssl;

#[tokio::test]
async fn a_request_names_the_workload_once_and_is_signed_by_its_key() {
    let web = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local";
    let long = format!("{}.emojivoto.serviceaccount.identity.linkerd.cluster.local", "w".repeat(60));
    let spiffe = "spiffe://root.linkerd.cluster.local/ns/emojivoto/sa/web";
    for (name, alternative, common) in
        [(web, format!("DNS:{web}"), Some(web)), (&*long, format!("DNS:{long}"), None), (spiffe, format!("URI:{spiffe}"), None)]
    {
        let key = KeyPair::generate().unwrap();
        let request = key.signing_request(&name.parse::<Identity>().unwrap()).unwrap();
        let (status, text) = openssl(&["req", "-inform", "DER", "-verify", "-noout", "-text"], &request).await;
        assert!(status.success() && text.contains("verify OK"), "{text}");
        assert!(text.contains(&alternative), "{text}");
        assert_eq!(text.matches("DNS:").count() + text.matches("URI:").count(), 1, "{text}");
        let subject = text.lines().find(|line| line.trim_start().starts_with("Subject:")).unwrap();
        assert_eq!(common.map(|common| subject.ends_with(common)), common.map(|_| true), "{subject}");
        assert!(common.is_some() || !subject.contains("CN"), "{subject}");
    }
}

#[tokio::test]
async fn a_key_is_pkcs8_on_the_p_256_curve() {
    let key = KeyPair::generate().unwrap();
    let (status, text) = openssl(&["pkey", "-inform", "DER", "-noout", "-text", "-check"], key.to_pkcs8().secret_der()).await;
    assert!(status.success() && text.contains("prime256v1") && text.contains("is valid"), "{text}");
    let (status, der) = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], b"").await;
    assert!(status.success());
    let der = rustls_pki_types::PrivatePkcs8KeyDer::from_pem_slice(der.as_bytes()).unwrap();
    assert!(KeyPair::from_pkcs8(der.secret_pkcs8_der()).is_err(), "another curve is refused");
}

#[test]
fn an_identity_folder_is_filled_once_and_belongs_to_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let name: Identity = "web.emojivoto".parse().unwrap();
    let made = key::Files::load_or_generate(dir.path(), &name).unwrap();
    let read = key::Files::load_or_generate(dir.path(), &name).unwrap();
    assert_eq!(made.key.to_pkcs8(), read.key.to_pkcs8());
    assert_eq!(made.signing_request, read.signing_request);
    for file in ["key.p8", "csr.der"] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(dir.path().join(file)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    std::fs::remove_file(dir.path().join("csr.der")).unwrap();
    let half = key::Files::load_or_generate(dir.path(), &name).unwrap_err();
    assert!(half.to_string().contains("csr.der"), "{half}");
    std::fs::write(dir.path().join("csr.der"), "").unwrap();
    std::fs::write(dir.path().join("key.p8"), "no key").unwrap();
    let broken = key::Files::load_or_generate(dir.path(), &name).unwrap_err();
    assert!(broken.to_string().contains("cannot be used"), "{broken}");
    assert!(!format!("{:?}", made.key).contains("308"), "a key does not show itself");
}

//! One trust anchor and one credential, with which every foreign proxy speaks to every other.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

/// Every proxy's name.
pub const NAME: &str = "proxy.bench.internal";

/// PEM files in a folder.
#[derive(Clone, Debug)]
pub struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    /// Of a folder that [`generate`](Self::generate) has filled.
    #[must_use]
    pub const fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Fills a folder: P-256 keys and certificates, as a mesh has them.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn generate(dir: &Path) -> io::Result<Self> {
        let failed = |error: rcgen::Error| io::Error::other(error);
        fs::create_dir_all(dir)?;
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // By default both have one name, and a certificate whose issuer has its own name is self-signed to OpenSSL.
        authority.distinguished_name = DistinguishedName::new();
        authority.distinguished_name.push(DnType::CommonName, "anchor.bench.internal");
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(failed)?;
        let anchor = authority.self_signed(&key).map_err(failed)?;
        let issuer = Issuer::new(authority, key);
        let key = KeyPair::generate().map_err(failed)?;
        let mut leaf = CertificateParams::new([NAME.to_owned()]).map_err(failed)?;
        leaf.distinguished_name = DistinguishedName::new();
        leaf.distinguished_name.push(DnType::CommonName, NAME);
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = leaf.signed_by(&key, &issuer).map_err(failed)?;

        let this = Self::at(dir.to_owned());
        fs::write(this.anchor(), anchor.pem())?;
        fs::write(this.leaf(), leaf.pem())?;
        fs::write(this.key(), key.serialize_pem())?;
        // HAProxy wants both in one file.
        fs::write(this.credential(), leaf.pem() + &key.serialize_pem())?;
        Ok(this)
    }

    /// Whom to trust.
    #[must_use]
    pub fn anchor(&self) -> PathBuf {
        self.dir.join("anchor.pem")
    }

    /// A proxy's certificate.
    #[must_use]
    pub fn leaf(&self) -> PathBuf {
        self.dir.join("leaf.pem")
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.join("key.pem")
    }

    /// Certificate and key.
    #[must_use]
    pub fn credential(&self) -> PathBuf {
        self.dir.join("credential.pem")
    }

    /// TLS of an outbound proxy.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn client(&self, alpn: &[&str]) -> io::Result<ClientConfig> {
        let (roots, leaf, key) = self.load()?;
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).map_err(io::Error::other)?;
        let mut config = builder.with_root_certificates(roots).with_client_auth_cert(vec![leaf], key).map_err(io::Error::other)?;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// TLS of an inbound proxy, which wants its clients to have a certificate.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn server(&self, alpn: &[&str]) -> io::Result<ServerConfig> {
        let (roots, leaf, key) = self.load()?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(io::Error::other)?;
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).map_err(io::Error::other)?;
        let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(vec![leaf], key).map_err(io::Error::other)?;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn load(&self) -> io::Result<(RootCertStore, CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let mut roots = RootCertStore::empty();
        let certificate = |path| CertificateDer::from_pem_file(path).map_err(io::Error::other);
        roots.add(certificate(self.anchor())?).map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_file(self.key()).map_err(io::Error::other)?;
        Ok((roots, certificate(self.leaf())?, key))
    }
}

/// Cipher and key exchange of ours, so that each peer that can does the same work.
fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::{cipher_suite, kx_group};
    Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
}

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The provider of `aws-lc-rs`, with the cipher suites and key exchanges of the mesh, in its order of preference.
#[cfg(feature = "aws-lc-rs")]
#[must_use]
pub fn provider() -> CryptoProvider {
    use aws_lc_rs::{cipher_suite, kx_group};
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

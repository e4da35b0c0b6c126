//! A certificate authority of openssl's making.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rcgen::{CertificateSigningRequestParams, Issuer, KeyPair};

const CONFIG: &str = "
[req]
distinguished_name = name
[name]
[ca]
default_ca = here
[here]
database = index.txt
new_certs_dir = .
certificate = anchor.pem
private_key = anchor.key
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
email_in_dn = no
[any]
commonName = optional
[anchor]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
";

/// An anchor that signs.
pub(crate) struct Authority {
    dir: tempfile::TempDir,
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dates {
    Now,
    Expired,
    NotYet,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config"), CONFIG).unwrap();
        fs::write(dir.path().join("index.txt"), "").unwrap();
        let anchor = "req -x509 -config config -extensions anchor -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout anchor.key \
                      -out anchor.pem -subj /CN=anchor -days 30";
        openssl(dir.path(), anchor);
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn anchor_pem(&self) -> String {
        fs::read_to_string(self.dir().join("anchor.pem")).unwrap()
    }

    /// Signs a certificate with this one DNS name.
    pub(crate) fn leaf(&self, name: &str, dates: Dates) -> Files {
        self.signed(name, &format!("DNS:{name}"), dates)
    }

    /// Signs a certificate with this one SPIFFE id. Both files are DER: the key is PKCS #8.
    pub(crate) fn svid(&self, id: &str) -> Files {
        let pem = self.signed("svid", &format!("URI:{id}"), Dates::Now);
        openssl(self.dir(), &format!("x509 -in {} -outform DER -out svid.crt", pem.certificate.display()));
        openssl(self.dir(), &format!("pkcs8 -topk8 -nocrypt -in {} -outform DER -out svid.p8", pem.key.display()));
        Files { certificate: self.dir().join("svid.crt"), key: self.dir().join("svid.p8") }
    }

    fn signed(&self, name: &str, alternative: &str, dates: Dates) -> Files {
        let file = |end: &str| format!("{name}-{dates:?}.{end}");
        let (key, request, certificate, extension) = (file("key"), file("csr"), file("pem"), file("ext"));
        openssl(
            self.dir(),
            &format!(
                "req -new -config config -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {key} -out {request} -subj /CN=leaf"
            ),
        );
        fs::write(self.dir().join(&extension), format!("subjectAltName = {alternative}\n")).unwrap();
        let (from, until) = match dates {
            Dates::Now => ("20200101000000Z", "20491231000000Z"),
            Dates::Expired => ("20200101000000Z", "20200102000000Z"),
            Dates::NotYet => ("20480101000000Z", "20491231000000Z"),
        };
        openssl(
            self.dir(),
            &format!(
                "ca -batch -notext -config config -in {request} -out {certificate} -extfile {extension} -startdate {from} -enddate {until}"
            ),
        );
        Files { certificate: self.dir().join(certificate), key: self.dir().join(key) }
    }
}

/// Answers a proxy's own request, DER to DER.
pub(crate) fn sign(dir: &Path, request: &[u8]) -> Vec<u8> {
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("anchor.pem"), KeyPair::from_pem(&read("anchor.key")).unwrap()).unwrap();
    let request = CertificateSigningRequestParams::from_der(&request.into()).unwrap();
    request.signed_by(&issuer).unwrap().der().to_vec()
}

fn openssl(dir: &Path, words: &str) {
    let out = Command::new("openssl").args(words.split_whitespace()).current_dir(dir).output().expect("openssl is installed");
    assert!(out.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&out.stderr));
}

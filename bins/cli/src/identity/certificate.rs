//! What there is to say of one certificate, as functions of its bytes.

use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer as _,
    public_key::PublicKey,
    time::ASN1Time,
};

/// May it sign others?
pub(crate) fn is_ca(der: &[u8]) -> bool {
    parse(der).is_ok_and(|certificate| certificate.is_ca())
}

/// All that it says, laid out as `openssl x509 -text` does.
///
/// # Errors
/// It cannot be read.
pub(crate) fn describe(der: &[u8]) -> Result<String, String> {
    let certificate = parse(der)?;
    let algorithm = signature_name(&certificate);
    let mut text = String::from("Certificate:\n    Data:\n");
    let mut line = |indent: usize, words: &str| text += &format!("{:indent$}{words}\n", "");
    line(8, &format!("Version: {} (0x{:x})", certificate.version().0 + 1, certificate.version().0));
    line(8, &format!("Serial Number: {serial} (0x{serial:x})", serial = certificate.tbs_certificate.serial));
    line(4, &format!("Signature Algorithm: {algorithm}"));
    line(8, &format!("Issuer: {}", certificate.issuer()));
    line(8, "Validity");
    line(12, &format!("Not Before: {}", date(certificate.validity().not_before)));
    line(12, &format!("Not After : {}", date(certificate.validity().not_after)));
    line(8, &format!("Subject: {}", certificate.subject()));
    line(8, "Subject Public Key Info:");
    key(&certificate, &mut line);
    line(8, "X509v3 extensions:");
    for extension in certificate.extensions() {
        let (name, said) = said(&extension.oid.to_id_string(), extension.parsed_extension());
        line(12, &format!("{name}:{}", if extension.critical { " critical" } else { "" }));
        line(16, &said);
    }
    line(0, "");
    line(4, &format!("Signature Algorithm: {algorithm}"));
    rows(&certificate.signature_value.data, 18).iter().for_each(|row| line(9, row));
    Ok(text)
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    X509Certificate::from_der(der).map(|(_, certificate)| certificate).map_err(|error| format!("no certificate: {error}"))
}

fn date(time: ASN1Time) -> String {
    let read = jiff::Timestamp::from_second(time.timestamp());
    read.map_or_else(|_| time.to_string(), |at| at.strftime("%b %-d %H:%M:%S %Y UTC").to_string())
}

fn key(certificate: &X509Certificate<'_>, line: &mut impl FnMut(usize, &str)) {
    match certificate.public_key().parsed() {
        Ok(PublicKey::EC(point)) => {
            line(12, "Public Key Algorithm: ECDSA");
            line(16, &format!("Public-Key: ({} bit)", point.key_size()));
            // An uncompressed point: a byte that says so, then both coordinates.
            let (x, y) = point.data().get(1..).map_or((&[][..], &[][..]), |both| both.split_at(both.len() / 2));
            for (name, value) in [("X:", x), ("Y:", y)] {
                line(16, name);
                rows(value, 15).iter().for_each(|row| line(20, row));
            }
            line(16, &format!("Curve: P-{}", point.key_size()));
        }
        Ok(PublicKey::RSA(key)) => {
            line(12, "Public Key Algorithm: RSA");
            line(16, &format!("Public-Key: ({} bit)", key.key_size()));
            line(16, "Modulus:");
            rows(key.modulus, 15).iter().for_each(|row| line(20, row));
        }
        _ => line(12, &format!("Public Key Algorithm: {}", certificate.public_key().algorithm.algorithm.to_id_string())),
    }
}

/// A certificate's extension: its name, and what it says.
fn said(oid: &str, extension: &ParsedExtension<'_>) -> (String, String) {
    let named = |name: &str, said: String| (format!("X509v3 {name}"), said);
    let chosen = |all: &[(bool, &str)]| all.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    match extension {
        ParsedExtension::KeyUsage(usage) => named(
            "Key Usage",
            chosen(&[
                (usage.digital_signature(), "Digital Signature"),
                (usage.key_encipherment(), "Key Encipherment"),
                (usage.key_cert_sign(), "Certificate Sign"),
                (usage.crl_sign(), "CRL Sign"),
            ]),
        ),
        ParsedExtension::ExtendedKeyUsage(usage) => named(
            "Extended Key Usage",
            chosen(&[(usage.server_auth, "TLS Web Server Authentication"), (usage.client_auth, "TLS Web Client Authentication")]),
        ),
        ParsedExtension::BasicConstraints(constraints) => {
            named("Basic Constraints", format!("CA:{}", constraints.ca.to_string().to_uppercase()))
        }
        ParsedExtension::SubjectKeyIdentifier(id) => named("Subject Key Identifier", colons(id.0)),
        ParsedExtension::AuthorityKeyIdentifier(id) => {
            named("Authority Key Identifier", id.key_identifier.as_ref().map(|id| format!("keyid:{}", colons(id.0))).unwrap_or_default())
        }
        ParsedExtension::SubjectAlternativeName(found) => {
            let names = found.general_names.iter().map(|name| match name {
                GeneralName::DNSName(name) => format!("DNS:{name}"),
                GeneralName::URI(uri) => format!("URI:{uri}"),
                other => other.to_string(),
            });
            named("Subject Alternative Name", names.collect::<Vec<_>>().join(", "))
        }
        _ => (oid.to_owned(), "...".to_owned()),
    }
}

fn signature_name(certificate: &X509Certificate<'_>) -> String {
    match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.10045.4.3.2" => "ECDSA-SHA256".to_owned(),
        "1.2.840.10045.4.3.3" => "ECDSA-SHA384".to_owned(),
        "1.2.840.113549.1.1.11" => "SHA256-RSA".to_owned(),
        other => other.to_owned(),
    }
}

fn colons(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Bytes as rows of so many; all but the last end with a colon.
fn rows(bytes: &[u8], width: usize) -> Vec<String> {
    let all: Vec<_> = bytes.chunks(width).map(colons).collect();
    let last = all.len().saturating_sub(1);
    all.into_iter().enumerate().map(|(at, row)| if at == last { row } else { row + ":" }).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{path::Path, process::Command};

    use x509_parser::pem::Pem;

    use super::*;

    /// The first certificate of a PEM text.
    pub(crate) fn first(pem: &str) -> Vec<u8> {
        Pem::iter_from_buffer(pem.as_bytes()).next().unwrap().unwrap().contents
    }

    fn openssl(dir: &Path, words: &[&str]) -> String {
        let output = Command::new("openssl").args(words).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// An issuer and a leaf below it, neither of which we made.
    fn made_elsewhere(dir: &Path) -> (Vec<u8>, Vec<u8>) {
        const CURVE: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let ca = [&["req", "-x509"], &CURVE[..], &["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=identity.linkerd.cluster.local"]];
        openssl(dir, &ca.concat());
        openssl(dir, &[&["req", "-new"], &CURVE[..], &["-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=web.ns"]].concat());
        let extensions = "keyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:web.ns.serviceaccount\nbasicConstraints=CA:FALSE\n";
        std::fs::write(dir.join("ext"), extensions).unwrap();
        openssl(
            dir,
            &[
                "x509",
                "-req",
                "-in",
                "leaf.csr",
                "-CA",
                "ca.crt",
                "-CAkey",
                "ca.key",
                "-days",
                "1",
                "-set_serial",
                "291",
                "-out",
                "leaf.crt",
            ]
            .into_iter()
            .chain(["-extfile", "ext"])
            .collect::<Vec<_>>(),
        );
        let one = |name: &str| first(&std::fs::read_to_string(dir.join(name)).unwrap());
        (one("ca.crt"), one("leaf.crt"))
    }

    #[test]
    fn what_is_said_of_a_certificate_is_what_openssl_says() {
        let dir = tempfile::tempdir().unwrap();
        let (_, leaf) = made_elsewhere(dir.path());
        let text = describe(&leaf).unwrap();
        assert!(text.contains("Serial Number: 291 (0x123)"), "{text}");
        assert!(text.contains("Issuer: CN=identity.linkerd.cluster.local") && text.contains("Subject: CN=web.ns"), "{text}");
        let theirs = openssl(dir.path(), &["x509", "-in", "leaf.crt", "-noout", "-text"]);
        let packed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        let (ours, theirs) = (packed(&text), packed(&theirs));
        for same in [
            "X509v3KeyUsage:criticalDigitalSignature,KeyEncipherment",
            "X509v3ExtendedKeyUsage:TLSWebServerAuthentication,TLSWebClientAuthentication",
            "X509v3SubjectAlternativeName:DNS:web.ns.serviceaccount",
            "X509v3BasicConstraints:CA:FALSE",
        ] {
            assert!(ours.contains(same) && theirs.contains(same), "{same}\n{text}");
        }
        let ends = openssl(dir.path(), &["x509", "-in", "leaf.crt", "-noout", "-enddate"]);
        let ends = packed(ends.trim().trim_start_matches("notAfter=").trim_end_matches("GMT"));
        assert!(ours.contains(&format!("NotAfter:{ends}UTC")), "{ends}\n{text}");
        // Both coordinates, and the signature, byte by byte.
        let hex = |text: &str| text.split("Modulus").next().unwrap().to_owned();
        let point = hex(&theirs).split("pub:04:").nth(1).unwrap().split("ASN1").next().unwrap().replace(':', "");
        assert_eq!(point, ours.split("X:").nth(1).unwrap().split("Curve").next().unwrap().replace("Y:", "").replace(':', ""));
        let signature = theirs.rsplit("SignatureValue:").next().unwrap().to_owned();
        assert!(ours.ends_with(&signature), "{signature}\n{ours}");
    }

    #[test]
    fn an_issuer_is_told_from_a_leaf() {
        let dir = tempfile::tempdir().unwrap();
        let (ca, leaf) = made_elsewhere(dir.path());
        assert_eq!((is_ca(&ca), is_ca(&leaf)), (true, false));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(describe(b"x").is_err() && !is_ca(b""));
    }
}

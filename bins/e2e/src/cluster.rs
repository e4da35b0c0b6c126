//! Real clusters, by `cargo xtask cluster`: Linux and root only.
//!
//! ```no_run
//! # use meshkit_e2e::cluster::Cluster;
//! let Some(cluster) = Cluster::shared() else { return };
//! let space = cluster.namespace("greeting");
//! cluster.load_image("target/greeter", "localhost/greeter:1", &[]);
//! space.apply("{apiVersion: v1, kind: Pod, metadata: {name: greeter}, spec: {containers: [{name: greeter, image: 'localhost/greeter:1'}]}}");
//! space.kubectl(&["wait", "--for=condition=Ready", "pod/greeter", "--timeout=60s"]);
//! ```

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::eventually;

/// The cluster that tests share. It is left running: the next test binary finds it warm.
const SHARED: &str = "e2e";

/// One cluster that runs, for one test at a time on this machine.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    kubeconfig: PathBuf,
    programs: PathBuf,
    gateway_api: PathBuf,
    logs: PathBuf,
    /// It ends with this value.
    own: bool,
    // Unlocked when it is closed, after the cluster has ended.
    _turn: File,
}

/// A namespace of the cluster that is deleted, with all that is in it, when this is dropped.
#[derive(Debug)]
pub struct Namespace<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl Cluster {
    /// The cluster that tests share one after the other, with one node. A test that needs more, or ends things, starts its own.
    ///
    /// `None`, and one line on the terminal, where a cluster is not possible.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn shared() -> Option<Self> {
        possible().then(|| Self::up(SHARED, 1, false))
    }

    /// A cluster of the test's own, which ends with it.
    ///
    /// `None`, and one line on the terminal, where a cluster is not possible.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start(name: &str, nodes: u8) -> Option<Self> {
        possible().then(|| Self::up(name, nodes, true))
    }

    fn up(name: &str, nodes: u8, own: bool) -> Self {
        let fine = |done: Result<String, String>| done.unwrap_or_else(|error| panic!("{error}"));
        let programs = PathBuf::from(status()["bin"].as_str().unwrap_or_default());
        let turn = take_turn(&programs.with_file_name(format!("{name}.turn")));
        if own {
            // What a test that was killed has left.
            fine(xtask(&["down", "--name", name]));
        }
        fine(xtask(&["up", "--name", name, "--nodes", &nodes.to_string()]));
        let status = status();
        let found = find(&status, name);
        let path = |value: &Value| PathBuf::from(value.as_str().unwrap_or_default());
        Self {
            name: name.to_owned(),
            kubeconfig: path(&found["kubeconfig"]),
            programs,
            gateway_api: path(&status["gatewayApi"]),
            logs: path(&found["logs"]),
            own,
            _turn: turn,
        }
    }

    /// Its name, from which nodes take theirs: `NAME-0`, `NAME-1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For a client on this host, as administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The folder of `kubectl`, and of `helm` after `cargo xtask cluster tools`.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The folder with the definitions of the Gateway API, of the channel `standard` or `experimental`.
    #[must_use]
    pub fn gateway_api(&self, channel: &str) -> PathBuf {
        self.gateway_api.join(channel)
    }

    /// The logs of all components and pods, by node.
    #[must_use]
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// A program of the project or of the cluster, which finds this cluster by its environment.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program.as_ref());
        command.env("KUBECONFIG", &self.kubeconfig).env("PATH", format!("{}:{path}", self.programs.display())).stdin(Stdio::null());
        command
    }

    /// A program of the host inside a node: with its network, its processes and its folders.
    ///
    /// # Panics
    /// The node does not run.
    #[must_use]
    pub fn on_node(&self, node: u8, program: &str) -> Command {
        let status = status();
        let process = find(&status, &self.name)["nodes"][usize::from(node)]["process"].as_u64();
        let process = process.unwrap_or_else(|| panic!("node {}-{node} does not run", self.name));
        let mut command = Command::new("nsenter");
        command.args(["--target", &process.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid", "--", program]);
        command.stdin(Stdio::null());
        command
    }

    /// What `kubectl` prints, given text on its standard input.
    ///
    /// # Errors
    /// It fails, or takes longer than three minutes: the command and all that it said.
    pub fn try_kubectl(&self, args: &[&str], stdin: &str) -> Result<String, String> {
        let mut command = self.command("timeout");
        command.args(["--kill-after=5", "180"]).arg(self.programs.join("kubectl")).args(args);
        run(&mut command, stdin)
    }

    /// What `kubectl` prints.
    ///
    /// # Panics
    /// It fails.
    #[expect(clippy::must_use_candidate, reason = "it is often called for what it does")]
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args, "").unwrap_or_else(|error| panic!("{error}\n{}", self.complaint()))
    }

    /// Applies objects, given as YAML.
    ///
    /// # Panics
    /// They are refused.
    pub fn apply(&self, objects: &str) {
        let applied = self.try_kubectl(&["apply", "--server-side", "--force-conflicts", "--filename=-"], objects);
        applied.unwrap_or_else(|error| panic!("{error}\n{}", self.complaint()));
    }

    /// Gives all nodes an image: an archive, or made of a folder or a static program. Without an entrypoint a program is its own.
    ///
    /// # Panics
    /// It cannot be made or imported.
    pub fn load_image(&self, path: impl AsRef<Path>, tag: &str, entrypoint: &[&str]) {
        let path = fs::canonicalize(path.as_ref()).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.as_ref().display()));
        let (path, entrypoint) = (path.to_string_lossy(), entrypoint.join(" "));
        let mut args = vec!["load-image", &path, "--name", &self.name, "--tag", tag];
        if !entrypoint.is_empty() {
            args.extend(["--entrypoint", &entrypoint]);
        }
        xtask(&args).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Gives all nodes an image from an archive that says its name.
    ///
    /// # Panics
    /// It cannot be imported.
    pub fn load_archive(&self, path: impl AsRef<Path>) {
        let path = path.as_ref().to_string_lossy();
        xtask(&["load-image", &path, "--name", &self.name]).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Waits until a workload, such as `deployment/web`, runs as many ready pods of its latest version as it wants.
    ///
    /// # Panics
    /// It does not within two minutes.
    pub fn rolled_out(&self, namespace: &str, workload: &str) {
        self.kubectl(&["--namespace", namespace, "rollout", "status", workload, "--timeout=120s"]);
    }

    /// Looks until there is something.
    ///
    /// # Panics
    /// The time is over: with `what` was awaited, and the state of the cluster.
    pub fn wait<T>(&self, limit: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
        eventually(limit, look).unwrap_or_else(|| panic!("{what}: not within {} s\n{}", limit.as_secs(), self.complaint()))
    }

    /// Makes a namespace for one test, of a name that no other has.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Namespace<'_> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&["create", "namespace", &name]);
        Namespace { cluster: self, name }
    }

    /// Ends a node, as a loss of power does, or one program of it, such as `kube-apiserver`.
    ///
    /// # Panics
    /// It does not end.
    pub fn end(&self, node: u8, program: Option<&str>) {
        self.part("end", node, program);
    }

    /// Starts what was ended, and waits until it is ready.
    ///
    /// # Panics
    /// It does not get ready.
    pub fn restart(&self, node: u8, program: Option<&str>) {
        self.part("start", node, program);
    }

    fn part(&self, verb: &str, node: u8, program: Option<&str>) {
        let node = format!("{}-{node}", self.name);
        let args: Vec<_> = [verb, &node].into_iter().chain(program).collect();
        xtask(&args).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Joins two clusters: nodes and pods of each reach those of the other.
    ///
    /// # Panics
    /// One of them does not run.
    pub fn link(&self, other: &Self) {
        xtask(&["link", &self.name, &other.name]).unwrap_or_else(|error| panic!("{error}"));
    }

    /// What to look at when something is wrong.
    pub(crate) fn complaint(&self) -> String {
        let pods = self.try_kubectl(&["get", "pods", "--all-namespaces", "--output=wide"], "");
        let events = self.try_kubectl(&["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"], "");
        let [pods, events] = [pods, events].map(|text| text.unwrap_or_else(|error| error));
        let last = events.lines().rev().take(30).collect::<Vec<_>>();
        let events = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        format!("== pods of cluster {}\n{pods}\n== last events\n{events}\n== logs of nodes and pods: {}", self.name, self.logs.display())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.own {
            return;
        }
        match xtask(&["down", "--name", &self.name]) {
            // Where the logs are now.
            Ok(said) => eprintln!("{said}"),
            // A panic inside a panic would hide the first.
            Err(error) if thread::panicking() => eprintln!("{error}"),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Namespace<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `kubectl` prints, in this namespace.
    ///
    /// # Panics
    /// It fails.
    #[expect(clippy::must_use_candidate, reason = "it is often called for what it does")]
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.kubectl(&[&["--namespace", &self.name], args].concat())
    }

    /// Applies objects of this namespace, given as YAML.
    ///
    /// # Panics
    /// They are refused.
    pub fn apply(&self, objects: &str) {
        let args = ["--namespace", &self.name, "apply", "--server-side", "--force-conflicts", "--filename=-"];
        self.cluster.try_kubectl(&args, objects).unwrap_or_else(|error| panic!("{error}\n{}", self.cluster.complaint()));
    }

    /// Waits for a workload, as [`Cluster::rolled_out`] does.
    ///
    /// # Panics
    /// It does not get ready.
    pub fn rolled_out(&self, workload: &str) {
        self.cluster.rolled_out(&self.name, workload);
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        // Nobody waits for it; what does not work shows in the next test of the shared cluster.
        let _ = self.cluster.try_kubectl(&["delete", "namespace", &self.name, "--wait=false"], "");
    }
}

/// A cluster needs Linux, root, and its programs. Elsewhere one line says what is left out, past the test runner, which shows only what failed.
fn possible() -> bool {
    let id = Command::new("id").arg("--user").output();
    let root = id.is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    let why = if !cfg!(target_os = "linux") || !root {
        "a cluster needs Linux and root"
    } else if !Path::new(status()["bin"].as_str().unwrap_or_default()).join("gateway-api.stamp").exists() {
        "its cluster is built by `cargo xtask cluster build`"
    } else {
        return true;
    };
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "{test} is left out: {why}");
    false
}

/// What `cargo xtask cluster status -o json` says.
fn status() -> Value {
    let text = xtask(&["status", "-o", "json"]).unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&text).expect("the status is JSON")
}

/// One cluster of the status.
fn find<'a>(status: &'a Value, name: &str) -> &'a Value {
    let found = status["clusters"].as_array().and_then(|all| all.iter().find(|cluster| cluster["name"] == name));
    found.unwrap_or_else(|| panic!("cluster {name} is up, and yet not in {status}"))
}

/// Waits until no other test, of this process or another, uses the cluster that the file stands for.
fn take_turn(path: &Path) -> File {
    let folder = path.parent().expect("the file is in a folder");
    fs::create_dir_all(folder).expect("the folder of clusters can be made");
    let turn = File::options().create(true).append(true).open(path).expect("the folder of clusters is writable");
    turn.lock().expect("a file can be locked");
    turn
}

fn xtask(args: &[&str]) -> Result<String, String> {
    task(&[&["cluster"], args].concat())
}

/// A task of the project.
pub(crate) fn task(args: &[&str]) -> Result<String, String> {
    // Not by `cargo run`, which would wait for whoever builds something at this moment.
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| crate::build(&["-p", "xtask"]).join("xtask"));
    run(Command::new(program).args(args), "")
}

/// Runs to the end. All that is done here is bounded in time by itself.
fn run(command: &mut Command, stdin: &str) -> Result<String, String> {
    let line = format!("{command:?}");
    let failed = |error: std::io::Error| format!("{line} cannot be run: {error}");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let input = child.stdin.take();
    let errors = child.stderr.take();
    let (mut out, mut said) = (String::new(), String::new());
    thread::scope(|scope| {
        // All three at once: a program may fill one of its pipes while another is waited for.
        scope.spawn(|| input.map(|mut input| input.write_all(stdin.as_bytes())));
        scope.spawn(|| errors.map(|mut errors| errors.read_to_string(&mut said)));
        child.stdout.take().map(|mut stdout| stdout.read_to_string(&mut out))
    });
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(out) } else { Err(format!("{line} ended with {status}:\n{said}{out}")) }
}

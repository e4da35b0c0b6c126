//! `cargo xtask cluster up`.

use std::{fs, thread, time::Duration};

use crate::step;

use super::{
    certificates,
    cluster::Cluster,
    command::program,
    components::{self, Component},
    config, dns, down, image,
    namespace::Machine,
    network,
    plan::{self, Plan},
    scripts,
    state::{self, Home},
    wait,
};

/// How long any one component may take to be ready, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is wanted of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) nodes: u8,
    /// The channel of the Gateway API whose definitions are applied.
    pub(crate) gateway_api: Option<String>,
}

/// Starts a cluster, unless it runs already. The programs are there.
pub(crate) fn run(home: &Home, wanted: &Wanted) -> Result<Cluster, String> {
    if let Ok(cluster) = Cluster::open(home, &wanted.name) {
        if cluster.plan.nodes().all(|node| cluster.machine(node).is_some()) && cluster.answers() {
            if cluster.plan.nodes != wanted.nodes {
                return Err(format!(
                    "cluster {} runs with {} nodes, not {}: take it down first",
                    wanted.name, cluster.plan.nodes, wanted.nodes
                ));
            }
            gateway_api(&cluster, wanted)?;
            return Ok(cluster);
        }
        step::say(&format!("cluster {} is not whole: it is taken down first", wanted.name));
        down::run(&cluster)?;
    }
    let cluster = Cluster::new(home, plan(home, wanted)?);
    start(&cluster, wanted).map_err(|error| {
        let kept = home.kept_logs(&wanted.name);
        match down::run(&cluster) {
            Ok(()) => format!("cluster {} does not come up: {error}\nits logs are now in {}", wanted.name, kept.display()),
            Err(also) => format!("cluster {} does not come up: {error}\nand it cannot be taken down: {also}", wanted.name),
        }
    })?;
    Ok(cluster)
}

/// A number that neither a cluster of this checkout nor anything else on the machine uses.
fn plan(home: &Home, wanted: &Wanted) -> Result<Plan, String> {
    let taken: Vec<_> = home.clusters().iter().map(|plan| plan.number).collect();
    let ip = |what: &str| program(10, "ip").args(["-4", "-oneline", what, "show"]).output();
    let routes = ip("address")? + &ip("route")?;
    let number = plan::free_number(&taken, &routes)
        .ok_or_else(|| "every range of addresses is in use on this machine: see `cargo xtask cluster status` and `ip route`".to_owned())?;
    Ok(Plan { name: wanted.name.clone(), number, nodes: wanted.nodes })
}

fn start(cluster: &Cluster, wanted: &Wanted) -> Result<(), String> {
    let plan = &cluster.plan;
    state::remove_folder(&cluster.home.kept_logs(&plan.name))?;
    state::make_folder(cluster.folder.path())?;
    cluster.folder.keep_plan(plan)?;
    certificates::make(plan, &cluster.folder.certificates())?;
    configure(cluster)?;
    // Built into many kernels; what is really missing shows in the first script that needs it.
    program(30, "modprobe").args(["--all", "--quiet", "overlay", "br_netfilter", "veth", "bridge", "nf_conntrack"]).succeeds();
    wire(cluster)?;
    for node in plan.nodes() {
        machine(cluster, node)?;
    }
    cluster.start(0, Component::Etcd)?;
    for node in plan.nodes() {
        cluster.start(node, Component::Containerd)?;
    }
    cluster.start(0, Component::ApiServer)?;
    // While the API server starts.
    import_images(cluster)?;
    cluster.until(0, Component::ApiServer, PATIENCE, || cluster.answers())?;
    for node in plan.nodes() {
        for component in [Component::ControllerManager, Component::Scheduler, Component::Kubelet, Component::Proxy] {
            if component.runs_on(node) {
                cluster.start(node, component)?;
            }
        }
    }
    cluster.kubectl(60).args(["apply", "--server-side", "--filename=-"]).feed(&dns::manifest(plan))?;
    gateway_api(cluster, wanted)?;
    for node in plan.nodes() {
        ready(cluster, node)?;
    }
    cluster.kubectl(70).args(["--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s"]).output()?;
    Ok(())
}

/// Starts a node that was ended, as after a loss of power.
pub(crate) fn node(cluster: &Cluster, node: u8) -> Result<(), String> {
    if cluster.machine(node).is_none() {
        machine(cluster, node)?;
    }
    for component in components::ALL.iter().copied().filter(|component| component.runs_on(node)) {
        if cluster.process(node, component).is_none() {
            component_again(cluster, node, component)?;
        }
    }
    ready(cluster, node)
}

/// Starts a component and waits for those that others need.
pub(crate) fn component_again(cluster: &Cluster, node: u8, component: Component) -> Result<(), String> {
    if cluster.process(node, component).is_some() {
        return Ok(());
    }
    cluster.start(node, component)?;
    match component {
        Component::ApiServer => cluster.until(node, component, PATIENCE, || cluster.answers()),
        Component::Containerd => containerd(cluster, node),
        _ => Ok(()),
    }
}

/// Writes the files that all nodes see in `/etc/kubernetes`.
fn configure(cluster: &Cluster) -> Result<(), String> {
    let (plan, folder) = (&cluster.plan, cluster.folder.kubernetes());
    let pem = |name: &str| state::read(&cluster.folder.certificates().join(name));
    let authority = pem("ca.crt")?;
    let client =
        |leaf: &str| Ok::<_, String>(config::kubeconfig(plan, &authority, &pem(&format!("{leaf}.crt"))?, &pem(&format!("{leaf}.key"))?));
    state::write(&cluster.folder.kubeconfig(), &client("admin")?)?;
    for leaf in ["controller-manager", "scheduler", "proxy"] {
        state::write(&folder.join(format!("{leaf}.kubeconfig")), &client(leaf)?)?;
    }
    state::write(&folder.join("containerd.toml"), &config::containerd())?;
    for node in plan.nodes() {
        let name = plan.node(node);
        state::write(&folder.join(format!("kubelet-{name}.kubeconfig")), &client(&format!("kubelet-{name}"))?)?;
        state::write(&folder.join(format!("kubelet-{name}.yaml")), &config::kubelet(plan, node))?;
        state::write(&folder.join(format!("proxy-{name}.yaml")), &config::proxy(plan, node))?;
        state::write(&folder.join(format!("{name}.conflist")), &config::network(plan, node))?;
    }
    Ok(())
}

fn wire(cluster: &Cluster) -> Result<(), String> {
    let folder = cluster.wire_folder();
    let logs = cluster.folder.logs("wire");
    state::make_folder(&folder)?;
    state::make_folder(&logs)?;
    let wire = Machine::start(&folder, &logs.join("first.log"), &scripts::wire(&cluster.plan, &cluster.home.bin()))?;
    program(20, "ip").args(["-batch", "-"]).feed(&network::host(&cluster.plan, wire.id()))?;
    wire.on_network(20, "ip").args(["-batch", "-"]).feed(&network::host_plug()).map(drop)
}

/// Makes the namespaces of a node and plugs it in.
fn machine(cluster: &Cluster, node: u8) -> Result<(), String> {
    let plan = &cluster.plan;
    let (folder, logs) = (cluster.node_folder(node), cluster.folder.logs(&plan.node(node)));
    state::make_folder(&folder)?;
    state::make_folder(&logs)?;
    super::cgroups::make(&plan.cgroup(node))?;
    let wire = cluster.wire().ok_or_else(|| format!("the wire of cluster {} is gone", plan.name))?;
    let script = scripts::node(plan, node, &folder, &cluster.folder.kubernetes(), &logs, &cluster.home.bin());
    let machine = Machine::start(&folder, &logs.join("first.log"), &script)?;
    // The plug of a node that was ended goes a little after it.
    let name = format!("node{node}");
    let free = || (!wire.on_network(10, "ip").args(["link", "show", "dev", &name]).succeeds()).then_some(());
    wait::until(Duration::from_secs(10), free).ok_or_else(|| format!("the plug of {} is still there", plan.node(node)))?;
    wire.on_network(20, "ip").args(["-batch", "-"]).feed(&network::node_plug(node, machine.id()))?;
    machine.on_network(20, "ip").args(["-batch", "-"]).feed(&network::node(plan, node)).map(drop)
}

/// Waits for a containerd.
fn containerd(cluster: &Cluster, node: u8) -> Result<(), String> {
    let machine = cluster.running(node)?;
    cluster.until(node, Component::Containerd, PATIENCE, || machine.program(5, "ctr").args(["plugins", "list"]).succeeds())
}

/// The images of every cluster, into all nodes at once.
fn import_images(cluster: &Cluster) -> Result<(), String> {
    let folder = cluster.home.images();
    let archives: Vec<_> = fs::read_dir(&folder)
        .map_err(|error| format!("{} cannot be read: {error}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tar"))
        .collect();
    each_node(cluster, |node| {
        containerd(cluster, node)?;
        archives.iter().try_for_each(|archive| image::import(&cluster.running(node)?, archive).map(drop))
    })
}

/// Does something for all nodes at once, and returns the first failure.
pub(crate) fn each_node(cluster: &Cluster, work: impl Fn(u8) -> Result<(), String> + Sync) -> Result<(), String> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = cluster.plan.nodes().map(|node| scope.spawn(move || work(node))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a thread has panicked".into())))
    })
}

fn gateway_api(cluster: &Cluster, wanted: &Wanted) -> Result<(), String> {
    let Some(channel) = &wanted.gateway_api else { return Ok(()) };
    let folder = cluster.home.gateway_api().join(channel);
    cluster.kubectl(120).args(["apply", "--server-side", "--force-conflicts", "--filename"]).arg(folder).output().map(drop)
}

/// Waits for a node to be Ready, and gives it its range of pods.
fn ready(cluster: &Cluster, node: u8) -> Result<(), String> {
    let name = format!("node/{}", cluster.plan.node(node));
    let status = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
    let machine = cluster.running(node)?;
    // A node that was ended is Ready by hearsay until its kubelet speaks.
    let speaks = || machine.program(5, "curl").args(["--silent", "--fail", "http://127.0.0.1:10248/healthz"]).succeeds();
    cluster.until(node, Component::Kubelet, PATIENCE, speaks)?;
    let look = || cluster.kubectl(10).args(["get", &name, "--output", status]).output().is_ok_and(|status| status == "True");
    cluster.until(node, Component::Kubelet, PATIENCE, look)?;
    let range = cluster.plan.pod_range(node);
    let patch = format!(r#"{{"spec":{{"podCIDR":"{range}","podCIDRs":["{range}"]}}}}"#);
    cluster.kubectl(30).args(["patch", &name, "--patch", &patch]).output().map(drop)
}

//! A folder of two workloads, or more, that the test plays itself: their containers only sleep.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use meshkit_e2e::{Demo, eventually};

/// Where the server listens: HTTP, bytes, a server that speaks first, TLS of its own, and one that nobody is told about.
pub(crate) const HTTP: u16 = 8080;
pub(crate) const OPAQUE: u16 = 9000;
pub(crate) const GREETS: u16 = 9001;
pub(crate) const TLS: u16 = 9443;
pub(crate) const UNKNOWN: u16 = 9002;

const PORTS: [u16; 5] = [HTTP, OPAQUE, GREETS, TLS, UNKNOWN];
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes the manifests: `server`, and one client for each of `(name, annotations)`.
pub(crate) fn launch(clients: &[(&str, &str)]) -> Demo {
    let ports = PORTS.map(|port| format!("{{name: p{port}, port: {port}, targetPort: {port}}}")).join(", ");
    let container_ports = PORTS.map(|port| format!("{{containerPort: {port}}}")).join(", ");
    let opaque = format!("config.linkerd.io/opaque-ports: '{OPAQUE},{GREETS}'");
    let accrual = "balancer.linkerd.io/failure-accrual: consecutive, balancer.linkerd.io/failure-accrual-consecutive-max-failures: '3'";
    let workload = |name: &str, annotations: &str, ports: &str| {
        format!(
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: test}}\n---\napiVersion: apps/v1\nkind: Deployment\n\
             metadata: {{name: {name}, namespace: test}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    \
             metadata: {{labels: {{app: {name}}}, annotations: {{{annotations}}}}}\n    spec:\n      serviceAccountName: {name}\n      \
             containers: [{{name: {name}, image: none, command: [sleep, '600'], ports: [{ports}]}}]\n"
        )
    };
    let mut text = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: test, annotations: {{linkerd.io/inject: enabled}}}}\n---\napiVersion: v1\nkind: Service\n\
         metadata: {{name: server, namespace: test, annotations: {{{opaque}, {accrual}}}}}\nspec: {{selector: {{app: server}}, ports: [{ports}]}}\n"
    );
    text += &workload("server", &opaque, &container_ports);
    clients.iter().for_each(|(name, annotations)| text += &workload(name, annotations, ""));
    Demo::launch([("all.yaml", text)])
}

/// Where the server's application listens.
pub(crate) fn server(mesh: &Demo, port: u16) -> SocketAddr {
    SocketAddr::new(mesh.ip("server-0"), port)
}

/// Opens the ports of the server that no test has opened, for it is sent nothing before all of them are open.
pub(crate) fn open_others(mesh: &Demo, opened: &[u16]) {
    PORTS.iter().filter(|port| !opened.contains(port)).for_each(|port| serve(server(mesh, *port), drop));
}

/// Runs `answer` for every connection, on a thread of its own. The thread ends with the test program.
pub(crate) fn serve(on: SocketAddr, answer: impl Fn(TcpStream) + Clone + Send + 'static) {
    let listener = TcpListener::bind(on).unwrap_or_else(|e| panic!("{on}: {e}"));
    thread::spawn(move || {
        for io in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || answer(patient(io)));
        }
    });
}

/// A connection of a client's application to a port of the server, through the client's proxy.
pub(crate) fn connect(mesh: &Demo, client: &str, port: u16) -> TcpStream {
    let to = listener(mesh, client, port);
    patient(TcpStream::connect_timeout(&to, PATIENCE).unwrap_or_else(|e| panic!("{to}: {e}")))
}

/// Where a client's proxy accepts for a port of the server.
pub(crate) fn listener(mesh: &Demo, client: &str, port: u16) -> SocketAddr {
    let file = mesh.dir().join(format!(".mesh/replicas/test.{client}-0/listeners"));
    let text = fs::read_to_string(&file).unwrap();
    let ours = |line: &str| line.ends_with(&format!("server.test.svc.cluster.local:{port}"));
    let line = text.lines().find(|line| ours(line)).unwrap_or_else(|| panic!("no port {port} in {text}"));
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Waits until the server is told to the client's proxy: then an answer comes through.
pub(crate) fn ready(mesh: &Demo, client: &str) {
    let answers = eventually(PATIENCE, || {
        let mut io = connect(mesh, client, HTTP);
        io.write_all(b"GET /ready HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        let _ = io.read_to_string(&mut text);
        text.starts_with("HTTP/1.1 200").then_some(())
    });
    assert!(answers.is_some(), "the server is not reached");
}

/// Reads up to and with `end`.
pub(crate) fn until(io: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(end.as_bytes()) {
        match io.read(&mut byte) {
            Ok(1) => text.push(byte[0]),
            other => panic!("{other:?} instead of {end:?} after {:?}", String::from_utf8_lossy(&text)),
        }
    }
    String::from_utf8(text).unwrap()
}

/// Everything up to the end.
pub(crate) fn rest(io: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn patient(io: TcpStream) -> TcpStream {
    io.set_read_timeout(Some(PATIENCE)).unwrap();
    io.set_write_timeout(Some(PATIENCE)).unwrap();
    io.set_nodelay(true).unwrap();
    io
}

/// How many connections of meshed clients the server's proxy took for a port.
pub(crate) fn encrypted(mesh: &Demo, port: u16) -> usize {
    let metrics = mesh.metrics("server-0");
    let ours = |line: &&str| {
        ["tcp_open_total{", "direction=\"inbound\"", "peer=\"src\"", "tls=\"true\"", &format!("target_port=\"{port}\"")]
            .iter()
            .all(|part| line.contains(part))
    };
    metrics.lines().filter(ours).filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}

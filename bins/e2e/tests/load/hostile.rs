//! Garbage on every port of the running demo, hundreds of times, while well-behaved clients are served: nothing panics and nothing is kept.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use meshkit_e2e::{Demo, eventually};

use crate::{
    clients::{Load, failures},
    processes::process_of,
};

/// How often each port is given garbage.
const TIMES: usize = 200;
const PATIENCE: Duration = Duration::from_secs(10);
/// Descriptors that come and go by themselves: a watch that is renewed, a connection that is pooled.
const DESCRIPTORS_SLACK: usize = 12;
/// What an allocator may keep for the next time.
const MEMORY_SLACK_KIB: usize = 40 << 10;

fn garbage() -> Vec<Vec<u8>> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    vec![
        Vec::new(),
        b"\r\n\r\n\r\n".to_vec(),
        vec![0; 100],
        vec![0xff; 5000],
        vec![b'a'; 300_000],
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nnot that many".to_vec(),
        [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 250_000]].concat(),
        preface[..20].to_vec(),
        [preface, &settings[..], &[0xff; 200]].concat(),
        [preface, &settings[..], &settings.repeat(500)].concat(),
        // A TLS hello of which only the beginning comes, one that is none, and one for a record that is too long.
        vec![22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3],
        [&[22, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3][..], &[7; 54]].concat(),
        vec![22, 3, 3, 0xff, 0xff],
        b"transport.l5d.io/v1\r\n\r\n\xff\xff\xff\xff".to_vec(),
    ]
}

/// One stranger. It does not wait for an answer that never comes, but it takes one that does.
fn visit(to: SocketAddr, bytes: &[u8]) {
    let Ok(mut io) = TcpStream::connect_timeout(&to, PATIENCE) else { panic!("nobody listens on {to} any more") };
    io.set_write_timeout(Some(PATIENCE)).unwrap();
    io.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let _ = io.write_all(bytes);
    let _ = io.shutdown(Shutdown::Write);
    let _ = io.read(&mut [0; 256]);
}

/// The values of a process's environment by their names.
fn environment(id: u32) -> BTreeMap<String, String> {
    let text = fs::read(format!("/proc/{id}/environ")).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.split('\0').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn descriptors(id: u32) -> usize {
    fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count)
}

fn memory_kib(id: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Every port of the web workload and of the control plane, by name.
fn ports(demo: &Demo, proxy: u32) -> Vec<(String, SocketAddr)> {
    let ip = demo.ip("web-0");
    let mut ports: Vec<_> = [("inbound", 4143), ("admin", 4191)].map(|(name, port)| (name.to_owned(), SocketAddr::new(ip, port))).into();
    let tap = SocketAddr::new(ip, 4190);
    if TcpStream::connect(tap).is_ok() {
        ports.push(("tap".to_owned(), tap));
    }
    ports.push(("published".to_owned(), demo.published()));
    let listeners = fs::read_to_string(demo.dir().join(".mesh/replicas/emojivoto.web-0/listeners")).unwrap();
    let outbound = listeners.lines().find(|line| line.contains("emoji-svc.")).and_then(|line| line.split(' ').nth(1)?.parse().ok());
    ports.push(("outbound".to_owned(), outbound.unwrap()));
    let env = environment(proxy);
    for name in ["IDENTITY", "DESTINATION", "POLICY"] {
        let addr = env.get(&format!("LINKERD2_PROXY_{name}_SVC_ADDR")).unwrap_or_else(|| panic!("no {name} in {env:?}"));
        ports.push((name.to_lowercase(), addr.parse().unwrap_or_else(|e| panic!("{name} is {addr}: {e}"))));
    }
    ports
}

#[test]
fn garbage_on_every_port_harms_nobody_and_leaves_nothing_behind() {
    let demo = Demo::start();
    let load = Load::start(demo.published());
    let proxy = process_of(&demo, "web-0", "proxy").expect("the proxy of web");
    let control = demo.processes(&["control-plane"])[0];
    let (ports, garbage) = (ports(&demo, proxy), garbage());
    // Once each beforehand, so that whatever is made once and kept is there.
    ports.iter().for_each(|(_, to)| garbage.iter().for_each(|bytes| visit(*to, bytes)));
    load.next(50);
    let from = load.count();
    let before = [proxy, control].map(|id| (descriptors(id), memory_kib(id)));

    for (name, to) in &ports {
        for bytes in garbage.iter().cycle().take(TIMES) {
            visit(*to, bytes);
        }
        // Those who say nothing at all, and stay.
        let silent: Vec<_> = (0..TIMES).filter_map(|_| TcpStream::connect_timeout(to, PATIENCE).ok()).collect();
        assert_eq!(silent.len(), TIMES, "{name}");
        load.next(10);
    }
    for (id, (fds, memory)) in [proxy, control].into_iter().zip(before) {
        let given_back = eventually(PATIENCE * 2, || (descriptors(id) <= fds + DESCRIPTORS_SLACK).then_some(()));
        assert!(given_back.is_some(), "{id}: {fds} descriptors became {}", descriptors(id));
        assert!(memory_kib(id) <= memory + MEMORY_SLACK_KIB, "{id}: {memory} KiB became {}", memory_kib(id));
    }
    assert_eq!(process_of(&demo, "web-0", "proxy"), Some(proxy), "it is the same process");
    assert_eq!(demo.processes(&["control-plane"]), [control]);
    let answers = load.since(from);
    assert!(failures(&answers).is_empty(), "{:?}", failures(&answers));

    let log = |name: &str| fs::read_to_string(demo.dir().join(".mesh/logs").join(name)).unwrap();
    for (name, text) in [("control-plane.log", "handshake"), ("emojivoto.web-0.linkerd-proxy.log", "connection closed")] {
        let log = log(name);
        assert!(!log.contains("panicked"), "{name}: {log}");
        assert!(log.lines().any(|line| line.contains(text) && line.contains("client.addr=127.")), "{name} names no client: {log}");
    }
    let metrics = demo.metrics("web-0");
    for family in ["inbound_tcp_errors_total", "outbound_tcp_errors_total"] {
        assert!(metrics.lines().any(|line| line.starts_with(&format!("{family}{{"))), "{family}: {metrics}");
    }
}

#[test]
fn what_is_no_message_is_refused_by_the_controllers_within_tls() {
    let demo = Demo::start();
    let proxy = process_of(&demo, "web-0", "proxy").expect("the proxy of web");
    let control = demo.processes(&["control-plane"])[0];
    let calls = [
        ("identity", "io.linkerd.proxy.identity.Identity/Certify"),
        ("destination", "io.linkerd.proxy.destination.Destination/Get"),
        ("policy", "io.linkerd.proxy.inbound.InboundServerPolicies/WatchPort"),
        ("policy", "io.linkerd.proxy.outbound.OutboundPolicies/Watch"),
    ];
    let ports: BTreeMap<_, _> = ports(&demo, proxy).into_iter().collect();
    let messages: [&[u8]; 4] = [
        // No message at all; one that is no protobuf; one that promises gigabytes; an empty one, in which everything is missing.
        b"",
        b"\0\0\0\0\x05\xff\xff\xff\xff\xff",
        b"\0\xff\xff\xff\xff",
        b"\0\0\0\0\0",
    ];
    for (port, call) in calls {
        for call in [call, "no.such.Service/Call"] {
            for message in messages {
                let (status, text) = grpc(&format!("https://{}/{call}", ports[port]), message);
                // An answer may overtake what curl still sends, which it takes for an error.
                let reset = text.contains("curl: (92)");
                assert!(reset || !matches!(status.as_str(), "" | "0"), "{call} {message:?}: {text}");
            }
        }
    }
    assert_eq!(demo.processes(&["control-plane"]), [control]);
    assert_eq!(demo.status("/api/list"), 200);
}

/// The status of a gRPC call that curl makes, and everything that it saw.
fn grpc(url: &str, message: &[u8]) -> (String, String) {
    let mut curl = Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", "--http2-prior-knowledge", "--max-time", "20", "--include", "--data-binary", "@-"])
        .args(["-H", "content-type: application/grpc", "-H", "te: trailers", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let _ = curl.stdin.take().map(|mut stdin| stdin.write_all(message));
    let out = curl.wait_with_output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let status = text.lines().find_map(|line| line.strip_prefix("grpc-status: ")).unwrap_or_default();
    (status.trim().to_owned(), text.clone())
}

#[test]
fn a_proxy_without_a_descriptor_left_serves_again_when_there_are_some() {
    let demo = Demo::start();
    let proxy = process_of(&demo, "web-0", "proxy").expect("the proxy of web");
    let limit = |count: usize| {
        let limited = Command::new("prlimit").args([format!("--pid={proxy}"), format!("--nofile={count}:")]).status();
        assert!(limited.is_ok_and(|status| status.success()), "prlimit is part of util-linux");
    };
    limit(descriptors(proxy) + 8);
    // The kernel accepts them; the proxy cannot.
    let crowd: Vec<_> = (0..100).filter_map(|_| TcpStream::connect_timeout(&demo.published(), PATIENCE).ok()).collect();
    let log = demo.dir().join(".mesh/logs/emojivoto.web-0.linkerd-proxy.log");
    let said = eventually(PATIENCE, || fs::read_to_string(&log).is_ok_and(|text| text.contains("cannot accept")).then_some(()));
    assert!(said.is_some(), "the log does not say what is wrong");
    drop(crowd);
    let serves = eventually(PATIENCE, || (demo.status("/api/list") == 200).then_some(()));
    assert!(serves.is_some(), "it does not serve again");
    assert_eq!(process_of(&demo, "web-0", "proxy"), Some(proxy));
}

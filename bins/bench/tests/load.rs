//! The load generator, against the bench's own server as a process, and beside load generators of others.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use meshkit_bench::load::{Arrival, Load, Protocol, Tally};
use tokio::{task::LocalSet, time::sleep};

/// A server that ends with its test.
struct Server {
    child: Child,
    http: SocketAddr,
    tcp: SocketAddr,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let [http, tcp] = [free(), free()];
        let child = Command::new(env!("CARGO_BIN_EXE_meshkit-bench"))
            .arg("server")
            .args([format!("--http={http}"), format!("--tcp={tcp}")])
            .args(options)
            .stdin(Stdio::null())
            .spawn()
            .expect("the server is started");
        let mut server = Self { child, http, tcp };
        while TcpStream::connect(tcp).is_err() {
            assert!(server.child.try_wait().unwrap().is_none(), "the server ended");
            std::thread::yield_now();
        }
        server
    }

    /// How many requests it has had.
    fn count(&self) -> u64 {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.write_all(b"GET /count HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.rsplit("\r\n").next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn load(protocol: Protocol, server: &Server, arrival: Arrival) -> Load {
    let is_http = matches!(protocol, Protocol::Http1 | Protocol::Http2 | Protocol::Grpc);
    let target = if is_http { server.http } else { server.tcp };
    Load { protocol, target, authority: "server.test".to_owned(), path: "/".to_owned(), connections: 4, streams: 5, arrival }
}

async fn run(load: Load, length: Duration) -> Tally {
    let work = async {
        let running = load.start().unwrap();
        sleep(length).await;
        let tally = running.take();
        running.stop().await;
        tally
    };
    LocalSet::new().run_until(work).await
}

const MOMENT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn what_is_counted_is_what_the_server_had() {
    let mut before = 0;
    for (protocol, at_once) in [(Protocol::Http1, 4), (Protocol::Http2, 20), (Protocol::Grpc, 20)] {
        let server = Server::start(&[]);
        let tally = run(load(protocol, &server, Arrival::Closed), MOMENT).await;
        let had = server.count();
        assert!(tally.requests > 0 && tally.failures == 0, "{protocol:?}: {tally:?}");
        // Those that were on their way at the end were had, and not counted.
        assert!((tally.requests..=tally.requests + at_once).contains(&had), "{protocol:?}: {} of {had}", tally.requests);
        before += had;
    }
    assert!(before > 0);
}

#[tokio::test]
async fn failures_are_counted_apart() {
    let server = Server::start(&["--failures=20"]);
    let tally = run(load(Protocol::Http1, &server, Arrival::Closed), MOMENT).await;
    let all = tally.requests + tally.failures;
    assert!(tally.failures * 20 > all && tally.failures * 2 < all, "{} of {all}", tally.failures);
}

#[tokio::test]
async fn bytes_go_both_ways() {
    let server = Server::start(&[]);
    for protocol in [Protocol::Upload, Protocol::Download] {
        let tally = run(load(protocol, &server, Arrival::Closed), MOMENT).await;
        assert!(tally.bytes > 1 << 20 && tally.failures == 0, "{protocol:?}: {tally:?}");
    }
    let tally = run(load(Protocol::Connect, &server, Arrival::Closed), MOMENT).await;
    assert!(tally.requests > 0 && tally.failures == 0, "{tally:?}");
}

#[tokio::test]
async fn a_fixed_rate_is_kept_and_not_exceeded() {
    let server = Server::start(&[]);
    let tally = run(load(Protocol::Http1, &server, Arrival::Rate(200.0)), Duration::from_secs(1)).await;
    let due = (200.0 * tally.elapsed.as_secs_f64()) as u64;
    assert!(tally.requests > 0 && tally.requests <= due + 1, "{} of {due}", tally.requests);
    assert!(server.count() <= due + 5);
}

#[tokio::test]
async fn a_stall_is_not_hidden_by_the_requests_that_it_holds_back() {
    // A response takes 50 ms, and 100 are due each second on one connection: whoever is due last has to wait for all before it.
    let server = Server::start(&["--delay=50"]);
    let one = |arrival| Load { connections: 1, ..load(Protocol::Http1, &server, arrival) };
    let open = run(one(Arrival::Rate(100.0)), Duration::from_secs(1)).await;
    assert!(open.quantile(0.99) > 200_000.0, "{} us", open.quantile(0.99));
}

/// The count that a load generator of others states, and the one that the server had.
fn beside(program: &str, args: &[&str], stated: impl Fn(&str) -> Option<u64>) {
    let server = Server::start(&[]);
    let output = Command::new(program).args(args).arg(format!("http://{}/", server.http)).stdin(Stdio::null()).output();
    let Ok(output) = output else {
        eprintln!("{program} is not installed: nothing to compare with");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let stated = stated(&text).unwrap_or_else(|| panic!("no count in {text}"));
    let had = server.count();
    assert!(stated > 0 && had >= stated && had - stated <= 20, "{program} states {stated}, the server had {had}");
}

#[test]
fn the_server_counts_what_others_send() {
    beside("h2load", &["-n1000", "-c2", "-m10"], |text| {
        let line = text.lines().find(|line| line.starts_with("requests:"))?;
        line.split(", ").find_map(|part| part.strip_suffix(" succeeded"))?.parse().ok()
    });
    beside("wrk", &["-t1", "-c4", "-d1s"], |text| {
        text.lines().find(|line| line.contains(" requests in "))?.split_whitespace().next()?.parse().ok()
    });
}

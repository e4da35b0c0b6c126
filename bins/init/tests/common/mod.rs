//! Two network namespaces and a cable between them.

#![allow(dead_code)] // Each test program uses a part of it.

use std::{
    fs::File,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use meshkit_init::validate::{Check, NotRedirected};
use nix::sched::{CloneFlags, setns};
use socket2::{Domain, SockRef, Socket, Type};
use tempfile::TempDir;

/// A pod and its peer. Dropping it removes both.
pub(crate) struct Net {
    name: String,
}

/// The addresses of a family.
pub(crate) struct Addrs {
    pub(crate) pod: IpAddr,
    pub(crate) peer: IpAddr,
    /// The peer's second one.
    pub(crate) other: IpAddr,
}

/// Why tests with these programs cannot run here.
pub(crate) fn missing(programs: &[&str]) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    let programs = ["ip", "nsenter", "setpriv", "curl"].iter().chain(programs);
    let missing: Vec<_> = programs.copied().filter(|program| find(program).is_none()).collect();
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}

/// Where programs are looked for; iptables lives where only root looks.
pub(crate) fn search_path() -> String {
    // `go install` leaves tools in the second.
    let home = std::env::var("HOME").unwrap_or_default();
    format!("{}:/usr/sbin:/sbin:{home}/go/bin", std::env::var("PATH").unwrap_or_default())
}

fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path()).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A folder with these programs and no others.
pub(crate) fn only(programs: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for program in programs {
        std::os::unix::fs::symlink(find(program).unwrap(), folder.path().join(program)).unwrap();
    }
    folder
}

pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).env("PATH", search_path()).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {}: {}", output.status, text(&output.stderr));
    text(&output.stdout)
}

impl Net {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let net = Self { name: format!("mi{}x{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)) };
        for side in ["pod", "peer"] {
            run("ip", &["netns", "add", &net.of(side)]);
            net.inside(side, &["ip", "link", "set", "lo", "up"]);
        }
        let cable = ["link", "add", "eth0", "netns", &net.of("pod"), "type", "veth", "peer", "name", "eth0", "netns", &net.of("peer")];
        run("ip", &cable);
        for (side, addrs) in
            [("pod", &["10.77.0.1/24", "fd77::1/64"][..]), ("peer", &["10.77.0.2/24", "10.77.0.3/24", "fd77::2/64", "fd77::3/64"])]
        {
            for addr in addrs {
                // Addresses of version 6 are usable at once without the search for duplicates.
                // A deprecated one is used by whoever asks for it.
                let options = match *addr {
                    "fd77::3/64" => &["nodad", "preferred_lft", "0"][..],
                    addr if addr.contains(':') => &["nodad"],
                    _ => &[],
                };
                net.inside(side, &[&["ip", "addr", "add", addr, "dev", "eth0"][..], options].concat());
            }
            net.inside(side, &["ip", "link", "set", "eth0", "up"]);
        }
        net.inside("pod", &["ip", "route", "add", "default", "via", "10.77.0.2"]);
        net.inside("pod", &["ip", "-6", "route", "add", "default", "via", "fd77::2"]);
        net
    }

    fn of(&self, side: &str) -> String {
        format!("{}{side}", self.name)
    }

    pub(crate) fn pod_file(&self) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}", self.of("pod")))
    }

    fn inside(&self, side: &str, command: &[&str]) -> String {
        let netns = format!("--net=/run/netns/{}", self.of(side));
        run("nsenter", &[&[netns.as_str(), "--"][..], command].concat())
    }

    pub(crate) fn v4(&self) -> Addrs {
        let addr = |last| IpAddr::from(Ipv4Addr::new(10, 77, 0, last));
        Addrs { pod: addr(1), peer: addr(2), other: addr(3) }
    }

    pub(crate) fn v6(&self) -> Addrs {
        let addr = |last| IpAddr::from(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last));
        Addrs { pod: addr(1), peer: addr(2), other: addr(3) }
    }

    /// Runs in a namespace, on a thread that ends there: a thread's namespace is its own.
    pub(crate) fn within<T: Send>(&self, side: &str, run: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.of(side))).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(file, CloneFlags::CLONE_NEWNET).unwrap();
                run()
            });
            thread.join().unwrap()
        })
    }

    /// Answers on ports of both families with the port and with where the caller wanted to go, until the process ends.
    pub(crate) fn listen(&self, side: &'static str, ports: &[u16]) {
        for &port in ports {
            let listeners =
                self.within(side, || [listener(IpAddr::from(Ipv4Addr::UNSPECIFIED), port), listener(Ipv6Addr::UNSPECIFIED.into(), port)]);
            for listener in listeners {
                thread::spawn(move || answer(&listener, side, port));
            }
        }
    }

    fn curl(&self, side: &str, to: SocketAddr, who: &[&str], from: Option<IpAddr>) -> String {
        let url = format!("http://{to}/");
        let from = from.map(|addr| addr.to_string());
        let mut command = if who.is_empty() { Vec::new() } else { [&["setpriv"], who].concat() };
        command.extend(["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "10", "--globoff", url.as_str()]);
        if let Some(from) = &from {
            command.extend(["--interface", from]);
        }
        self.inside(side, &command)
    }

    pub(crate) fn peer_curl(&self, to: IpAddr, port: u16, from: Option<IpAddr>) -> String {
        self.curl("peer", SocketAddr::new(to, port), &[], from)
    }

    /// `who` is said to setpriv.
    pub(crate) fn pod_curl(&self, to: IpAddr, port: u16, who: &[&str]) -> String {
        self.curl("pod", SocketAddr::new(to, port), who, None)
    }

    pub(crate) fn pod_prints(&self, command: &[&str]) -> String {
        let print = self.inside("pod", command);
        // Comments have the date, brackets have counters.
        let lines = print.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(" [").next().unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Datagrams are nobody's business.
    pub(crate) fn check_udp(&self) {
        let server = self.within("pod", || UdpSocket::bind("10.77.0.1:8080").unwrap());
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let client = self.within("peer", || UdpSocket::bind("10.77.0.2:0").unwrap());
        client.send_to(b"ping", "10.77.0.1:8080").unwrap();
        let mut heard = [0; 8];
        assert_eq!(server.recv_from(&mut heard).unwrap(), (4, client.local_addr().unwrap()));
    }

    pub(crate) fn validate(&self, connect: &str, listen: &str) -> Result<(), NotRedirected> {
        let check = Check { connect: connect.parse().unwrap(), listen: listen.parse().unwrap(), limit: Duration::from_secs(2) };
        self.within("pod", || block_on(check.run()))
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }
}

impl Addrs {
    pub(crate) fn at(&self, ip: IpAddr, port: u16) -> SocketAddr {
        SocketAddr::new(ip, port)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for side in ["pod", "peer"] {
            let _ = Command::new("ip").args(["netns", "del", &self.of(side)]).env("PATH", search_path()).status();
        }
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn listener(ip: IpAddr, port: u16) -> TcpListener {
    let socket = Socket::new(if ip.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 }, Type::STREAM, None).unwrap();
    if ip.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::new(ip, port).into()).unwrap();
    socket.listen(16).unwrap();
    socket.into()
}

fn answer(listener: &TcpListener, side: &str, port: u16) {
    while let Ok((mut stream, _)) = listener.accept() {
        let socket = SockRef::from(&stream);
        let original = if stream.local_addr().unwrap().is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
        // Without connection tracking there is no other destination than this one.
        let original = original.ok().and_then(|addr| addr.as_socket()).unwrap_or_else(|| stream.local_addr().unwrap());
        let body = format!("{side} {port} for {original}");
        let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        // What is unread when a socket closes resets the connection.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
}

//! What endpoints and watchers take from the heap, and that nothing is taken for ever.
//!
//! Bytes are counted as glibc hands them out: a head of eight, in steps of sixteen, thirty-two at least.

#![allow(unsafe_code)] // A global allocator cannot be written without.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

mod crowd;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::SocketAddr,
    sync::Arc,
    thread,
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use meshkit_destination::{Service, Settings};
use meshkit_manifest::{Event, Key, Kind};
use meshkit_wire::{
    Refused,
    destination::{Answers, Resolve as _},
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::oneshot,
};

use crowd::{Crowd, mesh, path};

const SERVICES: u16 = 1000;
const ENDPOINTS: u16 = 20;

/// What is asked of a service.
type Ask = fn(&Service, &str, &str) -> Result<Answers<Bytes>, Refused>;

struct Counting;

thread_local! {
    /// Each test is a thread, and what it takes from the heap it gives back itself.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn chunk(layout: Layout) -> isize {
    ((layout.size() + 8).next_multiple_of(16).max(32)) as isize
}

// SAFETY: everything is passed on to the system's allocator unchanged; the counter neither allocates nor runs a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.with(|held| held.set(held.get() + chunk(layout)));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        HELD.with(|held| held.set(held.get() - chunk(layout)));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn apply(service: &Service, events: impl Iterator<Item = Event>) {
    events.for_each(|event| service.apply(event, |_| true));
}

/// A service that knows a whole crowd.
fn full(crowd: &Crowd, services: u16) -> Service {
    let service = Service::fed(mesh(), Settings::default());
    (0..services).for_each(|number| apply(&service, crowd.service(number, 0)));
    service
}

/// Watchers that have been told everything: each watches fifty Services from a node of its own.
fn watch(service: &Service, runtime: &Runtime, watchers: u16, ask: Ask) -> Vec<Answers<Bytes>> {
    let mut all = Vec::with_capacity(50 * usize::from(watchers));
    for watcher in 0..watchers {
        let context = format!(r#"{{"ns":"crowd","nodeName":"node-{watcher}","pod":"web-{watcher}"}}"#);
        all.extend((0..50).map(|n| ask(service, &path((watcher * 10 + n) % SERVICES), &context).unwrap()));
    }
    runtime.block_on(async {
        for answers in &mut all {
            assert!(!answers.next().await.unwrap().is_empty());
        }
    });
    all
}

#[test]
fn a_watcher_takes_four_kibibytes_whatever_the_size_of_the_answer() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut costs = Vec::new();
    for endpoints in [2, 200] {
        let crowd = Crowd::new(endpoints);
        let service = full(&crowd, 100);
        let context = |watcher: u16| format!(r#"{{"ns":"crowd","nodeName":"node-{watcher}","pod":"web-{watcher}"}}"#);
        let mut watch = |watcher: u16| {
            let mut answers = service.endpoint_messages(&path(7), &context(watcher)).unwrap();
            runtime.block_on(async { assert!(!answers.next().await.unwrap().is_empty()) });
            answers
        };
        let first = watch(0);
        let before = HELD.get();
        let all: Vec<_> = (1..=500).map(&mut watch).collect();
        costs.push((HELD.get() - before) / 500);
        drop((first, all));
    }
    println!("{costs:?} bytes per watcher");
    assert!(costs.iter().all(|cost| *cost <= 4096), "{costs:?} bytes per watcher");
    assert_eq!(costs[0], costs[1], "what a watcher takes does not depend on the number of endpoints");
}

#[test]
fn a_thousand_services_of_twenty_endpoints_and_five_thousand_watchers_stay_small() {
    let runtime = runtime();
    let inside = runtime.enter();
    let crowd = Crowd::new(ENDPOINTS);
    let empty = HELD.get();
    let service = full(&crowd, SERVICES);
    let each = (HELD.get() - empty) / isize::try_from(usize::from(SERVICES) * usize::from(ENDPOINTS)).unwrap();
    println!("{each} bytes per endpoint with its Pod");
    assert!(each <= 409, "{each} bytes per endpoint are more than 0.4 KiB");
    // Clients of three zones have three answers.
    apply(&service, (0..100).map(Crowd::node));
    let without = HELD.get();
    for (what, ask) in [("endpoints", Service::endpoint_messages as Ask), ("profiles", Service::profile_messages)] {
        let all = watch(&service, &runtime, 100, ask);
        let each = (HELD.get() - without) / isize::try_from(all.len()).unwrap();
        println!("{each} bytes per watcher of {what}, the answers included");
        assert!(each <= 4096, "{each} bytes per watcher of {what}");
        drop(all);
        let left = HELD.get() - without;
        println!("{left} bytes after they have left");
        assert!(left < 256 * 1024, "{left} bytes are left behind");
    }
    drop(service);
    // The task that told of changes goes with its runtime.
    drop(inside);
    drop(runtime);
    assert!(HELD.get() - empty < 1024, "{} bytes are left behind", HELD.get() - empty);
}

/// A client of its own thread, whose heap is not counted: so many streams on each of so many connections.
fn listen(addr: SocketAddr, connections: u16, ready: oneshot::Sender<()>, leave: oneshot::Receiver<()>) -> thread::JoinHandle<()> {
    let client = async move {
        let mut streams = Vec::new();
        for connection in 0..connections {
            let socket = TcpStream::connect(addr).await.unwrap();
            let (client, driver) = h2::client::handshake(socket).await.unwrap();
            tokio::spawn(driver);
            for n in 0..50 {
                let of = path((connection * 10 + n) % SERVICES);
                let context = format!(r#"{{"ns":"crowd","nodeName":"node-{connection}","pod":"web-{connection}"}}"#);
                // Two strings: fields two and three of the question.
                let fields = [(0x12, of), (0x1a, context)];
                let message: Vec<u8> =
                    fields.iter().flat_map(|(tag, text)| [&[*tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()).collect();
                let body = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], message.as_slice()].concat();
                let uri = format!("http://{addr}/io.linkerd.proxy.destination.Destination/Get");
                let request =
                    http::Request::post(uri).header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap();
                let mut client = client.clone().ready().await.unwrap();
                let (response, mut send) = client.send_request(request, false).unwrap();
                send.send_data(body.into(), true).unwrap();
                let mut body = response.await.unwrap().into_body();
                let data = body.data().await.unwrap().unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                streams.push((body, client));
            }
        }
        ready.send(()).unwrap();
        leave.await.unwrap();
    };
    thread::spawn(move || runtime().block_on(client))
}

#[test]
fn a_watcher_takes_four_kibibytes_with_its_stream_and_its_part_of_a_connection() {
    const CONNECTIONS: u16 = 20;
    let crowd = Crowd::new(ENDPOINTS);
    let service = full(&crowd, 10 * CONNECTIONS + 50);
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let api = meshkit_wire::destination::server(Arc::new(service));
        let without = HELD.get();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = TowerToHyperService::new(api.clone());
                tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service));
            }
        });
        let ((ready, is_ready), (leave, may_leave)) = (oneshot::channel(), oneshot::channel());
        let client = listen(addr, CONNECTIONS, ready, may_leave);
        is_ready.await.unwrap();
        let each = (HELD.get() - without) / isize::from(50 * CONNECTIONS.cast_signed());
        println!("{each} bytes per watcher, stream and connection included");
        assert!(each <= 4096, "{each} bytes per watcher");
        leave.send(()).unwrap();
        client.join().unwrap();
    });
}

#[test]
fn churn_takes_nothing_for_ever() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let crowd = Crowd::new(ENDPOINTS);
    let service = full(&crowd, 80);
    let mut all = watch(&service, &runtime, 4, Service::endpoint_messages);
    let mut round = |generation: u16| {
        for number in 0..80 {
            // As a Deployment does it: new Pods, another slice, and the old Pods go.
            (0..ENDPOINTS).for_each(|endpoint| service.apply(crowd.pod(number, endpoint, generation), |_| true));
            service.apply(crowd.slice(number, ENDPOINTS, generation), |_| true);
            for endpoint in 0..ENDPOINTS {
                let name = crowd::pod_name(number, endpoint, generation - 1);
                service.apply(Event::Deleted(Key { kind: Kind::Pod, namespace: "crowd".to_owned(), name }), |_| true);
            }
        }
        drop(watch(&service, &runtime, 2, Service::endpoint_messages));
        runtime.block_on(async {
            for answers in &mut all {
                assert!(!answers.next().await.unwrap().is_empty());
            }
            // What nobody watches is gone through, too.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        });
        HELD.get()
    };
    // Tables and pools grow to their size at first.
    let settled = (1..=3).map(&mut round).max().unwrap();
    let later = (4..=15).map(&mut round).max().unwrap();
    println!("{settled} bytes, later {later}");
    assert!(later <= settled + settled / 50, "{settled} bytes became {later}");
}

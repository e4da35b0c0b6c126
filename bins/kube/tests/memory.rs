//! What the objects of a large cluster take from the heap.
//!
//! Bytes are counted as glibc hands them out: a head of eight, in steps of sixteen, thirty-two at least.

#![allow(unsafe_code)] // A global allocator cannot be written without.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    ops::Range,
    sync::mpsc,
    thread,
};

use meshkit_kube::Source;
use meshkit_manifest::{Event, Kind};
use tokio::{runtime::Builder, sync::oneshot};

use fake::{Fake, eventually, pod};

mod fake;

const PODS: usize = 20_000;
/// As many as are asked for at once.
const PAGE: usize = 500;

struct Counting;

thread_local! {
    /// The server is another thread, and what is read here is given back here.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let held = HELD.with(|held| {
        held.set(held.get() + bytes);
        held.get()
    });
    PEAK.with(|peak| peak.set(peak.get().max(held)));
}

fn chunk(layout: Layout) -> isize {
    ((layout.size() + 8).next_multiple_of(16).max(32)) as isize
}

// SAFETY: everything is passed on to the system's allocator unchanged; the counters neither allocate nor run a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(chunk(layout));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-chunk(layout));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A pod as long as many are.
fn long(name: &str, version: u64) -> String {
    let padding = format!(r#""nodeName":"{}","volumes":[{{"name":"{}"}}],"#, "n".repeat(20), "x".repeat(1500));
    pod(name, version).replacen(r#""spec":{"#, &format!(r#""spec":{{{padding}"#), 1)
}

fn put(fake: &Fake, pods: Range<usize>) {
    for n in pods {
        let name = format!("web-7d9c8b6f5d-x{n:05}");
        fake.put_as(&name, |version| long(&name, version));
    }
    fake.compact();
}

/// What a source of so many Pods takes at most while it lists, and what it holds then.
async fn source(fake: &Fake, pods: usize) -> (isize, isize) {
    let before = HELD.get();
    PEAK.set(before);
    let (listing, source) = Source::new(fake.client(), [Kind::Pod]).start(64);
    let source = tokio::spawn(source);
    let mut count = 0;
    let told = |event| {
        assert!(matches!(event, Event::Applied(_)));
        count += 1;
    };
    let changes = listing.read(told).await.unwrap();
    assert_eq!(count, pods);
    let peak = PEAK.get() - before;
    // The last page is given back by then.
    eventually("the watch", || fake.requests().last().unwrap().contains("watch=1")).await;
    let held = HELD.get() - before;
    drop(changes);
    source.await.unwrap();
    (peak, held)
}

#[test]
fn a_first_list_holds_a_few_pages_and_then_of_each_object_less_than_a_hundred_bytes() {
    let (started, fake) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = thread::spawn(move || {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let fake = Fake::start().await;
            fake.state().page = PAGE;
            started.send(fake).unwrap();
            let _ = stopped.await;
        });
    });
    let fake = fake.recv().unwrap();
    let page = (PAGE * long("web-7d9c8b6f5d-x00000", 10_000).len()) as isize;
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        put(&fake, 0..PAGE);
        let (_, few) = source(&fake, PAGE).await;
        put(&fake, PAGE..PODS);
        let (peak, many) = source(&fake, PODS).await;
        let each = (many - few) / (PODS - PAGE) as isize;
        println!("pages of {page} bytes: {peak} bytes at most, {many} then; {each} of each object");
        assert!(peak - many < 4 * page, "{peak} bytes at most, {many} then; a page has {page}");
        assert!(each < 100, "{each} bytes of each object");
    });
    drop(stop);
    server.join().unwrap();
}

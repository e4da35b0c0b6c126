//! What counting a request takes from the heap.
#![allow(unsafe_code)] // A global allocator cannot be written without.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

#[path = "support/counted.rs"]
mod counted;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use self::counted::{Body, Handles, sized};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator unchanged; the counter neither allocates nor runs a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of `work`, once it has been seen.
fn count(work: impl Fn()) -> usize {
    work();
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[test]
fn a_request_without_bodies_is_counted_without_an_allocation() {
    let handles = Handles::new();
    assert_eq!(count(|| handles.inbound(Body::None)), 0);
    assert_eq!(count(|| handles.outbound(Body::None)), 0);
}

#[test]
fn a_body_that_is_followed_takes_one_box_for_each_who_follows_it() {
    let handles = Handles::new();
    let own = count(|| sized(Body::Sized));
    // The request's body, whose end the route waits for: a box, and the note of it. The response's: the application's counters, and the route's.
    assert_eq!(count(|| handles.inbound(Body::Sized)) - own, 4);
    // The same, and the backend is a third one.
    assert_eq!(count(|| handles.outbound(Body::Sized)) - own, 6);
}

//! What the words take from the heap that a request meets.
#![allow(unsafe_code)] // A global allocator cannot be written without.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hint::black_box,
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE};
use meshkit_core::{Authority, Backoff, Cause, Dice, Error, Identity, Outcome, Ratio, grpc};

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

/// Allocations of `work`.
fn count<T>(work: impl FnOnce() -> T) -> usize {
    let before = COUNT.get();
    black_box(work());
    COUNT.get() - before
}

#[test]
fn telling_outcomes_apart_allocates_nothing() {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(grpc::GRPC_STATUS, HeaderValue::from_static("14"));
    assert_eq!(count(|| Outcome::of_head(StatusCode::OK, &headers)), 0);
    assert_eq!(count(|| Outcome::of_trailers(Some(&headers))), 0);
    assert_eq!(count(|| Cause::ConnectTimeout(Duration::from_secs(1)).answer()), 0);
}

#[test]
fn chance_and_waits_allocate_nothing() {
    let (dice, share) = (Dice::new(1), Ratio::new(0.3).unwrap());
    let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10), 0.5).unwrap();
    assert_eq!(count(|| dice.hit(share)), 0);
    assert_eq!(count(|| backoff.delay(3, &dice)), 0);
}

#[test]
fn an_error_is_one_allocation_and_one_for_the_places_that_it_passed() {
    assert_eq!(count(|| Error::new(Cause::FailFast)), 1);
    assert_eq!(count(|| Error::new(Cause::FailFast).message("nothing was ready")), 1);
    assert_eq!(count(|| Error::new(Cause::FailFast).within("endpoint").within("backend")), 2);
}

#[test]
fn names_are_allocated_once_and_copies_share_them() {
    let id: Identity = "voting.emojivoto.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
    let authority: Authority = "voting-svc.emojivoto:8080".parse().unwrap();
    assert_eq!(count(|| (id.clone(), authority.clone())), 0);
    assert_eq!(count(|| "10.1.2.3:80".parse::<Authority>()), 0);
    assert!(count(|| "Voting-svc.emojivoto:8080".parse::<Authority>()) <= 2);
    assert!(count(|| "voting.emojivoto".parse::<Identity>()) <= 2);
}

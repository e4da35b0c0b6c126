use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake},
};

/// Far more than any single event gives cause for.
const MAX_POLLS: usize = 1_000;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls a background future as an executor would, until it waits for something from outside. It must not end, and it must not spin.
pub(crate) fn drive(mut future: Pin<&mut impl Future<Output = ()>>) {
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    for _ in 0..MAX_POLLS {
        assert_eq!(future.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending, "it runs while there is a handle");
        if !woken.0.swap(false, Ordering::Relaxed) {
            return;
        }
    }
    panic!("still busy after {MAX_POLLS} polls");
}

//! What every layer promises its neighbours.

use std::{
    future::{Ready, ready},
    pin::{Pin, pin},
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use meshkit_core::Error;

use super::*;

/// Is ready as often as it is told to, and refuses calls that it was not ready for. A clone is not ready.
#[derive(Debug, Default)]
struct Mock {
    permits: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    ready: bool,
}

impl Clone for Mock {
    fn clone(&self) -> Self {
        Self { permits: Arc::clone(&self.permits), calls: Arc::clone(&self.calls), ready: false }
    }
}

impl tower::Service<Request<()>> for Mock {
    type Response = ();
    type Error = Error;
    type Future = Ready<Result<(), Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let take = |n: usize| n.checked_sub(1);
        self.ready = self.ready || self.permits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
        if self.ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called before it was ready");
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(if request.uri().path() == "/fail" { Err(Error::new(Cause::FailFast)) } else { Ok(()) })
    }
}

fn is_ready<S: tower::Service<Request<()>>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn readiness_is_the_inner_services_and_a_clone_is_not_ready() {
    let (_sender, layer) = layer(open());
    let mock = Mock::default();
    let mut service = layer.layer(mock.clone());
    assert!(is_ready(&mut service).is_pending());
    mock.permits.store(1, Ordering::SeqCst);
    assert!(is_ready(&mut service).is_ready() && is_ready(&mut service).is_ready());
    assert!(is_ready(&mut service.clone()).is_pending());
    assert!(matches!(poll(pin!(service.call(get()))), Poll::Ready(Ok(()))));
    assert_eq!(mock.calls.load(Ordering::SeqCst), 1);
}

#[test]
fn a_refused_request_never_reaches_the_inner_service_and_leaves_it_ready() {
    let (sender, layer) = layer(DefaultPolicy::AllAuthenticated.policy(&[], Duration::ZERO));
    let mock = Mock::default();
    mock.permits.store(1, Ordering::SeqCst);
    let mut service = layer.layer(mock.clone());
    assert!(is_ready(&mut service).is_ready());
    assert!(matches!(poll(pin!(service.call(get()))), Poll::Ready(Err(error)) if error.cause() == &Cause::Denied));
    assert_eq!(mock.calls.load(Ordering::SeqCst), 0);
    sender.send(Arc::new(open())).unwrap();
    assert!(is_ready(&mut service).is_ready());
    assert!(matches!(poll(pin!(service.call(get()))), Poll::Ready(Ok(()))));
}

#[test]
fn errors_of_the_inner_service_are_passed_on_as_they_are() {
    let (_sender, layer) = layer(open());
    let mock = Mock::default();
    mock.permits.store(1, Ordering::SeqCst);
    let mut service = layer.layer(mock);
    assert!(is_ready(&mut service).is_ready());
    let fail = Request::get("http://web.ns/fail").body(()).unwrap();
    assert!(matches!(poll(pin!(service.call(fail))), Poll::Ready(Err(error)) if error.cause() == &Cause::FailFast));
}

#[test]
fn a_service_dropped_before_its_call_and_a_response_dropped_before_its_end_leave_nothing_behind() {
    let (_sender, layer) = layer(open());
    let held = Arc::new(());
    let pending = |held: Arc<()>| {
        service_fn(move |_: Request<()>| {
            let held = Arc::clone(&held);
            async move {
                std::future::pending::<()>().await;
                drop(held);
                Ok::<_, Infallible>(())
            }
        })
    };
    let mut service = layer.layer(pending(Arc::clone(&held)));
    assert!(is_ready(&mut service).is_ready());
    {
        let mut response = pin!(service.call(get()));
        assert!(poll(response.as_mut()).is_pending());
        assert_eq!(Arc::strong_count(&held), 3);
    }
    assert_eq!(Arc::strong_count(&held), 2);
    drop(service);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn services_and_responses_can_be_sent_to_other_threads() {
    fn send<T: Send + 'static>(_: &T) {}
    let (_sender, layer) = layer(open());
    send(&layer);
    let service = layer.layer(Mock::default());
    send(&service);
    send(&service.oneshot(get()));
}

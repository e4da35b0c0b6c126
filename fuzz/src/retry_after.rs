//! How long a server asks to be left alone.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Empty;
use meshkit_balance::{
    Balance, Config, Observe, Penalty,
    accrual::{self, Transition},
    track, updates,
};
use meshkit_core::{Backoff, Endpoint};
use tokio::time::Instant;
use tower::Service as _;

use crate::{Input, Verdict, drive::drive};

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// The date, in seconds since the epoch.
const TODAY: u64 = 1_000;

/// When the breaker will let something through again.
#[derive(Clone, Default)]
struct Until(Arc<Mutex<Option<Instant>>>);

impl Observe for Until {
    fn breaker(&self, _: SocketAddr, transition: Transition) {
        if let Transition::Opened { until, .. } = transition {
            *self.0.lock().expect("one thread") = Some(until);
        }
    }
}

/// The first part is `retry-after`, the rest `grpc-retry-pushback-ms`, of a response that opens the endpoint's breaker. It rests as long as it was
/// asked to, within its own bounds.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let (after, pushback) = (input.part(), input.rest());
    let named = [("retry-after", after), ("grpc-retry-pushback-ms", pushback)].into_iter().filter(|(_, value)| !value.is_empty());
    let headers: Option<HeaderMap> =
        named.map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?))).collect();
    let Some(headers) = headers else { return Verdict::Refused };
    let hint = naive(&headers);
    let before = Instant::now();
    let until = opened_until(headers);
    let pause = hint.unwrap_or_default().clamp(SHORTEST, LONGEST);
    assert!(until >= before + pause, "{pause:?} were asked for");
    assert!(until <= Instant::now() + pause, "{pause:?} were asked for");
    Verdict::when(hint.is_some())
}

/// Sends one request, which is answered so, and tells when the next one may go.
fn opened_until(headers: HeaderMap) -> Instant {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime of one thread needs nothing");
    let _entered = runtime.enter();
    let until = Until::default();
    let backoff = Backoff::new(SHORTEST, LONGEST, 0.0).expect("a second is less than five minutes");
    let breaker = accrual::Config::consecutive(1, backoff).honor_retry_after(LONGEST);
    let config = Config::default().accrual(breaker).penalty(Penalty::default());
    let today = SystemTime::UNIX_EPOCH + Duration::from_secs(TODAY);
    let answering = move |_: Arc<Endpoint>| {
        let headers = headers.clone();
        tower::service_fn(move |_: Request<()>| {
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            *response.headers_mut() = headers.clone();
            std::future::ready(Ok::<_, Infallible>(response))
        })
    };
    let track = track::Http::default().dates(Arc::new(today), date);
    let (mut balance, driver) = Balance::observed(config, track, until.clone(), answering);
    let mut run = Box::pin(driver.run(updates::fixed([Endpoint::new(([127, 0, 0, 1], 80).into())])));
    drive(run.as_mut());
    let response = balance.call(Request::new(())).now_or_never().expect("the endpoint is ready").expect("the endpoint answers");
    drop(response);
    drive(run.as_mut());
    let until = until.0.lock().expect("one thread").take();
    until.expect("one failure opens the breaker")
}

/// `@` and seconds since the epoch: any format will do, since the caller brings it.
fn date(text: &str) -> Option<SystemTime> {
    let seconds = text.strip_prefix('@')?.parse::<u32>().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into()))
}

/// Milliseconds of the one, or seconds or a date of the other; a number too large to be one is none.
fn naive(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |text: &str| text.parse::<u64>().ok();
    if let Some(millis) = text("grpc-retry-pushback-ms").and_then(number) {
        return Some(Duration::from_millis(millis));
    }
    let after = text("retry-after")?;
    let until = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(TODAY)).unwrap_or_default();
    number(after).map(Duration::from_secs).or_else(|| date(after).map(until))
}

mod chance;
mod contract;
mod trouble;

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use meshkit_core::{Dice, Error, Ratio};
use tokio::time::Duration;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::{Abort, Delay, Fault, FaultLayer, Kind, Observe, Rate, Throttled};

type Body = Full<Bytes>;

const PAUSE: Duration = Duration::from_secs(3);

fn layer(faults: Vec<Fault>) -> FaultLayer {
    FaultLayer::new(faults, Dice::new(1))
}

fn delay() -> Fault {
    Fault::new(Kind::Delay(Delay::Fixed(PAUSE)))
}

fn abort(status: StatusCode) -> Fault {
    Fault::new(Kind::Abort(Abort::Status(status)))
}

fn rate(bytes_per_second: u64) -> Fault {
    Fault::new(Kind::Throttle(Rate::new(bytes_per_second).unwrap()))
}

fn ratio(share: f64) -> Ratio {
    Ratio::new(share).unwrap()
}

/// Delayed, aborted, reset, throttled.
fn counts(layer: &FaultLayer) -> [u64; 4] {
    let counts = layer.counts();
    [counts.delayed(), counts.aborted(), counts.reset(), counts.throttled()]
}

async fn send<O: Observe>(layer: &FaultLayer<O>, request: Request<()>) -> Result<Response<Throttled<Body>>, Error> {
    layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Body::from("0123456789"))))).oneshot(request).await
}

async fn ask(layer: &FaultLayer) -> Result<Response<Throttled<Body>>, Error> {
    send(layer, Request::new(())).await
}

//! How does my client take it when what it calls is slow, or fails?
//!
//! ```text
//! cargo run -p meshkit-examples --example fault
//! ```

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response};
use meshkit_core::{Dice, Identity};
use meshkit_fault::{Abort, Delay, Fault, FaultLayer, Faults, Kind, Source};
use tokio::{sync::watch, time::Instant};
use tower::{Layer, Service, ServiceExt, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let (web, bot): (Identity, Identity) = ("web.emojivoto".parse()?, "bot.emojivoto".parse()?);
    // As annotations of a route spell it: a fifth of what the bot asks for fails, and a tenth of it waits.
    let annotations = BTreeMap::from([
        ("fault.mesh/abort", "503 20%"),
        ("fault.mesh/delay", "uniform(5ms,15ms) 10%"),
        ("fault.mesh/from", "bot.emojivoto"),
    ]);
    let planned = Faults::from_annotations(|name| annotations.get(name).copied())?;

    // Faults may change while requests pass. The seed makes a run repeatable.
    let (faults, watched) = watch::channel(Arc::new(planned));
    let layer = FaultLayer::new(Source::Watched(watched), Dice::new(42));
    let emoji = layer.layer(service_fn(async |_: Request<String>| Ok::<_, Infallible>(Response::new(String::from(":doughnut:")))));

    println!("web: {}", ask(&emoji, &web).await);
    println!("bot: {}", ask(&emoji, &bot).await);

    // The same in Rust, and for everybody.
    let abort = Fault::new(Kind::Abort(Abort::Code(meshkit_core::grpc::Code::UNAVAILABLE)));
    let delay = Fault::new(Kind::Delay(Delay::Fixed(Duration::from_millis(1))));
    faults.send_replace(Arc::new(vec![abort, delay].into()));
    println!("web: {}", ask(&emoji, &web).await);

    faults.send_replace(Arc::default());
    println!("web: {}", ask(&emoji, &web).await);
    println!("made: {} delayed, {} aborted", layer.counts().delayed(), layer.counts().aborted());
    Ok(())
}

/// Sends a hundred requests of this client, and tells what it saw.
async fn ask<S, B>(service: &S, client: &Identity) -> String
where
    S: Service<Request<String>, Response = Response<B>, Error = meshkit_core::Error> + Clone,
{
    let (mut failures, mut slowest) = (BTreeMap::<String, u32>::new(), Duration::ZERO);
    for _ in 0..100 {
        let mut request = Request::new(String::new());
        // On the way in, whoever ends the TLS puts it there.
        request.extensions_mut().insert(client.clone());
        let started = Instant::now();
        if let Err(error) = service.clone().oneshot(request).await {
            *failures.entry(error.to_string()).or_default() += 1;
        }
        slowest = slowest.max(started.elapsed());
    }
    let failed: u32 = failures.values().sum();
    let slow = if slowest >= Duration::from_millis(5) { "slow ones among them" } else { "all of them quick" };
    format!("{:>3} of 100 succeed, {slow}; {failures:?}", 100 - failed)
}

//! How do I retry without making an outage worse?
//!
//! ```text
//! cargo run -p meshkit-examples --example retry
//! ```

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode};
use meshkit_core::{Backoff, Dice, Ratio};
use meshkit_retry::{Budget, Conditions, Params, Plan, RetryLayer, TimeoutLayer, Timeouts, budget};
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    // Up to three more tries for a 5xx or 429, a moment apart, all of them within two seconds.
    let params = Params {
        max_retries: 3,
        conditions: Conditions { statuses: "5xx,429".parse()?, ..Conditions::default() },
        backoff: Some(Backoff::new(Duration::from_micros(100), Duration::from_millis(1), 1.0)?),
        ..Params::DEFAULT
    };
    let plan = Plan::from(params).timeouts(Timeouts { request: Some(Duration::from_secs(2)), ..Timeouts::default() });

    println!("a server that fails one request in ten");
    let one_in_ten = Ratio::of(1, 10).ok_or("1/10 is a ratio")?;
    ask("without retries", RetryLayer::new(Plan::new(), Dice::new(1)), one_in_ten).await?;
    ask("with retries", RetryLayer::new(plan.clone(), Dice::new(1)).budget(budget()?), one_in_ten).await?;

    println!("a server that fails every request");
    ask("without a budget", RetryLayer::new(plan.clone(), Dice::new(1)), Ratio::ONE).await?;
    ask("with a budget", RetryLayer::new(plan, Dice::new(1)).budget(budget()?), Ratio::ONE).await
}

/// One retry for every five requests of the last ten seconds. Clones share it: one for all routes to a service.
fn budget() -> Result<Budget, BoxError> {
    Ok(Budget::new(budget::Params::new(Duration::from_secs(10), 0.2, 0)?, Instant::now()))
}

async fn ask(how: &str, retry: RetryLayer, failing: Ratio) -> Result<(), BoxError> {
    const REQUESTS: u32 = 200;
    let (tries, dice) = (Arc::new(AtomicU32::new(0)), Dice::new(7));
    let counted = Arc::clone(&tries);
    let server = service_fn(move |_: Request<_>| {
        counted.fetch_add(1, Ordering::Relaxed);
        let status = if dice.hit(failing) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        async move {
            let mut response = Response::new(String::new());
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    // Outermost first: each try gets from the retry what is left of the time.
    let service = ServiceBuilder::new().layer(retry).layer(TimeoutLayer::default()).service(server);

    let mut good = 0;
    for _ in 0..REQUESTS {
        let response = service.clone().oneshot(Request::new(String::from("a vote"))).await?;
        good += u32::from(response.status().is_success());
    }
    println!("  {how:<17}{good:>4} of {REQUESTS} succeed, at the price of {:>4} tries", tries.load(Ordering::Relaxed));
    Ok(())
}

//! How do I keep a slow replica, or a broken one, from slowing everybody down?
//!
//! ```text
//! cargo run -p meshkit-examples --example balance
//! ```

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body;
use meshkit_balance::{Balance, Config, accrual, updates};
use meshkit_core::{Backoff, Endpoint, Error, Update};
use tokio::{task::JoinSet, time::sleep};
use tower::{Service, ServiceExt, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    // After five failures in a row, a replica is left alone for a while.
    let rest = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 0.5)?;
    let config = Config::default().accrual(accrual::Config::consecutive(5, rest));

    // What sends a request to one replica. Here they are not reached over a network: port 3 is slow, and port 2 breaks later.
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = Arc::clone(&broken);
    let (balance, driver) = Balance::new(config, move |endpoint: Arc<Endpoint>| {
        let (port, broken) = (endpoint.addr.port(), Arc::clone(&breaks));
        service_fn(move |_: Request<String>| {
            let fails = port == 2 && broken.load(Ordering::Relaxed);
            async move {
                sleep(Duration::from_millis(if port == 3 { 50 } else { 2 })).await;
                let status = if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
                let mut response = Response::new(port.to_string());
                *response.status_mut() = status;
                Ok::<_, Error>(response)
            }
        })
    });

    // Discovery: any stream of updates. This one is fed by hand.
    let (discovery, stream) = updates::channel(8);
    tokio::spawn(driver.run(stream));
    discovery.send(Update::Add([1, 2, 3].map(replica).into())).await?;

    println!("three replicas, the third 25 times as slow:   {}", share(&balance, 400).await?);
    broken.store(true, Ordering::Relaxed);
    println!("the second answers nothing but 503 from here: {}", share(&balance, 400).await?);
    println!("                                              {:?}", balance.endpoints());
    discovery.send(Update::Reset([1, 4].map(replica).into())).await?;
    println!("discovery replaces all but the first:         {}", share(&balance, 400).await?);
    Ok(())
}

fn replica(port: u16) -> Endpoint {
    Endpoint::new(([10, 0, 0, 1], port).into())
}

/// Sends requests from eight clients, and tells which replica answered how many of them.
async fn share<S, B>(balance: &S, count: usize) -> Result<String, BoxError>
where
    S: Service<Request<String>, Response = Response<B>, Error = Error, Future: Send> + Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let balance = balance.clone();
        clients.spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..count / 8 {
                let response = balance.clone().oneshot(Request::new(String::new())).await?;
                let status = response.status();
                // The body is read to its end: until then, the request counts as pending.
                let body = response.into_body().collect().await.map_err(Into::into)?.to_bytes();
                answers.push((String::from_utf8_lossy(&body).into_owned(), status));
            }
            Ok::<_, BoxError>(answers)
        });
    }
    let (mut by_replica, mut failed) = (BTreeMap::<_, usize>::new(), 0);
    while let Some(answers) = clients.join_next().await {
        for (replica, status) in answers?? {
            *by_replica.entry(replica).or_default() += 1;
            failed += usize::from(status.is_server_error());
        }
    }
    let shares: Vec<_> = by_replica.iter().map(|(replica, taken)| format!("replica {replica} took {:>2}%", taken * 100 / count)).collect();
    Ok(format!("{}; {failed} of {count} failed", shares.join(", ")))
}

//! How do I build a small proxy of my own? From the six crates, tower and hyper; there is nothing of `bins/` in it.
//!
//! ```text
//! cargo run -p meshkit-examples --example custom_proxy                                  # two backends of its own
//! cargo run -p meshkit-examples --example custom_proxy 127.0.0.1:8080 127.0.0.1:8000    # listen there, forward here [and here ...]
//! cargo run -p meshkit-examples --example custom_proxy -- --once                        # a hundred requests, and the end
//! ```
//!
//! It admits who may use it, retries out of a budget, keeps a route's timeout, balances by P2C over peak EWMA, rests backends that fail, and
//! reaches them over mutual TLS where they have an identity. `proxy.rs` is the assembly.

#[path = "../ca.rs"]
mod ca;
mod endpoint;
mod own;
mod proxy;

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use meshkit_core::{Endpoint, drain};
use meshkit_fault::Faults;
use tokio::net::TcpListener;

use ca::LocalCa;
use own::Ask;
use proxy::Proxy;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => with_own_backends(Ask::Nothing).await,
        ["--once"] => with_own_backends(Ask::Hundred).await,
        [listen, ref backends @ ..] if !backends.is_empty() => match addresses(listen, backends) {
            Ok((listen, backends)) => forward(listen, backends).await,
            Err(usage) => {
                eprintln!("{usage}");
                return ExitCode::from(64);
            }
        },
        _ => {
            eprintln!("usage: custom_proxy [--once | LISTEN BACKEND...]");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Every address that is wrong, a line each.
fn addresses(listen: &str, backends: &[&str]) -> Result<(SocketAddr, Vec<SocketAddr>), String> {
    let parse = |text: &str| text.parse().map_err(|_| format!("{text:?} is not an address: expected one as 127.0.0.1:8080"));
    let (addrs, wrong): (Vec<_>, Vec<_>) = std::iter::once(&listen).chain(backends).map(|text| parse(text)).partition(Result::is_ok);
    if !wrong.is_empty() {
        return Err(wrong.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("\n"));
    }
    let mut addrs = addrs.into_iter().flatten();
    let listen = addrs.next().ok_or("there is no address to listen on")?;
    Ok((listen, addrs.collect()))
}

async fn forward(listen: SocketAddr, backends: Vec<SocketAddr>) -> Result<(), BoxError> {
    let proxy = Proxy::new(backends.into_iter().map(Endpoint::new).collect(), None, Faults::default())?;
    serve(proxy, listen, |_| tokio::signal::ctrl_c()).await
}

/// Two backends behind mutual TLS, and a fault in front of them, for something to be retried.
async fn with_own_backends(ask: Ask) -> Result<(), BoxError> {
    let ca = LocalCa::new("root.local")?;
    let name = "emoji.emojivoto".parse()?;
    let mut endpoints = Vec::new();
    for backend in ["one", "two"] {
        let addr = own::backend(backend, ca.store(&name)?).await?;
        endpoints.push(Endpoint::new(addr).identity(name.clone()));
    }
    let faults = Faults::from_annotations(|name| (name == "fault.mesh/abort").then_some("503 20%"))?;
    let store = ca.store(&"proxy.emojivoto".parse()?)?;
    let proxy = Proxy::new(endpoints, Some(Arc::new(store)), faults)?;
    serve(proxy, ([127, 0, 0, 1], 0).into(), |addr| own::ask(addr, ask)).await
}

/// Serves until `until` ends, then finishes what is in flight.
async fn serve<F, E>(proxy: Proxy, listen: SocketAddr, until: impl FnOnce(SocketAddr) -> F) -> Result<(), BoxError>
where
    F: Future<Output = Result<(), E>>,
    BoxError: From<E>,
{
    let listener = TcpListener::bind(listen).await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let addr = listener.local_addr()?;
    println!("listening on http://{addr}, Ctrl-C ends it");
    let (signal, watch) = drain::channel();
    let result = tokio::select! {
        result = until(addr) => result,
        () = proxy.serve(listener, watch) => Ok(()),
    };
    signal.drain().await;
    result.map_err(BoxError::from)
}

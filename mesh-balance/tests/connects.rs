//! Connects over real sockets.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use meshkit_balance::{Balance, Config, Driver, accrual, updates};
use meshkit_core::{Backoff, Endpoint, Update};
use tokio::net::{TcpListener, TcpStream};
use tower::{ServiceExt, service_fn};
use tower_service::Service;

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn accept(listener: TcpListener) {
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
}

macro_rules! connects {
    ($config:expr) => {
        Balance::connect($config, |endpoint: Arc<Endpoint>| {
            let addr = endpoint.addr;
            service_fn(move |()| TcpStream::connect(addr))
        })
    };
}

#[tokio::test]
async fn connects_are_spread_over_the_listeners() {
    let (mut balance, driver) = connects!(Config::default().seed(5));
    let mut addrs = Vec::new();
    for _ in 0..3 {
        let (listener, addr) = listen().await;
        accept(listener);
        addrs.push(addr);
    }
    tokio::spawn(Driver::run(driver, updates::fixed(addrs.iter().copied().map(Endpoint::new))));
    let mut connections = Vec::new();
    for _ in 0..60 {
        connections.push(balance.ready().await.unwrap().call(()).await.unwrap());
    }
    for addr in addrs {
        assert!(connections.iter().any(|c| c.peer_addr().unwrap() == addr), "nobody went to {addr}");
    }
    assert_eq!(balance.pending_count(), 0, "an established connection is no load");
}

#[tokio::test]
async fn a_refused_connect_fails_at_once_and_the_breaker_sends_the_next_elsewhere() {
    let backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(60), 0.0).unwrap();
    let (mut balance, driver) = connects!(Config::default().accrual(accrual::Config::consecutive(1, backoff)));
    let (listener, good) = listen().await;
    accept(listener);
    let (closed, bad) = listen().await;
    drop(closed);
    let (discovery, stream) = updates::channel(4);
    tokio::spawn(driver.run(stream));
    discovery.send(Update::Add(vec![Endpoint::new(bad)])).await.unwrap();
    let error = balance.ready().await.unwrap().call(()).await.unwrap_err();
    assert!(std::error::Error::source(&error).is_some());
    discovery.send(Update::Add(vec![Endpoint::new(good)])).await.unwrap();
    for _ in 0..20 {
        assert_eq!(balance.ready().await.unwrap().call(()).await.unwrap().peer_addr().unwrap(), good);
    }
}

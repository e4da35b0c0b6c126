//! SIGTERM, in a process of its own: a signal goes to a whole process.

use std::{process::Command, time::Duration};

use meshkit_demo::{Component, run};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

#[tokio::test]
async fn sigterm_drains() {
    let process = std::process::id();
    let ip = format!("127.{}.{}.250", 64 + process % 128, (process / 128) % 256);
    let address = format!("{ip}:8801");
    let env = move |name: &str| match name {
        "POD_IP" => Some(ip.clone()),
        "GRPC_PORT" => Some("8080".to_owned()),
        "PROM_PORT" => Some("8801".to_owned()),
        _ => None,
    };
    let voting = tokio::spawn(run(Component::Voting, env));
    timeout(Duration::from_secs(10), async {
        while TcpStream::connect(&address).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("voting listens");
    // The handler is there once the component was polled twice: it listens before that, at the first poll.
    sleep(Duration::from_millis(50)).await;
    let killed = Command::new("kill").args(["-TERM", &process.to_string()]).status().unwrap();
    assert!(killed.success());
    timeout(Duration::from_secs(5), voting).await.expect("the drain ends").unwrap().unwrap();
    assert!(TcpStream::connect(&address).await.is_err(), "a connection after the stop");
}

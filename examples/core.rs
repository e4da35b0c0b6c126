//! How did a call end, and how do I stop without losing one?
//!
//! ```text
//! cargo run -p meshkit-examples --example core
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode};
use meshkit_core::{Cause, Error, Outcome, drain, grpc};
use tokio::time::{Instant, sleep};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("Did the server do its job?");
    for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE] {
        println!("  HTTP {:<15}{:?}", status.as_u16(), Outcome::of_status(status));
    }
    // gRPC answers 200 whatever happens. Its head decides nothing; the trailers do.
    let mut head = HeaderMap::new();
    head.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    println!("  gRPC 200, the head  {:?}", Outcome::of_head(StatusCode::OK, &head));
    for code in [grpc::Code::OK, grpc::Code::NOT_FOUND, grpc::Code::UNAVAILABLE] {
        let mut trailers = HeaderMap::new();
        trailers.insert(grpc::GRPC_STATUS, HeaderValue::from(u16::from(code.get())));
        println!("  gRPC {:<15}{:?}", code.name(), Outcome::of_trailers(Some(&trailers)));
    }

    println!("\nWhat does a client see of a failure on the way?");
    for cause in [Cause::Denied, Cause::RateLimited, Cause::Io, Cause::FailFast] {
        // Every layer of the mesh fails with this type, and one table says what becomes of it.
        let error = Error::new(cause).within("backend emoji:8080");
        let answer = error.cause().answer();
        println!("  HTTP {}, gRPC {:<18} {:?} the connection: {error}", answer.status.as_u16(), answer.code.name(), answer.connection);
    }

    println!("\nWho is waited for when the program ends?");
    let (signal, watch) = drain::channel();
    let served = Arc::new(AtomicU32::new(0));
    for millis in [20, 60, 40] {
        // Each request holds a watch for as long as it takes.
        let (held, served) = (watch.clone(), Arc::clone(&served));
        tokio::spawn(async move {
            sleep(Duration::from_millis(millis)).await;
            served.fetch_add(1, Ordering::Relaxed);
            drop(held);
        });
    }
    // The accept loop holds the last one, and lets go of it as soon as the signal is given.
    tokio::spawn(async move {
        drop(watch.signaled().await);
        println!("  nothing new is accepted");
    });
    let started = Instant::now();
    signal.drain().await;
    println!("  3 requests in flight, {} served before the end, after {:?}", served.load(Ordering::Relaxed), started.elapsed());
}

//! Runs one component as a process: `GRPC_PORT=8080 cargo run -p meshkit-demo --example component -- voting`.

use std::{env, process::ExitCode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let component = match env::args().nth(1).unwrap_or_default().parse() {
        Ok(component) => component,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(64);
        }
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match meshkit_demo::run(component, |name| env::var(name).ok()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if error.is_usage() { 64 } else { 1 })
        }
    }
}

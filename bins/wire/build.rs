//! Compiles the protocols that no crate brings, without a `protoc` on the machine.

use std::io;

const ROOT: &str = "proto";
const FILES: [&str; 3] = ["mesh/extension/v1/extension.proto", "opentelemetry/trace.proto", "spiffe/workload.proto"];

fn main() -> io::Result<()> {
    for file in FILES {
        println!("cargo::rerun-if-changed={ROOT}/{file}");
    }
    let descriptors = protox::compile(FILES, [ROOT]).map_err(io::Error::other)?;
    tonic_prost_build::configure().compile_fds(descriptors)
}

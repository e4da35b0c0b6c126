//! Compiles `mesh.extension.v1` without a `protoc` on the machine.

use std::io;

fn main() -> io::Result<()> {
    let root = "proto";
    let file = "mesh/extension/v1/extension.proto";
    println!("cargo::rerun-if-changed={root}/{file}");
    let descriptors = protox::compile([file], [root]).map_err(io::Error::other)?;
    tonic_prost_build::configure().compile_fds(descriptors)
}

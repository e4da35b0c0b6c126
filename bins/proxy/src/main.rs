//! The sidecar proxy.

fn main() -> std::process::ExitCode {
    meshkit_proxy::program::main()
}

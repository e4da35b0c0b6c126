//! One target per parser that a peer or an operator feeds, and one per state machine.
//!
//! A target is a function of bytes. It asks the code under test, compares the answer with a second opinion (a naive model, a round trip, another
//! library), and panics where the two differ. A fuzzer calls it with bytes that it makes up (`fuzz/targets/`); `cargo test` calls it with the bytes
//! in `fuzz/corpus/`; the program of this package calls it with yours.
//!
//! ```
//! use meshkit_fuzz::{Verdict, find};
//!
//! let target = find("http_detect").unwrap();
//! assert_eq!((target.run)(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n"), Verdict::Accepted);
//! assert_eq!((target.run)(b"SSH-2.0-OpenSSH_9.2\r\n"), Verdict::Refused);
//! ```
//!
//! | module | what is fed | what it is held against |
//! |---|---|---|
//! | [`client_hello`] | the first bytes of a connection, cut everywhere | every cut, and the hello reader of rustls |
//! | [`transport_header`] | the first bytes of a meshed connection, cut everywhere | every cut, and a general protobuf reader |
//! | [`transport_header_round_trip`] | a header's fields | itself, written and read |
//! | [`http_detect`] | the first bytes of a connection, cut everywhere | every cut |
//! | [`http_server`] | all bytes of a connection, HTTP/1 or HTTP/2 | a reader of responses |
//! | [`http_hygiene`] | a request's target and headers | what must be gone behind a hop |
//! | [`forwarded`] | the header `forwarded` | a naive reader, and what gateways append |
//! | [`address`] | authorities, identities, sockets, networks, names | itself, written and read |
//! | [`duration`] | lengths of time, in each grammar | a naive model of them all |
//! | [`proxy_settings`] | a proxy's environment | the rule that each mistake names its setting |
//! | [`fault_annotations`] | `fault.mesh/...` | itself, written and read |
//! | [`retry_headers`] | `l5d-retry-...` and `l5d-...timeout` | what must be gone, and naive lists |
//! | [`retry_after`] | `retry-after`, `grpc-retry-pushback-ms` | the rest that a breaker gives |
//! | [`grpc_timeout`] | `grpc-timeout` | a naive model, and what is left of the time |
//! | [`manifest`] | YAML and JSON | itself, written and read; the lines of faults |
//! | [`wire`] | protobuf messages of the control plane | itself, written and read |
//! | [`tap`] | protobuf messages of the tap, and a request | itself, written and read; the opposite match |
//! | [`route_match`] | routes and a request | every rule asked, the answers sorted |
//! | [`replay_body`] | a body's frames, and when readers give up | a list of frames |
//! | [`retry_budget`] | requests, retries, and time | every event remembered |
//! | [`rate_limit`] | requests of some clients, and time | every event remembered |
//! | [`breaker`] | responses, and time | the count of failures |
//! | [`pool`] | discovery updates and requests | the set that the updates describe |
//!
//! # Place in the workspace
//!
//! Nothing depends on it. It is not published.

mod drive;
mod input;
mod target;

pub use input::Input;
pub use target::{TARGETS, Target, Verdict, find};

pub mod address;
pub mod breaker;
pub mod client_hello;
pub mod duration;
pub mod fault_annotations;
pub mod forwarded;
pub mod grpc_timeout;
pub mod http_detect;
pub mod http_hygiene;
pub mod http_server;
pub mod manifest;
pub mod pool;
pub mod proxy_settings;
pub mod rate_limit;
pub mod replay_body;
pub mod retry_after;
pub mod retry_budget;
pub mod retry_headers;
pub mod route_match;
pub mod tap;
pub mod transport_header;
pub mod transport_header_round_trip;
pub mod wire;

//! The emoji voting application: something to run a mesh under, and to see it work.
//!
//! ```text
//! browser, vote-bot --HTTP/1--> web --gRPC--> emoji
//!                                   --gRPC--> voting (v1, v2)
//!                                   intruder --gRPC--x voting
//! ```
//!
//! It misbehaves on purpose: a vote for the doughnut always fails, emoji can fail a share of its lists, voting can be slow, and the
//! intruder calls what it may not. [`manifests()`] has the Kubernetes objects that run it, with the policies that make each of
//! these visible. It knows nothing of the mesh: it speaks plain text to the names in its environment.
//!
//! | variable | read by | meaning |
//! |---|---|---|
//! | `POD_IP` | web, emoji, voting | address to bind; default every address |
//! | `WEB_PORT` | web | port of the page |
//! | `GRPC_PORT` | emoji, voting | port of the gRPC service |
//! | `PROM_PORT` | emoji, voting | port of `/metrics`; unset: none |
//! | `EMOJISVC_HOST` | web | where emoji is, `host:port` |
//! | `VOTINGSVC_HOST` | web, intruder | where voting is, `host:port` |
//! | `WEB_HOST` | vote-bot | where web is, `host:port` |
//! | `MESSAGE_OF_THE_DAY` | web | a line on the page |
//! | `FAILURE_RATE` | emoji, voting | share of lists that are `UNAVAILABLE`; share of further votes that are `UNKNOWN`; default 0 |
//! | `ARTIFICIAL_DELAY` | emoji, voting | pause before each answer; default none |
//! | `VERSION` | voting | answered as `x-voting-version`; default `v1` |
//! | `REQUEST_RATE` | vote-bot | votes a second; default 1 |
//! | `TTL` | vote-bot | stops after this long; unset: never |
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let component = "voting".parse()?;
//! meshkit_demo::run(component, |name| std::env::var(name).ok()).await?;
//! # Ok(()) }
//! ```

mod bot;
mod component;
mod emoji;
mod environment;
mod error;
mod http1;
mod intruder;
mod manifests;
mod metrics;
mod proto;
mod run;
mod stop;
mod table;
mod voting;
mod web;

pub use component::{Component, UnknownComponent};
pub use error::Error;
pub use manifests::{NAMESPACE, manifests};
pub use proto::{EMOJI_PROTO, VOTING_PROTO};
pub use run::{run, run_until};

//! How a pod's connections come to its proxy: redirect rules as pure text, what applies them, and what proves them.
//!
//! ```
//! use meshkit_init::rules::{Family, Redirect, iptables::{self, Existing, Mode}};
//!
//! let redirect = Redirect::new(4143, 4140).proxy_uid(2102).ignore_inbound(["4190".parse()?, "4191".parse()?]);
//! let commands = iptables::install(&redirect, Mode::Nft, Family::V4, &Existing::default());
//! assert_eq!(commands[0].to_string(), "iptables-nft -t nat -N PROXY_INIT_REDIRECT");
//! assert_eq!(
//!     commands[1].to_string(),
//!     "iptables-nft -t nat -A PROXY_INIT_REDIRECT -p tcp --match multiport --dports 4190,4191 -j RETURN \
//!      -m comment --comment proxy-init/ignore-port-4190,4191",
//! );
//! # Ok::<(), meshkit_init::ports::InvalidPorts>(())
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`rules`] | which connections go where; as commands of iptables and as a ruleset of nftables |
//! | [`apply`] | runs these |
//! | [`cni`] | does so from the node, for pods that may not |
//! | [`validate`] | proves that connections are redirected |
//! | [`program`] | command lines and exit codes |
//!
//! # Place in the workspace
//!
//! A program without a `main`: `mesh` holds it as subcommands, and as the programs that it is when called by their names.

pub mod apply;
pub mod cni;
pub mod ports;
pub mod program;
pub mod rules;
pub mod validate;

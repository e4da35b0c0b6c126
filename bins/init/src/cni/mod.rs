//! The CNI plugin: makes the rules of a pod from its node, so that the pod needs no privileges for them.
//!
//! | module | what it does |
//! |---|---|
//! | [`plugin`] | answers the container runtime: ADD, DEL, CHECK, VERSION |
//! | [`conf`] | what the plugin is told |
//! | [`workload`] | which pods get which rules, as a pure function |
//! | [`api`] | asks the API server for the pod |
//! | [`list`] | adds the plugin to a configuration of the node and takes it out, as pure functions |
//! | [`install`] | keeps the plugin installed on a node |
//! | [`kubeconfig`] | how the plugin on the node reaches the API server |
//! | [`repair`] | which pods started without their rules, as a pure function, and what deletes them |

pub mod api;
pub mod conf;
pub mod install;
pub mod kubeconfig;
pub mod list;
pub mod plugin;
pub mod repair;
pub mod workload;

/// Name of the plugin, of its program on the node and of its type in configurations.
pub const NAME: &str = "linkerd-cni";

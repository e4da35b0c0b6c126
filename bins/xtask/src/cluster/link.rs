//! `cargo xtask cluster link`: the wires of two clusters joined, so that each reaches the other's pods.

use super::{cluster::Cluster, plan::Plan};

/// Joins two clusters, until either ends.
pub(crate) fn run(one: &Cluster, other: &Cluster) -> Result<(), String> {
    if one.plan.name == other.plan.name {
        return Err("a cluster is linked to another, not to itself".into());
    }
    let wire = |cluster: &Cluster| cluster.wire().ok_or_else(|| format!("cluster {} does not run", cluster.plan.name));
    let (near, far) = (wire(one)?, wire(other)?);
    let (plug, socket) = (plug(&other.plan), plug(&one.plan));
    if !near.on_network(10, "ip").args(["link", "show", "dev", &plug]).succeeds() {
        let join = format!("link add {plug} type veth peer name {socket} netns {}\nlink set {plug} master wire up\n", far.id());
        near.on_network(20, "ip").args(["-batch", "-"]).feed(&join)?;
        far.on_network(20, "ip").args(["-batch", "-"]).feed(&format!("link set {socket} master wire up\n"))?;
    }
    // Also a second time: a node that was ended has forgotten its routes.
    for (from, to) in [(one, other), (other, one)] {
        for node in from.plan.nodes() {
            from.running(node)?.on_network(20, "ip").args(["-batch", "-"]).feed(&routes(&to.plan))?;
        }
    }
    Ok(())
}

/// The plug that leads to a cluster.
fn plug(to: &Plan) -> String {
    format!("to-mesh{}", to.number)
}

/// In a node of the other cluster: nodes and their pods. The services of a cluster are known to its own nodes only.
fn routes(to: &Plan) -> String {
    let mut text = String::new();
    for node in to.nodes() {
        text += &format!("route replace {}/32 dev eth0\n", to.node_address(node));
    }
    for node in to.nodes() {
        text += &format!("route replace {} via {}\n", to.pod_range(node), to.node_address(node));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_known_before_the_pods_behind_it() {
        let plan = Plan { name: "west".into(), number: 2, nodes: 2 };
        let expected = "\
route replace 10.122.0.1/32 dev eth0
route replace 10.122.0.2/32 dev eth0
route replace 10.82.0.0/24 via 10.122.0.1
route replace 10.82.1.0/24 via 10.122.0.2
";
        assert_eq!(routes(&plan), expected);
    }
}

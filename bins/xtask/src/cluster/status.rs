//! `cargo xtask cluster status`.

use super::{cluster::Cluster, components, image::quote, state::Home};

/// One cluster as it stands.
#[derive(Debug)]
struct Status {
    name: String,
    ready: bool,
    kubeconfig: String,
    logs: String,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    name: String,
    zone: String,
    address: String,
    pods: String,
    /// The host's id of the first process of its namespaces.
    machine: Option<u32>,
    /// With their ids inside.
    processes: Vec<(&'static str, Option<u32>)>,
}

/// For people.
pub(crate) fn text(home: &Home) -> String {
    let clusters = look(home);
    if clusters.is_empty() {
        return "no cluster: `cargo xtask cluster up` makes one\n".into();
    }
    clusters
        .iter()
        .map(|status| for_people(status) + &format!("  export KUBECONFIG={} PATH={}:$PATH\n", status.kubeconfig, home.bin().display()))
        .collect()
}

/// For programs.
pub(crate) fn json(home: &Home) -> String {
    let clusters: Vec<_> = look(home).iter().map(for_programs).collect();
    format!(
        "{{\"bin\":{},\"gatewayApi\":{},\"clusters\":[{}]}}\n",
        quote(&home.bin().display().to_string()),
        quote(&home.gateway_api().display().to_string()),
        clusters.join(",")
    )
}

fn look(home: &Home) -> Vec<Status> {
    home.clusters().into_iter().map(|plan| of(&Cluster::new(home, plan))).collect()
}

fn of(cluster: &Cluster) -> Status {
    let plan = &cluster.plan;
    let nodes = plan.nodes().map(|node| Node {
        name: plan.node(node),
        zone: plan.zone(node),
        address: plan.node_address(node),
        pods: plan.pod_range(node),
        machine: cluster.machine(node).map(|machine| machine.id()),
        processes: components::ALL
            .iter()
            .filter(|component| component.runs_on(node))
            .map(|component| (component.name(), cluster.process(node, *component)))
            .collect(),
    });
    Status {
        name: plan.name.clone(),
        ready: cluster.answers(),
        kubeconfig: cluster.folder.kubeconfig().display().to_string(),
        logs: cluster.folder.part("logs").display().to_string(),
        nodes: nodes.collect(),
    }
}

fn for_people(status: &Status) -> String {
    let answers = if status.ready { "its API server is ready" } else { "its API server does not answer" };
    let mut text = format!("cluster {}: {answers}; logs in {}\n", status.name, status.logs);
    for node in &status.nodes {
        let processes = node.processes.iter().map(|(name, id)| match id {
            Some(_) => (*name).to_owned(),
            None => format!("({name} does not run)"),
        });
        let processes = match node.machine {
            Some(machine) => format!("process {machine}: {}", processes.collect::<Vec<_>>().join(" ")),
            None => "ended".into(),
        };
        text += &format!("  {} {} {} pods {}  {processes}\n", node.name, node.zone, node.address, node.pods);
    }
    text
}

fn for_programs(status: &Status) -> String {
    let number = |id: Option<u32>| id.map_or_else(|| "null".to_owned(), |id| id.to_string());
    let nodes: Vec<_> = status
        .nodes
        .iter()
        .map(|node| {
            let processes: Vec<_> = node.processes.iter().map(|(name, id)| format!("{}:{}", quote(name), number(*id))).collect();
            format!(
                "{{\"name\":{},\"zone\":{},\"address\":{},\"podRange\":{},\"process\":{},\"processes\":{{{}}}}}",
                quote(&node.name),
                quote(&node.zone),
                quote(&node.address),
                quote(&node.pods),
                number(node.machine),
                processes.join(",")
            )
        })
        .collect();
    format!(
        "{{\"name\":{},\"ready\":{},\"kubeconfig\":{},\"logs\":{},\"nodes\":[{}]}}",
        quote(&status.name),
        status.ready,
        quote(&status.kubeconfig),
        quote(&status.logs),
        nodes.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let node = Node {
            name: "mesh-0".into(),
            zone: "zone-a".into(),
            address: "10.120.0.1".into(),
            pods: "10.80.0.0/24".into(),
            machine: Some(42),
            processes: vec![("etcd", Some(7)), ("kubelet", None)],
        };
        Status { name: "mesh".into(), ready: true, kubeconfig: "/k".into(), logs: "/l".into(), nodes: vec![node] }
    }

    #[test]
    fn people_are_told_what_runs_and_what_does_not() {
        let expected = "\
cluster mesh: its API server is ready; logs in /l
  mesh-0 zone-a 10.120.0.1 pods 10.80.0.0/24  process 42: etcd (kubelet does not run)
";
        assert_eq!(for_people(&status()), expected);
    }

    #[test]
    fn programs_are_told_the_same() {
        let expected = concat!(
            r#"{"name":"mesh","ready":true,"kubeconfig":"/k","logs":"/l","nodes":[{"name":"mesh-0","zone":"zone-a","address":"10.120.0.1","#,
            r#""podRange":"10.80.0.0/24","process":42,"processes":{"etcd":7,"kubelet":null}}]}"#
        );
        assert_eq!(for_programs(&status()), expected);
    }
}

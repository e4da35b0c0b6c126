//! Workloads that are their own proxies: the same mesh, one process less for each.

use std::time::Duration;

use meshkit_e2e::{Demo, eventually, example};

const SOON: Duration = Duration::from_secs(10);

/// The manifests of the example, with its program where this build put it.
fn manifests() -> [(&'static str, String); 1] {
    let program = example("embedded");
    let text = include_str!("../../../examples/embedded/mesh.yaml");
    [("mesh.yaml", text.replace("target/debug/examples/embedded", &program.display().to_string()).replace("\"18081\"", "\"18080\""))]
}

#[test]
fn they_call_each_other_with_mutual_tls_balance_and_obey_the_policy() {
    let mesh = Demo::of(manifests(), "/");
    assert!(mesh.processes(&["proxy"]).is_empty());
    let both = eventually(SOON, || {
        let bodies: Vec<_> = (0..10).map(|_| mesh.body("/")).collect();
        let from = |replica: &str| bodies.iter().any(|body| body == &format!("front-0: 200 OK hello from {replica}\n"));
        (from("greeter-0") && from("greeter-1")).then_some(())
    });
    assert!(both.is_some(), "one replica gets everything: {}", mesh.stat());
    let stat = mesh.stat();
    let edge = &stat["edges"][0];
    assert_eq!((edge["src"].as_str(), edge["dst"].as_str(), edge["tls"].as_bool()), (Some("front"), Some("greeter"), Some(true)), "{stat}");

    // The policy allows one account, and an edit is in force at once.
    let before = mesh.edit("mesh.yaml", "{kind: ServiceAccount, name: front}", "{kind: ServiceAccount, name: somebody}");
    assert!(eventually(SOON, || mesh.body("/").contains("403 Forbidden").then_some(())).is_some(), "{}", mesh.body("/"));
    mesh.write("mesh.yaml", &before);
    assert!(eventually(SOON, || mesh.body("/").contains("200 OK hello").then_some(())).is_some(), "{}", mesh.body("/"));
}

#[test]
fn a_workload_with_a_proxy_beside_it_calls_one_without() {
    let greeting = manifests().into_iter().map(|(_, text)| ("greetings.yaml", text.replace("\"18080\"", "\"0\"")));
    let demo = Demo::of(meshkit_demo::manifests("mesh").into_iter().chain(greeting), "/api/list");
    // The vote-bot asks the greeters instead of the web application, and is not the account that they allow: it has none of its own.
    let _ = demo.edit("13-vote-bot.yaml", "value: \"web-svc.emojivoto:80\"", "value: \"greeter.greetings:80\"");
    let denied = eventually(Duration::from_secs(30), || {
        let stat = demo.stat();
        let rows = stat["denied"].as_array()?.iter();
        rows.clone()
            .any(|row| row["server"] == "greeter" && row["client"].as_str().is_some_and(|id| id.starts_with("default.emojivoto.")))
            .then_some(())
    });
    assert!(denied.is_some(), "{}", demo.stat());
}

use std::collections::BTreeSet;

use meshkit_e2e::installed::{Installed, sum};

/// Who calls whom in the application, and may.
const EDGES: [(&str, &str); 3] = [("vote-bot", "web"), ("web", "emoji"), ("web", "voting")];

/// The steps up to `mesh check` are those of the installation that all tests here share.
#[test]
fn the_tutorial_ends_with_mutual_tls_on_every_edge() {
    let Some(mesh) = Installed::shared() else { return };
    mesh.sh("mesh demo --manifests | mesh uninject - | kubectl apply -f -");
    let rolled_out = || mesh.sh("kubectl -n emojivoto get deploy -o name | xargs -n1 kubectl -n emojivoto rollout status --timeout=180s");
    rolled_out();
    assert_eq!(proxies(mesh), BTreeSet::new(), "it is not meshed yet");
    mesh.wait("the application works without a mesh", || {
        mesh.sh("kubectl -n emojivoto logs deploy/vote-bot").contains("voted so far").then_some(())
    });

    mesh.sh("kubectl get -n emojivoto deploy -o yaml | mesh inject - | kubectl apply -f -");
    rolled_out();
    let checked = mesh.sh("mesh -n emojivoto check --proxy");
    assert!(checked.ends_with("Status check results are √\n"), "{checked}");
    let pods = mesh.wait("the pods without a proxy are gone", || {
        let pods = mesh.pods("emojivoto", "");
        (proxies(mesh).len() == pods.len()).then_some(pods)
    });

    // From here on nothing goes in plaintext, whatever went while the pods were replaced.
    let plain = |scrape: &str, direction: &str| {
        let all = sum(scrape, "request_total", &[direction]);
        (all, sum(scrape, "request_total", &[direction, r#"tls="true""#]))
    };
    let scrapes = || pods.iter().map(|pod| (pod.clone(), mesh.scrape("emojivoto", pod))).collect::<Vec<_>>();
    let before = scrapes();
    let all = |scrapes: &[(String, String)]| scrapes.iter().map(|(_, scrape)| sum(scrape, "request_total", &[])).sum::<f64>();
    let after = mesh.wait("five hundred requests more", || Some(scrapes()).filter(|after| all(after) > all(&before) + 500.0));
    for ((pod, before), (_, after)) in before.iter().zip(&after) {
        for direction in [r#"direction="inbound""#, r#"direction="outbound""#] {
            let (then, now) = (plain(before, direction), plain(after, direction));
            assert_eq!(now.0 - then.0, now.1 - then.1, "{pod} {direction}: some of {} requests went in plaintext", now.0 - then.0);
        }
    }
    for (from, to) in EDGES {
        let (client, server) = (account(from), account(to));
        let seen = |workload: &str, direction: &str, peer: &str| -> f64 {
            let of = after.iter().filter(|(pod, _)| pod.starts_with(&format!("{workload}-")));
            of.map(|(_, scrape)| sum(scrape, "request_total", &[direction, r#"tls="true""#, peer])).sum()
        };
        assert!(seen(from, r#"direction="outbound""#, &format!(r#"server_id="{server}""#)) > 0.0, "{from} knows {to} by its certificate");
        let workloads = if to == "voting" { ["voting", "voting-v2"] } else { [to, to] };
        let heard: f64 = workloads.iter().map(|to| seen(to, r#"direction="inbound""#, &format!(r#"client_id="{client}""#))).sum();
        assert!(heard > 0.0, "{to} knows {from} by its certificate");
    }
    let denied: f64 = after.iter().map(|(_, scrape)| sum(scrape, "inbound_http_authz_deny_total", &["client_id=\"intruder."])).sum();
    assert!(denied > 0.0, "the intruder is known, and refused");
}

fn account(workload: &str) -> String {
    let account = if workload == "vote-bot" { "default" } else { workload };
    format!("{account}.emojivoto.serviceaccount.identity.linkerd.cluster.local")
}

/// Pods of the application with a proxy.
fn proxies(mesh: &Installed) -> BTreeSet<String> {
    mesh.pods("emojivoto", "linkerd.io/control-plane-ns=linkerd").into_iter().collect()
}

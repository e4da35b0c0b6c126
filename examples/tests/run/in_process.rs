//! The mesh within one process, looked at as a person would.

use std::time::Duration;

use meshkit_cli::stat::{self, summary::Summary};
use tokio::time::{sleep, timeout};

use crate::program::{Program, run};

const WEB: &str = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local";
const BOT: &str = "bot.emojivoto.serviceaccount.identity.linkerd.cluster.local";

/// Asks until both clients have been seen.
async fn seen(state: &std::path::Path) -> Summary {
    let found = async {
        loop {
            match stat::of_run(state).await {
                Ok(summary) if summary.edges.len() == 2 && !summary.denied.is_empty() => return summary,
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(Duration::from_secs(60), found).await.unwrap()
}

#[tokio::test]
async fn mesh_stat_shows_mutual_tls_latency_and_the_refused_client() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start("in_process", &[dir.path().to_str().unwrap()]);
    program.line("bot asks:  403").await;
    let summary = seen(&dir.path().join(meshkit_cli::STATE_DIR)).await;

    let edge = |src: &str| summary.edges.iter().find(|edge| edge.src == src && edge.dst == "voting").unwrap();
    assert!(edge("web").tls && edge("web").success_rate == Some(1.0) && edge("web").p50_ms > 0.0, "{summary}");
    assert!(edge("bot").tls, "{summary}");
    let denied: Vec<_> = summary.denied.iter().map(|denied| (denied.server.as_str(), denied.client.as_str())).collect();
    assert_eq!(denied, [("voting-http", BOT)]);
    assert!(summary.certificates.iter().any(|certificate| certificate.identity == WEB && certificate.expires > 0));

    let ended = program.interrupt().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("drained"), "{}", ended.stdout);
    assert!(stat::of_run(&dir.path().join(meshkit_cli::STATE_DIR)).await.is_err(), "nothing is found when it has ended");
}

#[tokio::test]
async fn it_ends_by_itself_where_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let ended = run("in_process", &["--once", dir.path().to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("web asks:  200, voting-"), "{}", ended.stdout);
    let taken = |replica: &str| -> u32 {
        let rest = ended.stdout.split(&format!("\"{replica}\": ")).nth(1).unwrap();
        rest.split([',', '}']).next().unwrap().parse().unwrap()
    };
    assert!(taken("voting-1") > 20 && taken("voting-2") > 20 && taken("voting-1") + taken("voting-2") == 200, "{}", ended.stdout);
    assert_eq!(ended.stderr, "");
}

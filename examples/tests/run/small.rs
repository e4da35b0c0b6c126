//! The examples of one crate each: they end by themselves, and say the same each time.

use crate::program::run;

async fn says(example: &str, parts: &[&str]) {
    let ended = run(example, &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for part in parts {
        assert!(ended.stdout.contains(part), "{part:?} is missing in:\n{}", ended.stdout);
    }
}

#[tokio::test]
async fn core_tells_outcomes_apart_and_waits_for_requests_in_flight() {
    says("core", &["HTTP 404            Success", "gRPC UNAVAILABLE    Failure", "3 requests in flight, 3 served before the end"]).await;
}

#[tokio::test]
async fn balance_avoids_the_broken_replica_and_follows_discovery() {
    says("balance", &["ejected: 1", "replica 4 took"]).await;
    let stdout = run("balance", &[]).await.stdout;
    let share = |replica: &str| -> usize {
        let text = stdout.lines().next().unwrap().split(&format!("{replica} took ")).nth(1).unwrap_or("0%");
        text.split('%').next().unwrap().trim().parse().unwrap()
    };
    // A share, not a time: the slow replica is asked for its speed now and then, and no more.
    assert!(share("replica 3") < 15 && share("replica 1") > 15, "{stdout}");
}

#[tokio::test]
async fn tls_keeps_open_connections_and_refuses_strangers() {
    says("tls", &[r#"voting sees Some("web.emojivoto")"#, r#"voting reads "a vote""#]).await;
    let stdout = run("tls", &[]).await.stdout;
    assert_eq!(stdout.matches("refused: ").count(), 2, "{stdout}");
    assert!(stdout.contains("expected emoji.emojivoto, the server presents voting.emojivoto"), "{stdout}");
    assert!(stdout.contains("no trust anchor vouches for the server's certificate"), "{stdout}");
}

#[tokio::test]
async fn policy_says_who_may_call_and_why_others_may_not() {
    let parts = [
        "the connection is not mutual TLS",
        "the bot votes:         403",
        "once it is allowed to: 200",
        "web, two a second:     [200, 200, 429, 429]",
    ];
    says("policy", &parts).await;
}

#[tokio::test]
async fn retry_stops_at_its_budget() {
    says(
        "retry",
        &["without a budget    0 of 200 succeed, at the price of  800 tries", "with a budget       0 of 200 succeed, at the price of  240"],
    )
    .await;
}

#[tokio::test]
async fn fault_troubles_only_whom_it_means() {
    says("fault", &["web: 100 of 100 succeed", "web:   0 of 100 succeed", "injected failure: UNAVAILABLE"]).await;
    let stdout = run("fault", &[]).await.stdout;
    let bot = stdout.lines().find(|line| line.starts_with("bot:")).unwrap();
    assert!(bot.contains("injected failure: 503") && !bot.contains("100 of 100"), "{bot}");
}

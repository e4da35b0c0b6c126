//! The whole application over real sockets, called by curl.

mod common;

use std::time::Duration;

use common::{Running, address, curl, eventually, get, start};
use meshkit_demo::Component;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::sleep,
};

/// web, emoji and voting, and the URL of web.
struct Application {
    url: String,
    emoji: Running,
    voting: Running,
    web: Running,
    voting_ip: String,
    voting_host: String,
    web_host: String,
}

async fn application(test: u8, emoji_env: &[(&str, &str)], voting_env: &[(&str, &str)]) -> Application {
    let [emoji_ip, voting_ip, web_ip] = [1, 2, 3].map(|component| address(test, component));
    let (emoji_host, voting_host) = (format!("{emoji_ip}:8080"), format!("{voting_ip}:8080"));
    let server = |ip: &str, more: &[(&str, &str)]| -> Vec<(String, String)> {
        let base = [("POD_IP", ip), ("GRPC_PORT", "8080"), ("PROM_PORT", "8801")];
        base.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let run = |component, env: Vec<(String, String)>| {
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        start(component, &env)
    };
    let emoji = run(Component::Emoji, server(&emoji_ip, emoji_env));
    let voting = run(Component::Voting, server(&voting_ip, voting_env));
    let web_env = [("POD_IP", web_ip.as_str()), ("WEB_PORT", "8080"), ("EMOJISVC_HOST", &emoji_host), ("VOTINGSVC_HOST", &voting_host)];
    let web = start(Component::Web, &web_env);
    let web_host = format!("{web_ip}:8080");
    let url = format!("http://{web_host}");
    eventually(&format!("{url}/api/leaderboard"), |got| got.status == 200).await;
    eventually(&format!("http://{emoji_ip}:8801/metrics"), |got| got.status == 200).await;
    Application { url, emoji, voting, web, voting_ip, voting_host, web_host }
}

#[tokio::test]
async fn a_person_lists_votes_and_sees_the_leaderboard() {
    let app = application(0, &[], &[("VERSION", "v2")]).await;
    let url = &app.url;

    let page = get(url).await;
    assert_eq!(page.status, 200);
    assert!(page.headers.contains("content-type: text/html"), "{}", page.headers);
    assert!(page.body.contains("<h1>Emoji Vote</h1>"));
    for path in ["/leaderboard", "/js", "/dist/index_bundle.js", "/dist/index.css", "/img/favicon.ico"] {
        assert_eq!(get(&format!("{url}{path}")).await.status, 200, "{path}");
    }

    let list = get(&format!("{url}/api/list")).await;
    let list: Vec<Value> = serde_json::from_str(&list.body).unwrap();
    assert_eq!(list.len(), 100);
    assert!(list.contains(&serde_json::json!({ "shortcode": ":doughnut:", "unicode": "🍩" })));

    for shortcode in [":joy:", ":100:", ":joy:", "%3Apoint_up_2%3A"] {
        let vote = get(&format!("{url}/api/vote?choice={shortcode}")).await;
        assert_eq!(vote.status, 200, "{shortcode}: {}", vote.body);
        assert!(vote.headers.contains("x-voting-version: v2"), "{}", vote.headers);
    }
    let board: Value = serde_json::from_str(&get(&format!("{url}/api/leaderboard")).await.body).unwrap();
    assert_eq!(
        board,
        serde_json::json!([
            { "shortcode": ":joy:", "unicode": "😂", "votes": 2 },
            { "shortcode": ":100:", "unicode": "💯", "votes": 1 },
            { "shortcode": ":point_up_2:", "unicode": "👆", "votes": 1 },
        ])
    );
    assert_eq!(get(&format!("{url}/api/split")).await.body, r#"{"v2":4}"#);

    let metrics = get(&format!("http://{}:8801/metrics", app.voting_ip)).await.body;
    assert!(metrics.contains("# TYPE emojivoto_votes_total counter\n"), "{metrics}");
    assert!(metrics.contains("emojivoto_votes_total{emoji=\":joy:\"} 2\n"), "{metrics}");
}

#[tokio::test]
async fn the_doughnut_fails_and_does_not_count() {
    let app = application(1, &[], &[]).await;
    let vote = get(&format!("{}/api/vote?choice=:doughnut:", app.url)).await;
    assert_eq!(vote.status, 500);
    assert!(vote.body.contains("Unknown (2)"), "{}", vote.body);
    assert!(vote.headers.contains("x-voting-version: v1"), "{}", vote.headers);
    assert_eq!(get(&format!("{}/api/leaderboard", app.url)).await.body, "[]");
}

#[tokio::test]
async fn the_failing_rpc_says_unknown_to_a_foreign_client() {
    let app = application(2, &[], &[]).await;
    // An empty message: no compression, length 0.
    let frame = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(frame.path(), [0; 5]).unwrap();
    let body = format!("@{}", frame.path().display());
    let call = async |rpc: &str| {
        let url = format!("http://{}/emojivoto.v1.VotingService/{rpc}", app.voting_host);
        let headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"];
        let args = ["--http2-prior-knowledge", "--include", "--data-binary", &body, "-o", "-", &url];
        let output = curl(&[&headers[..], &args[..]].concat()).await;
        String::from_utf8_lossy(&output.stdout).to_ascii_lowercase()
    };
    let doughnut = call("VoteDoughnut").await;
    assert!(doughnut.contains("grpc-status: 2"), "{doughnut}");
    assert!(doughnut.contains("x-voting-version: v1"), "{doughnut}");
    let joy = call("VoteJoy").await;
    assert!(joy.contains("grpc-status: 0"), "{joy}");
    let stranger = call("VoteNobody").await;
    assert!(stranger.contains("grpc-status: 12"), "{stranger}");
}

#[tokio::test]
async fn a_wrong_request_is_the_callers_fault() {
    let app = application(3, &[], &[]).await;
    for (path, status) in
        [("/api/vote", 400), ("/api/vote?choice=", 400), ("/api/vote?choice=:nobody:", 400), ("/api/vote?choice=%zz", 400), ("/no", 404)]
    {
        assert_eq!(get(&format!("{}{path}", app.url)).await.status, status, "{path}");
    }
    let post = curl(&["--request", "POST", "--write-out", "%{http_code}", "--output", "/dev/null", &app.url]).await;
    assert_eq!(post.stdout, b"405");
}

#[tokio::test]
async fn emoji_that_always_fails_shows_as_unavailable() {
    let app = application(4, &[("FAILURE_RATE", "1")], &[]).await;
    let list = get(&format!("{}/api/list", app.url)).await;
    assert_eq!(list.status, 500);
    assert!(list.body.contains("Unavailable (14)"), "{}", list.body);
    assert_eq!(get(&format!("{}/api/vote?choice=:joy:", app.url)).await.status, 200, "only lists fail");
}

#[tokio::test]
async fn web_comes_back_when_voting_does() {
    let app = application(5, &[], &[]).await;
    let vote = format!("{}/api/vote?choice=:joy:", app.url);
    assert_eq!(get(&vote).await.status, 200);
    app.voting.stop().await.unwrap().unwrap();
    let gone = get(&vote).await;
    assert_eq!(gone.status, 500);
    assert!(gone.body.contains("voting failed"), "{}", gone.body);
    let ip = app.voting_ip.as_str();
    let _voting = start(Component::Voting, &[("POD_IP", ip), ("GRPC_PORT", "8080"), ("VERSION", "v2")]);
    let back = eventually(&vote, |got| got.status == 200).await;
    assert!(back.headers.contains("x-voting-version: v2"));
}

#[tokio::test]
async fn the_bot_votes_until_its_time_is_over() {
    let app = application(6, &[], &[]).await;
    let bot = start(Component::VoteBot, &[("WEB_HOST", &app.web_host), ("REQUEST_RATE", "200"), ("TTL", "1500ms")]);
    eventually(&format!("{}/api/leaderboard", app.url), |got| got.body.matches("votes").count() > 5).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), bot.ended()).await;
    ended.expect("the time to live is over").unwrap().unwrap();
}

#[tokio::test]
async fn the_bot_waits_for_a_web_that_is_not_there_yet() {
    let ip = address(7, 9);
    let bot = start(Component::VoteBot, &[("WEB_HOST", &format!("{ip}:8080")), ("REQUEST_RATE", "50")]);
    sleep(Duration::from_millis(200)).await;
    let app = application(7, &[], &[]).await;
    // A second web, where the bot looks for it, on the same emoji and voting.
    let emoji_host = format!("{}:8080", address(7, 1));
    let env = [("POD_IP", ip.as_str()), ("WEB_PORT", "8080"), ("EMOJISVC_HOST", &emoji_host), ("VOTINGSVC_HOST", &app.voting_host)];
    let _web = start(Component::Web, &env);
    eventually(&format!("{}/api/leaderboard", app.url), |got| got.body.contains("votes")).await;
    bot.stop().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_takes_nothing_new() {
    let app = application(8, &[], &[("ARTIFICIAL_DELAY", "1s")]).await;
    let vote = format!("{}/api/vote?choice=:joy:", app.url);
    let in_flight = tokio::spawn(async move { get(&vote).await });
    sleep(Duration::from_millis(400)).await;
    let (web, voting) = (app.web.stop(), app.voting.stop());
    sleep(Duration::from_millis(100)).await;
    assert_eq!(get(&app.url).await.status, 0, "a connection after the stop");
    assert_eq!(in_flight.await.unwrap().status, 200);
    for drained in [web, voting, app.emoji.stop()] {
        tokio::time::timeout(Duration::from_secs(5), drained).await.expect("the drain ends").unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_intruder_starts_without_voting_and_stops_when_told() {
    let intruder = start(Component::Intruder, &[("VOTINGSVC_HOST", &format!("{}:8080", address(9, 1)))]);
    sleep(Duration::from_millis(300)).await;
    tokio::time::timeout(Duration::from_secs(5), intruder.stop()).await.expect("it stops").unwrap().unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let ip = address(10, 1);
    let _taken = tokio::net::TcpListener::bind(format!("{ip}:8080")).await.unwrap();
    let voting = start(Component::Voting, &[("POD_IP", &ip), ("GRPC_PORT", "8080")]);
    let error = voting.ended().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {ip}:8080 (POD_IP and GRPC_PORT)"));
    assert!(!error.is_usage());
}

#[tokio::test]
async fn the_bot_keeps_its_connection_and_names_the_host_as_given() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("localhost:{}", listener.local_addr().unwrap().port());
    let bot = start(Component::VoteBot, &[("WEB_HOST", &host), ("REQUEST_RATE", "100")]);
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut paths = Vec::new();
    while paths.len() < 4 {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap().to_ascii_lowercase();
        assert!(request.contains(&format!("\r\nhost: {host}\r\n")), "{request}");
        paths.push(request.split(' ').nth(1).unwrap().to_owned());
        let body = r#"[{"shortcode":":doughnut:"}]"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    assert_eq!(paths, ["/api/list", "/api/vote?choice=:doughnut:", "/api/list", "/api/vote?choice=:doughnut:"]);
    bot.stop().await.unwrap().unwrap();
}

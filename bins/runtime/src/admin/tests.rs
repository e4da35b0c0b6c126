use std::process::Command;

use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinHandle};

use super::*;
use crate::{logs, shutdown};

struct Running {
    url: String,
    // Aborts the server when the test is over.
    server: JoinHandle<Infallible>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn start(admin: Admin) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    Running { url, server: tokio::spawn(admin.serve(listener)) }
}

fn admin() -> Admin {
    Admin::new(Readiness::new(), Registry::new(Duration::from_secs(1)))
}

impl Running {
    /// Status, headers and body, as curl has them.
    async fn curl(&self, args: &[&str], path: &str) -> (u16, String, String) {
        let (url, args) = (format!("{}{path}", self.url), args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        let curl = move || Command::new("curl").args(["-sS", "-i", "--max-time", "10"]).args(args).arg(url).output();
        let output = tokio::task::spawn_blocking(curl).await.unwrap().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{:?}", output.stderr));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    async fn status_and_body(&self, args: &[&str], path: &str) -> (u16, String) {
        let (status, _, body) = self.curl(args, path).await;
        (status, body)
    }
}

fn ok(body: &str) -> (u16, String) {
    (200, body.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_waits_for_every_latch_and_liveness_for_none() {
    let readiness = Readiness::new();
    let latches = [readiness.latch(), readiness.latch()];
    let server = start(Admin::new(readiness.clone(), Registry::new(Duration::ZERO))).await;
    assert_eq!(server.status_and_body(&[], "/live").await, ok("live\n"));
    for latch in latches {
        assert_eq!(server.status_and_body(&[], "/ready").await, (503, "not ready\n".to_owned()));
        latch.release();
    }
    readiness.ready().await;
    assert_eq!(server.status_and_body(&["-XPOST"], "/ready").await, ok("ready\n"));
    assert_eq!(server.status_and_body(&[], "/other").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scrape_is_plain_text_and_compressed_on_request() {
    let registry = Registry::new(Duration::ZERO);
    let _held = registry.open().counter("x", "help");
    let server = start(Admin::new(Readiness::new(), registry)).await;
    let (status, head, body) = server.curl(&[], "/metrics").await;
    assert_eq!((status, body.as_str()), (200, "# HELP x help\n# TYPE x counter\nx_total 0\n# EOF\n"));
    assert!(head.contains("content-type: text/plain\r\n") && !head.contains("content-encoding"), "{head}");
    let (_, head, body) = server.curl(&["--compressed"], "/metrics").await;
    assert!(head.contains("content-encoding: gzip") && body.ends_with("# EOF\n"), "{head} {body}");
    let over_http2 = server.curl(&["--http2-prior-knowledge"], "/metrics").await;
    assert_eq!((over_http2.0, over_http2.2.ends_with("# EOF\n")), (200, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_level_can_be_read_and_replaced() {
    let (_dispatch, level) = logs::subscriber("warn", logs::Format::Plain, std::io::sink).unwrap();
    let server = start(admin().logs(Some(level.clone()))).await;
    let path = "/proxy-log-level";
    assert_eq!(server.status_and_body(&[], path).await, ok("warn"));
    assert_eq!(server.status_and_body(&["-XPUT", "-d", "linkerd=debug,warn"], path).await, (204, String::new()));
    assert_eq!(level.current(), "linkerd=debug,warn");
    let (status, reason) = server.status_and_body(&["-XPUT", "-d", "a=b=c"], path).await;
    assert!(status == 400 && reason.contains("invalid"), "{status} {reason}");
    let (status, head, _) = server.curl(&["-XDELETE"], path).await;
    assert!(status == 405 && head.contains("allow: get, put"), "{head}");
    assert_eq!(start(admin()).await.status_and_body(&[], path).await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_is_for_posts_where_it_is_enabled() {
    let disabled = start(admin()).await;
    let (trigger, mut requested) = shutdown::listen().unwrap();
    let enabled = start(admin().shutdown(Some(trigger))).await;
    let disabled = disabled.status_and_body(&["-XPOST"], "/shutdown").await;
    assert_eq!(disabled, (404, "shutdown endpoint is not enabled\n".to_owned()));
    assert_eq!(enabled.status_and_body(&[], "/shutdown").await.0, 405);
    assert_eq!(enabled.status_and_body(&["-XPOST"], "/shutdown").await, ok("shutdown\n"));
    assert_eq!(requested.received().await, shutdown::Reason::Request);
    drop(requested);
    let dropped = enabled.status_and_body(&["-XPOST"], "/shutdown").await;
    assert_eq!(dropped, (500, "shutdown listener dropped\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_is_told_without_strangers_secrets() {
    let vars = [("LINKERD2_PROXY_LOG", "warn"), ("MESH_PROXY_OUTBOUND_BIND", "127.0.0.2"), ("AWS_SECRET", "s")];
    let server = start(admin().environment(vars.map(|(name, value)| (name.to_owned(), value.to_owned())))).await;
    let path = "/env.json";
    assert_eq!(server.status_and_body(&[], path).await, ok(r#"{"LINKERD2_PROXY_LOG":"warn","MESH_PROXY_OUTBOUND_BIND":"127.0.0.2"}"#));
    let some = server.status_and_body(&[], "/env.json?LINKERD2_PROXY_LOG&AWS_SECRET").await;
    assert_eq!(some, ok(r#"{"AWS_SECRET":null,"LINKERD2_PROXY_LOG":"warn"}"#));
    assert_eq!(server.status_and_body(&[], "/env.json?a=b").await.0, 400);
    assert_eq!(server.status_and_body(&["-H", "accept: text/html"], path).await.0, 406);
    assert_eq!(server.status_and_body(&["-H", "accept: text/html, application/*;q=0.1"], path).await.0, 200);
    assert_eq!(server.status_and_body(&["-XPOST"], path).await.0, 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_has_routes_of_its_own() {
    let echo = |request: Request<Bytes>| async move { answer::text(http::StatusCode::OK, request.into_body()) };
    let server = start(admin().route("/echo", Access::Local, echo)).await;
    assert_eq!(server.status_and_body(&["-d", "hello"], "/echo").await, ok("hello"));
    let large = "x".repeat(BODY_MAX + 1);
    assert_eq!(server.status_and_body(&["-H", "expect:", "-d", &large], "/echo").await.0, 413);
    let long = format!("x: {}", "y".repeat(HEADER_MAX as usize));
    assert_eq!(server.status_and_body(&["-H", &long], "/echo").await.0, 431);
}

#[tokio::test]
async fn what_is_for_this_machine_is_refused_to_others() {
    let (_dispatch, level) = logs::subscriber("warn", logs::Format::Plain, std::io::sink).unwrap();
    let echo = |request: Request<Bytes>| async move { answer::text(http::StatusCode::OK, request.into_body()) };
    let admin = admin().logs(Some(level)).route("/echo", Access::Local, echo);
    for (client, method, path, status) in [
        ("10.0.0.1:1", "GET", "/proxy-log-level", 403),
        ("127.0.0.2:1", "GET", "/proxy-log-level", 403),
        ("[::ffff:127.0.0.1]:1", "GET", "/proxy-log-level", 200),
        ("[::1]:1", "GET", "/proxy-log-level", 200),
        ("10.0.0.1:1", "POST", "/shutdown", 403),
        ("10.0.0.1:1", "GET", "/echo", 403),
        ("10.0.0.1:1", "GET", "/env.json", 200),
        ("10.0.0.1:1", "GET", "/metrics", 200),
    ] {
        let mut request = Request::builder().method(method).uri(path).body(Bytes::new()).unwrap();
        request.extensions_mut().insert(Client(client.parse().unwrap()));
        let reply = admin.reply(request).await;
        assert_eq!(reply.status(), status, "{client} {method} {path}");
        if status == 403 && path != "/echo" {
            let body = reply.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(&body[..], b"Requests are only permitted from localhost.");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_finishes_its_request_is_cut_off() {
    for sent in ["", "P", "GET /live HTTP/1.1\r\nhost: a-host-with-a-name\r\n"] {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(sent.as_bytes()).await.unwrap();
        let start = tokio::time::Instant::now();
        let served = admin().serve_connection(server, "127.0.0.1:1".parse().unwrap()).await;
        assert!(served.is_err(), "{sent:?}");
        assert!(start.elapsed() <= HEADER_READ_TIMEOUT * 2, "{sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_server_closes_its_connections() {
    let server = start(admin()).await;
    let mut io = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap();
    io.write_all(b"GET /li").await.unwrap();
    tokio::task::yield_now().await;
    drop(server);
    let mut rest = Vec::new();
    // Closed or reset: it was cut off in the middle of a request.
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut io, &mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_read_through_a_filter_of_the_query_or_of_the_body() {
    let (dispatch, level) = logs::subscriber("warn", logs::Format::Plain, std::io::sink).unwrap();
    // A program has one subscriber, on all threads. Where there is but one, and on one thread only, `tracing` asks only the thread's own.
    let _another = logs::subscriber("warn", logs::Format::Plain, std::io::sink).unwrap();
    let admin = admin().logs(Some(level));
    let server = start(admin.clone()).await;
    for (args, path) in [
        (&["-N"][..], "/logs.json?off,mesh%6bit_x=debug"),
        (&["-N", "-XQUERY", "-d", "off,linkerd=debug"], "/logs.json"),
        (&["-N", "--http2-prior-knowledge"], "/logs.json?meshkit_x=debug"),
    ] {
        let url = format!("{}{path}", server.url);
        let mut curl = tokio::process::Command::new("curl");
        let curl = curl.args(["-sS", "-i", "--max-time", "20"]).args(args).arg(url).stdout(std::process::Stdio::piped()).spawn().unwrap();
        // It reads from when it is there on.
        while admin.ending.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::debug!(target: "meshkit_x", port = 80, "one");
            tracing::trace!(target: "meshkit_x", "two");
            tracing::error!(target: "elsewhere", "three");
            tracing::info!(target: "meshkit_x", "four");
        });
        admin.end_streams().await;
        let output = curl.wait_with_output().await.unwrap();
        // The answer is complete.
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200") && head.contains("content-type: application/json"), "{head}");
        let lines: Vec<serde_json::Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let messages: Vec<_> = lines.iter().map(|line| line["fields"]["message"].as_str().unwrap()).collect();
        assert_eq!(messages, ["one", "four"], "{path}");
        assert_eq!(lines[0]["fields"]["port"], 80);
        admin.ending.send_replace(false);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_the_log_that_leaves_is_forgotten() {
    let (_dispatch, level) = logs::subscriber("warn", logs::Format::Plain, std::io::sink).unwrap();
    let admin = admin().logs(Some(level.clone()));
    let server = start(admin.clone()).await;
    let mut readers = Vec::new();
    for _ in 0..16 {
        let mut io = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap();
        io.write_all(b"GET /logs.json?info HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        readers.push(io);
    }
    while admin.ending.receiver_count() < 16 {
        tokio::task::yield_now().await;
    }
    let (status, reason) = server.status_and_body(&[], "/logs.json?info").await;
    assert_eq!((status, reason.as_str()), (503, "16 clients read the log already\n"));
    drop(readers);
    while admin.ending.receiver_count() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(level.stream("info").is_ok());
}

#[tokio::test]
async fn what_cannot_be_a_stream_of_the_log_is_refused() {
    let (_dispatch, level) = logs::subscriber("warn", logs::Format::Plain, std::io::sink).unwrap();
    let with_logs = admin().logs(Some(level));
    for (admin, client, method, path, status, body) in [
        (&with_logs, "127.0.0.1:1", "GET", "/logs.json", 400, "expected a log filter in the query, as in ?linkerd=debug\n"),
        (&with_logs, "127.0.0.1:1", "GET", "/logs.json?a=b=c", 400, "invalid log filter: \"a=b=c\": expected a level after the =\n"),
        (&with_logs, "127.0.0.1:1", "GET", "/logs.json?%ff", 400, "the log filter is not UTF-8\n"),
        (&with_logs, "127.0.0.1:1", "GET", "/logs.json?%4=%zz%", 400, "invalid log filter: \"%4=%zz%\": expected a level after the =\n"),
        (&with_logs, "127.0.0.1:1", "POST", "/logs.json?info", 405, ""),
        (&with_logs, "10.0.0.1:1", "GET", "/logs.json?info", 403, "Requests are only permitted from localhost."),
        (&admin(), "127.0.0.1:1", "GET", "/logs.json?info", 404, "logs are off\n"),
    ] {
        let mut request = Request::builder().method(method).uri(path).body(Bytes::new()).unwrap();
        request.extensions_mut().insert(Client(client.parse().unwrap()));
        let reply = admin.reply(request).await;
        assert_eq!(reply.status(), status, "{client} {method} {path}");
        assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), body);
    }
}

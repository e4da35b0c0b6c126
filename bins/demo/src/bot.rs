//! vote-bot: lists the emoji and votes for one of them, over and over, on one HTTP/1.1 connection.

use std::{error, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header::HOST, uri::Authority};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::{Error, environment::Reader, stop::Stop};

const DOUGHNUT_SHARE: f64 = 0.15;
const REPORT_PAUSE: Duration = Duration::from_secs(10);
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
const BODY_LIMIT: usize = 1 << 20;

type Failure = Box<dyn error::Error + Send + Sync>;

pub(crate) struct Settings {
    web: Authority,
    rate: f64,
    ttl: Option<Duration>,
}

/// One connection, made again when it is gone.
struct Client {
    web: Authority,
    sender: Option<SendRequest<Empty<Bytes>>>,
    // Owns the task that drives the connection: one, or none.
    driver: JoinSet<()>,
}

#[derive(Deserialize)]
struct Listed {
    shortcode: String,
}

impl Settings {
    pub(crate) fn read(env: &mut Reader<'_>) -> Self {
        Self { web: env.host("WEB_HOST"), rate: env.rate("REQUEST_RATE", 1.0), ttl: env.duration("TTL") }
    }
}

pub(crate) async fn run(settings: Settings, mut stop: Stop) -> Result<(), Error> {
    info!(web = %settings.web, rate = settings.rate, "the bot starts to vote");
    let mut client = Client { web: settings.web, sender: None, driver: JoinSet::new() };
    // A rate so low that its period is no duration is a bot that votes once a day.
    let period = Duration::try_from_secs_f64(settings.rate.recip()).unwrap_or(Duration::from_secs(86_400));
    let mut ticks = interval(period.max(Duration::from_micros(100)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ttl = std::pin::pin!(async move {
        match settings.ttl {
            Some(ttl) => sleep(ttl).await,
            None => std::future::pending().await,
        }
    });
    let (mut votes, mut failures, mut reported_at) = (0_u64, 0_u64, Instant::now());
    loop {
        tokio::select! {
            () = stop.given() => return Ok(()),
            () = &mut ttl => {
                info!("the bot's time to live is over");
                return Ok(());
            }
            _ = ticks.tick() => {}
        }
        match client.vote().await {
            Ok((choice, status)) => {
                debug!(%choice, %status, "voted");
                votes += 1;
                failures += u64::from(!status.is_success());
            }
            Err(error) => {
                failures += 1;
                client.sender = None;
                warn!(error, "no vote");
            }
        }
        if reported_at.elapsed() >= REPORT_PAUSE {
            info!(votes, failures, "voted so far");
            reported_at = Instant::now();
        }
    }
}

impl Client {
    async fn vote(&mut self) -> Result<(String, StatusCode), Failure> {
        let (status, body) = self.get("/api/list").await?;
        if status != StatusCode::OK {
            return Ok((String::new(), status));
        }
        let list: Vec<Listed> = serde_json::from_slice(&body)?;
        let choice = choose(&list, rand::random(), rand::random());
        let (status, _) = self.get(&format!("/api/vote?choice={choice}")).await?;
        Ok((choice.to_owned(), status))
    }

    async fn get(&mut self, path: &str) -> Result<(StatusCode, Bytes), Failure> {
        timeout(REQUEST_LIMIT, self.exchange(path)).await?
    }

    async fn exchange(&mut self, path: &str) -> Result<(StatusCode, Bytes), Failure> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await?,
        };
        sender.ready().await?;
        let request = Request::get(path).header(HOST, self.web.as_str()).header("user-agent", "vote-bot").body(Empty::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await?.to_bytes();
        self.sender = Some(sender);
        Ok((status, body))
    }

    async fn connect(&mut self) -> Result<SendRequest<Empty<Bytes>>, Failure> {
        let stream = TcpStream::connect((self.web.host().trim_matches(['[', ']']), self.web.port_u16().unwrap_or(80))).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        self.driver.shutdown().await;
        self.driver.spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "connection to web failed");
            }
        });
        Ok(sender)
    }
}

/// The doughnut for rolls below its share, otherwise any of the list. Rolls are from 0 to 1.
fn choose(list: &[Listed], doughnut: f64, any: f64) -> &str {
    let index = (any * list.len() as f64) as usize;
    match list.get(index) {
        Some(listed) if doughnut >= DOUGHNUT_SHARE => &listed.shortcode,
        _ => ":doughnut:",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_in_a_hundred_are_doughnuts() {
        let list: Vec<_> = [":joy:", ":poop:"].map(|shortcode| Listed { shortcode: shortcode.to_owned() }).into();
        assert_eq!(choose(&list, 0.14, 0.9), ":doughnut:");
        assert_eq!(choose(&list, 0.15, 0.0), ":joy:");
        assert_eq!(choose(&list, 0.99, 0.99), ":poop:");
        assert_eq!(choose(&[], 0.99, 0.99), ":doughnut:");
    }
}

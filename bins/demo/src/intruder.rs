//! intruder: asks voting for its results once a second, without the right to. What a policy does is seen here first.

use std::time::Duration;

use http::uri::Authority;
use tokio::time::{MissedTickBehavior, interval};
use tonic::metadata::MetadataMap;
use tracing::{info, warn};

use crate::{Error, environment::Reader, stop::Stop, voting::VotingClient};

const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Settings {
    voting: Authority,
}

impl Settings {
    pub(crate) fn read(env: &mut Reader<'_>) -> Self {
        Self { voting: env.host("VOTINGSVC_HOST") }
    }
}

pub(crate) async fn run(settings: Settings, mut stop: Stop) -> Result<(), Error> {
    let client = VotingClient::new(&settings.voting);
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    info!(voting = %settings.voting, "the intruder is on its way");
    loop {
        tokio::select! {
            () = stop.given() => return Ok(()),
            _ = ticks.tick() => {}
        }
        match client.results(MetadataMap::new()).await {
            Ok(answer) => info!(emoji_count = answer.results.len(), "voting let the intruder in: no policy is in its way"),
            Err(refusal) => warn!(code = ?refusal.code(), reason = refusal.message(), "voting refused the intruder"),
        }
    }
}

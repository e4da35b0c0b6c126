//! From a component's name and its environment to a running component.

use std::{pin::pin, time::Duration};

use tokio::time::timeout;
use tracing::info;

use crate::{Component, Error, bot, emoji, environment::Reader, intruder, stop, voting, web};

/// How long requests in flight may take after the stop. Kubernetes kills after 30 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(25);

enum Settings {
    Web(web::Settings),
    Emoji(emoji::Settings),
    Voting(voting::Settings),
    VoteBot(bot::Settings),
    Intruder(intruder::Settings),
}

/// Runs a component until SIGTERM or SIGINT, then drains: no new connections, and whatever is in flight is finished.
///
/// `env` is read before the future is first polled.
///
/// # Errors
/// Settings that are missing or wrong (all of them, see [`Error::is_usage`]), a port that cannot be bound, or requests that were
/// still in flight 25 s after the stop.
pub fn run(component: Component, env: impl Fn(&str) -> Option<String>) -> impl Future<Output = Result<(), Error>> + Send + 'static {
    run_until(component, env, stop::signaled())
}

/// As [`run`], with the stop given by a future.
///
/// # Errors
/// As [`run`].
pub fn run_until<U>(
    component: Component,
    env: impl Fn(&str) -> Option<String>,
    until: U,
) -> impl Future<Output = Result<(), Error>> + Send + 'static
where
    U: Future<Output = ()> + Send + 'static,
{
    let settings = read(component, &env);
    async move {
        let settings = settings?;
        let (tell, stop) = stop::channel();
        let mut work = pin!(async move {
            match settings {
                Settings::Web(settings) => web::run(settings, stop).await,
                Settings::Emoji(settings) => emoji::run(settings, stop).await,
                Settings::Voting(settings) => voting::run(settings, stop).await,
                Settings::VoteBot(settings) => bot::run(settings, stop).await,
                Settings::Intruder(settings) => intruder::run(settings, stop).await,
            }
        });
        tokio::select! {
            ended = &mut work => return ended,
            () = until => {}
        }
        info!(%component, "stopping");
        tell.send_replace(true);
        timeout(DRAIN_LIMIT, work).await.unwrap_or_else(|_| Err(Error::undrained(DRAIN_LIMIT)))
    }
}

fn read(component: Component, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, Error> {
    let mut reader = Reader::new(env);
    let settings = match component {
        Component::Web => Settings::Web(web::Settings::read(&mut reader)),
        Component::Emoji => Settings::Emoji(emoji::Settings::read(&mut reader)),
        Component::Voting => Settings::Voting(voting::Settings::read(&mut reader)),
        Component::VoteBot => Settings::VoteBot(bot::Settings::read(&mut reader)),
        Component::Intruder => Settings::Intruder(intruder::Settings::read(&mut reader)),
    };
    reader.finish(settings)
}

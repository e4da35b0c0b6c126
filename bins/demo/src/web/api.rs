//! The API behind the page.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use tonic::Status;
use tracing::debug;

use super::{
    backends::{Backends, context},
    tally::Tally,
};
use crate::{
    http1::{Answer, answer},
    table,
    voting::{VERSION_KEY, version},
};

/// Look-ups in flight for one leaderboard.
const LOOKUP_LIMIT: usize = 8;

pub(super) struct Api {
    backends: Backends,
    tally: Mutex<Tally>,
}

#[derive(Serialize)]
struct Listed {
    shortcode: String,
    unicode: String,
}

#[derive(Serialize)]
struct Ranked {
    shortcode: String,
    unicode: String,
    votes: i64,
}

impl Api {
    pub(super) fn new(backends: Backends) -> Self {
        Self { backends, tally: Mutex::default() }
    }

    pub(super) async fn list(&self, headers: &HeaderMap) -> Answer {
        match self.backends.list(context(headers)).await {
            Ok(list) => {
                let list: Vec<_> = list.into_iter().map(|emoji| Listed { shortcode: emoji.shortcode, unicode: emoji.unicode }).collect();
                json(&list)
            }
            Err(status) => failed("emoji", &status),
        }
    }

    pub(super) async fn vote(&self, query: Option<&str>, headers: &HeaderMap) -> Answer {
        let Some(choice) = query.and_then(choice).filter(|choice| !choice.is_empty()) else {
            return answer(StatusCode::BAD_REQUEST, "text/plain", "what is the vote for? as in /api/vote?choice=:joy:\n");
        };
        let emoji = match self.backends.find(&choice, context(headers)).await {
            Ok(Some(emoji)) => emoji,
            Ok(None) => return answer(StatusCode::BAD_REQUEST, "text/plain", "there is no such emoji\n"),
            Err(status) => return failed("emoji", &status),
        };
        let voted = self.backends.voting.vote(&table::rpc_name(&emoji.shortcode), context(headers)).await;
        let (mut answer, version) = match voted {
            Ok(version) => (answer(StatusCode::OK, "text/plain", ""), version),
            Err(status) => (failed("voting", &status), version(status.metadata())),
        };
        if let Some(version) = version {
            if let Ok(value) = HeaderValue::try_from(&version) {
                answer.headers_mut().insert(VERSION_KEY, value);
            }
            self.tally().voted(version);
        }
        answer
    }

    pub(super) async fn leaderboard(&self, headers: &HeaderMap) -> Answer {
        let results = match self.backends.voting.results(context(headers)).await {
            Ok(results) => self.tally().results(results),
            Err(status) => return failed("voting", &status),
        };
        let ranked = stream::iter(results)
            .map(|(shortcode, votes)| async move {
                let unicode = self.backends.find(&shortcode, context(headers)).await?.map(|emoji| emoji.unicode).unwrap_or_default();
                Ok::<_, Status>(Ranked { shortcode, unicode, votes })
            })
            .buffered(LOOKUP_LIMIT)
            .try_collect::<Vec<_>>()
            .await;
        match ranked {
            Ok(ranked) => json(&ranked),
            Err(status) => failed("emoji", &status),
        }
    }

    pub(super) fn split(&self) -> Answer {
        json(&self.tally().split())
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Every change to it is complete before anything can panic.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => answer(StatusCode::OK, "application/json", body),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
    }
}

fn failed(who: &str, status: &Status) -> Answer {
    debug!(who, code = ?status.code(), message = status.message(), "call failed");
    let body = format!("{who} failed with {:?} ({}): {}\n", status.code(), status.code() as i32, status.message());
    answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", body)
}

/// The value of `choice`. Nothing that is wrongly encoded is one.
fn choice(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("choice="))?;
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_may_be_encoded_or_not() {
        for query in ["choice=:joy:", "x=1&choice=%3Ajoy%3a", "choice=:joy:&choice=:poop:"] {
            assert_eq!(choice(query).as_deref(), Some(":joy:"), "{query}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_choice() {
        for query in ["", "joy", "choice=%", "choice=%3", "choice=%zz", "choice=%ff", "mychoice=:joy:"] {
            assert_eq!(choice(query), None, "{query}");
        }
    }
}

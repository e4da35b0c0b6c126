//! The gRPC service. A hundred rpcs that differ in a name are one that looks at it.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::{BodyExt, Limited};
use tokio::time::sleep;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service},
    metadata::AsciiMetadataValue,
    server::{Grpc, UnaryService},
};
use tonic_prost::ProstCodec;

use super::VERSION_KEY;
use crate::{
    metrics::Counters,
    proto::{
        VOTING_PREFIX,
        voting::{ResultsRequest, ResultsResponse, VoteRequest, VoteResponse, VotingResult},
    },
    table,
};

const DOUGHNUT: &str = ":doughnut:";

/// How much of a request that is refused anyway is read. An empty vote has 5 bytes.
const UNREAD_LIMIT: usize = 16 * 1024;

/// The votes so far, and how the next one goes.
#[derive(Debug)]
pub(super) struct Ballot {
    counters: Arc<Counters>,
    /// From the rpc's name to the emoji's place in the table.
    rpcs: HashMap<String, usize>,
    failure_rate: f64,
    delay: Option<Duration>,
    version: AsciiMetadataValue,
}

/// Answers the rpcs of the voting service.
#[derive(Clone, Debug)]
pub(super) struct VotingServer(Arc<Ballot>);

struct Vote(Arc<Ballot>, usize);

struct CountVotes(Arc<Ballot>);

impl Ballot {
    pub(super) fn new(failure_rate: f64, delay: Option<Duration>, version: AsciiMetadataValue) -> Self {
        let shortcodes = table::EMOJI.iter().map(|(shortcode, _)| *shortcode);
        let counters = Arc::new(Counters::new("emojivoto_votes_total", "Votes that were counted", "emoji", shortcodes.clone()));
        let rpcs = shortcodes.enumerate().map(|(index, shortcode)| (table::rpc_name(shortcode), index)).collect();
        Self { counters, rpcs, failure_rate, delay, version }
    }

    pub(super) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    async fn vote(&self, index: usize) -> Result<VoteResponse, Status> {
        if let Some(delay) = self.delay {
            sleep(delay).await;
        }
        if table::EMOJI.get(index).is_some_and(|(shortcode, _)| *shortcode == DOUGHNUT) {
            return Err(Status::unknown("nobody may vote for the doughnut"));
        }
        if rand::random_bool(self.failure_rate) {
            return Err(Status::unknown("the vote was lost (FAILURE_RATE)"));
        }
        self.counters.add(index);
        Ok(VoteResponse {})
    }

    fn results(&self) -> ResultsResponse {
        let result = |(shortcode, count): (&str, u64)| VotingResult {
            shortcode: shortcode.to_owned(),
            votes: i32::try_from(count).unwrap_or(i32::MAX),
        };
        let mut results: Vec<_> = self.counters.counted().map(result).collect();
        results.sort_by_key(|result| std::cmp::Reverse(result.votes));
        ResultsResponse { results }
    }

    /// Answer or refusal, both say which version it came from.
    fn signed<T>(&self, answer: Result<T, Status>) -> Result<Response<T>, Status> {
        match answer {
            Ok(message) => {
                let mut response = Response::new(message);
                response.metadata_mut().insert(VERSION_KEY, self.version.clone());
                Ok(response)
            }
            Err(mut status) => {
                status.metadata_mut().insert(VERSION_KEY, self.version.clone());
                Err(status)
            }
        }
    }
}

impl UnaryService<VoteRequest> for Vote {
    type Response = VoteResponse;
    type Future = BoxFuture<Response<VoteResponse>, Status>;

    fn call(&mut self, _: Request<VoteRequest>) -> Self::Future {
        let (ballot, index) = (Arc::clone(&self.0), self.1);
        Box::pin(async move { ballot.signed(ballot.vote(index).await) })
    }
}

impl UnaryService<ResultsRequest> for CountVotes {
    type Response = ResultsResponse;
    type Future = std::future::Ready<Result<Response<ResultsResponse>, Status>>;

    fn call(&mut self, _: Request<ResultsRequest>) -> Self::Future {
        std::future::ready(self.0.signed(Ok(self.0.results())))
    }
}

impl VotingServer {
    pub(super) const fn new(ballot: Arc<Ballot>) -> Self {
        Self(ballot)
    }
}

impl Service<http::Request<Body>> for VotingServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let ballot = Arc::clone(&self.0);
        Box::pin(async move {
            let rpc = request.uri().path().strip_prefix(VOTING_PREFIX);
            if rpc == Some("Results") {
                return Ok(Grpc::new(ProstCodec::default()).unary(CountVotes(ballot), request).await);
            }
            match rpc.and_then(|rpc| ballot.rpcs.get(rpc).copied()) {
                Some(index) => Ok(Grpc::new(ProstCodec::default()).unary(Vote(ballot, index), request).await),
                None => {
                    // A stream that is answered before its request was read is reset, and curl 7.88 reports the reset instead
                    // of the answer.
                    let _ = Limited::new(request.into_body(), UNREAD_LIMIT).collect().await;
                    Ok(Status::unimplemented("no such vote").into_http())
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(failure_rate: f64) -> Ballot {
        Ballot::new(failure_rate, Some(Duration::from_secs(3)), AsciiMetadataValue::from_static("v2"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_vote_counts_after_the_delay() {
        let ballot = ballot(0.0);
        let begun = tokio::time::Instant::now();
        for rpc in ["VoteJoy", "VotePoop", "VoteJoy"] {
            ballot.vote(ballot.rpcs[rpc]).await.unwrap();
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(9));
        let results: Vec<_> = ballot.results().results.into_iter().map(|result| (result.shortcode, result.votes)).collect();
        assert_eq!(results, [(":joy:".to_owned(), 2), (":poop:".to_owned(), 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_doughnut_never_counts_and_a_failed_vote_neither() {
        let honest = ballot(0.0);
        assert_eq!(honest.vote(honest.rpcs["VoteDoughnut"]).await.unwrap_err().code(), tonic::Code::Unknown);
        let lossy = ballot(1.0);
        assert_eq!(lossy.vote(lossy.rpcs["VoteJoy"]).await.unwrap_err().code(), tonic::Code::Unknown);
        assert!(honest.results().results.is_empty() && lossy.results().results.is_empty());
    }

    #[test]
    fn a_refusal_is_signed_too() {
        let refusal = ballot(0.0).signed::<()>(Err(Status::unknown("no"))).unwrap_err();
        assert_eq!(refusal.metadata().get(VERSION_KEY).unwrap(), "v2");
    }
}

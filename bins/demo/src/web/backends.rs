//! Calls to emoji and voting.

use http::{HeaderMap, uri::Authority};
use tonic::{
    Request, Status,
    metadata::{KeyRef, MetadataMap},
    transport::Channel,
};

use crate::{
    proto::emoji::{Emoji, FindByShortcodeRequest, ListAllEmojiRequest, emoji_service_client::EmojiServiceClient},
    voting::{VotingClient, channel},
};

/// Headers that tie the calls made for a request to it; passed on as they came.
const CONTEXT: &[&str] =
    &["traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags", "x-request-id"];

/// Clients of emoji and of voting. Both connect when first used.
pub(super) struct Backends {
    emoji: EmojiServiceClient<Channel>,
    pub(super) voting: VotingClient,
}

impl Backends {
    pub(super) fn new(emoji: &Authority, voting: &Authority) -> Self {
        Self { emoji: EmojiServiceClient::new(channel(emoji)), voting: VotingClient::new(voting) }
    }

    pub(super) async fn list(&self, context: MetadataMap) -> Result<Vec<Emoji>, Status> {
        let request = Request::from_parts(context, Default::default(), ListAllEmojiRequest {});
        Ok(self.emoji.clone().list_all(request).await?.into_inner().list)
    }

    /// `None` if there is no such emoji.
    pub(super) async fn find(&self, shortcode: &str, context: MetadataMap) -> Result<Option<Emoji>, Status> {
        let message = FindByShortcodeRequest { shortcode: shortcode.to_owned() };
        let request = Request::from_parts(context, Default::default(), message);
        Ok(self.emoji.clone().find_by_shortcode(request).await?.into_inner().emoji)
    }
}

/// The tracing headers of a request, for the calls that are made for it.
pub(super) fn context(headers: &HeaderMap) -> MetadataMap {
    let mut context = HeaderMap::new();
    for name in CONTEXT {
        if let Some(value) = headers.get(*name) {
            context.insert(*name, value.clone());
        }
    }
    let context = MetadataMap::from_headers(context);
    debug_assert!(context.keys().all(|key| matches!(key, KeyRef::Ascii(_))));
    context
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_trace_is_passed_on() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static("00-a-b-01"));
        headers.insert("authorization", HeaderValue::from_static("secret"));
        let context = context(&headers);
        assert_eq!(context.get("traceparent").unwrap(), "00-a-b-01");
        assert_eq!(context.len(), 1);
    }
}

//! The application's protocols.

/// `emoji.proto`: which emoji there are.
pub const EMOJI_PROTO: &str = include_str!("../proto/emoji.proto");

/// `voting.proto`: one rpc per emoji, and the results.
pub const VOTING_PROTO: &str = include_str!(concat!(env!("OUT_DIR"), "/voting.proto"));

/// Path prefix of the voting service.
pub(crate) const VOTING_PREFIX: &str = "/emojivoto.v1.VotingService/";

// Generated code follows its generator's style.
#[allow(clippy::all, clippy::must_use_candidate, missing_docs, rust_2018_idioms, unnameable_types, unreachable_pub)]
pub(crate) mod emoji {
    include!(concat!(env!("OUT_DIR"), "/emoji/emojivoto.v1.rs"));
}

#[allow(clippy::all, clippy::must_use_candidate, missing_docs, rust_2018_idioms, unnameable_types, unreachable_pub)]
pub(crate) mod voting {
    include!(concat!(env!("OUT_DIR"), "/voting/emojivoto.v1.rs"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    #[test]
    fn every_emoji_has_one_rpc() {
        let mut names: Vec<_> = table::EMOJI.iter().map(|(shortcode, _)| table::rpc_name(shortcode)).collect();
        for name in &names {
            assert_eq!(VOTING_PROTO.matches(&format!("rpc {name}(VoteRequest)")).count(), 1, "{name}");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), table::EMOJI.len());
        assert_eq!(table::rpc_name(":stuck_out_tongue_winking_eye:"), "VoteStuckOutTongueWinkingEye");
        assert_eq!(table::rpc_name(":100:"), "Vote100");
    }
}

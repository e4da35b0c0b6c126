//! Writes the voting protocol from the table of emoji (one rpc each), and compiles both protocols to Rust.

use std::{env, error::Error, fmt::Write, fs, path::PathBuf};

#[path = "src/table.rs"]
mod table;

const MESSAGES: &str = "\
syntax = \"proto3\";

package emojivoto.v1;

message VotingResult {
  string Shortcode = 1;
  int32 Votes = 2;
}

message VoteRequest {}

message VoteResponse {}

message ResultsRequest {}

message ResultsResponse {
  repeated VotingResult results = 1;
}
";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/emoji.proto");
    println!("cargo::rerun-if-changed=src/table.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("voting.proto"), voting_proto()?)?;

    let emoji = protox::compile(["emoji.proto"], ["proto"])?;
    let emoji_dir = out.join("emoji");
    fs::create_dir_all(&emoji_dir)?;
    tonic_prost_build::configure().out_dir(emoji_dir).compile_fds(emoji)?;

    // Messages only: a hundred generated methods would want a hundred written ones. The service dispatches on the rpc's name.
    let voting = protox::compile(["voting.proto"], [&out])?;
    let voting_dir = out.join("voting");
    fs::create_dir_all(&voting_dir)?;
    tonic_prost_build::configure().build_client(false).build_server(false).out_dir(voting_dir).compile_fds(voting)?;
    Ok(())
}

fn voting_proto() -> Result<String, std::fmt::Error> {
    let mut text = format!("{MESSAGES}\nservice VotingService {{\n");
    for (shortcode, _) in table::EMOJI {
        writeln!(text, "  rpc {}(VoteRequest) returns (VoteResponse);", table::rpc_name(shortcode))?;
    }
    text.push_str("  rpc Results(ResultsRequest) returns (ResultsResponse);\n}\n");
    Ok(text)
}

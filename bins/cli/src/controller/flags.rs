//! What several controllers are told.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use meshkit_manifest::GoDuration;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(super) struct Logs {
    /// What is logged: a level, or a filter such as warn,meshkit=debug
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log_level: String,
    /// How a log line looks: plain or json
    #[arg(long, default_value = "plain", value_name = "FORMAT")]
    pub(super) log_format: meshkit_runtime::logs::Format,
}

impl Logs {
    /// The filter. `panic` and `fatal` are levels of Go's loggers, and `linkerd` is what the filters of charts call the control plane.
    pub(super) fn filter(&self) -> String {
        let part = |part: &str| match part.split_once('=') {
            Some((target, level)) if target.starts_with("linkerd") => format!("meshkit={level},mesh={level}"),
            Some(_) => part.to_owned(),
            None if matches!(part, "panic" | "fatal") => "error".to_owned(),
            None => part.to_owned(),
        };
        self.log_level.split(',').map(str::trim).map(part).collect::<Vec<_>>().join(",")
    }
}

/// An address and a port, or a port alone behind a colon, which is every address.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    full.parse().map_err(|_| format!("{text:?} is neither an address with a port nor a port such as :8080"))
}

/// A time as Go writes it, such as `24h0m0s`, which is not less than nothing.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let time: GoDuration = text.parse().map_err(|error| format!("{error}"))?;
    u64::try_from(time.as_nanos()).map(Duration::from_nanos).map_err(|_| format!("{text} is less than nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_charts_are_understood() {
        let filter = |text: &str| Logs { log_level: text.to_owned(), log_format: meshkit_runtime::logs::Format::Plain }.filter();
        assert_eq!(filter("info"), "info");
        assert_eq!(filter("linkerd=info,warn"), "meshkit=info,mesh=info,warn");
        assert_eq!(filter("panic"), "error");
        assert_eq!(filter("warn, hyper=trace"), "warn,hyper=trace");
    }

    #[test]
    fn addresses_and_times() {
        assert_eq!(listen(":8080").unwrap().to_string(), "[::]:8080");
        assert_eq!(listen("0.0.0.0:1").unwrap().to_string(), "0.0.0.0:1");
        assert!(listen("8080").is_err() && listen("x:1").is_err());
        assert_eq!(duration("24h0m0s"), Ok(Duration::from_secs(86_400)));
        assert!(duration("-1s").is_err() && duration("1").is_err());
    }
}

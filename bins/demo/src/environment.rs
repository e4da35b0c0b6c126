//! Reads settings from environment variables, and reports every fault at once.

use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use crate::Error;

/// Reads variables and remembers what was wrong with them. An empty variable counts as unset.
pub(crate) struct Reader<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { env, faults: Vec::new() }
    }

    /// The settings read so far, if none of them was wrong.
    pub(crate) fn finish<T>(self, settings: T) -> Result<T, Error> {
        if self.faults.is_empty() { Ok(settings) } else { Err(Error::settings(self.faults)) }
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    /// `$(POD_IP):$(name)`, on every address where `POD_IP` is unset.
    pub(crate) fn listen(&mut self, name: &'static str) -> SocketAddr {
        self.listen_if_set(name).unwrap_or_else(|| self.missing(name, "a port", SocketAddr::from(([0, 0, 0, 0], 0))))
    }

    pub(crate) fn listen_if_set(&mut self, name: &'static str) -> Option<SocketAddr> {
        let port = self.parsed(name, "a port")?;
        let ip = self.parsed("POD_IP", "an IP address").unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Some(SocketAddr::new(ip, port))
    }

    /// A `host:port` or a host to call, kept as it was written: it is the authority that the peer sees.
    pub(crate) fn host(&mut self, name: &'static str) -> http::uri::Authority {
        self.parsed(name, "a host and port")
            .unwrap_or_else(|| self.missing(name, "a host and port", http::uri::Authority::from_static("unset")))
    }

    /// A share from 0 to 1; 0 if unset.
    pub(crate) fn share(&mut self, name: &'static str) -> f64 {
        let share: f64 = self.parsed(name, "a share from 0 to 1").unwrap_or(0.0);
        if !(0.0..=1.0).contains(&share) {
            self.wrong(name, &share, "a share from 0 to 1");
        }
        share.clamp(0.0, 1.0)
    }

    /// How many a second; more than 0.
    pub(crate) fn rate(&mut self, name: &'static str, default: f64) -> f64 {
        let rate: f64 = self.parsed(name, "a number above 0").unwrap_or(default);
        if rate.is_finite() && rate > 0.0 {
            return rate;
        }
        self.wrong(name, &rate, "a number above 0");
        default
    }

    pub(crate) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        let value = self.text(name)?;
        let duration = parse_duration(&value);
        if duration.is_none() {
            self.wrong(name, &value, "a duration, as 300ms or 5s");
        }
        duration
    }

    /// Text that fits into a header.
    pub(crate) fn metadata(&mut self, name: &'static str) -> Option<tonic::metadata::AsciiMetadataValue> {
        self.parsed(name, "printable ASCII")
    }

    fn parsed<T: FromStr>(&mut self, name: &'static str, wanted: &str) -> Option<T> {
        let value = self.text(name)?;
        let parsed = value.parse().ok();
        if parsed.is_none() {
            self.wrong(name, &value, wanted);
        }
        parsed
    }

    fn missing<T>(&mut self, name: &'static str, wanted: &str, stand_in: T) -> T {
        // A value that could not be read has been reported by then.
        if self.text(name).is_none() {
            self.faults.push(format!("{name} is not set; it wants {wanted}"));
        }
        stand_in
    }

    fn wrong(&mut self, name: &str, value: &dyn Display, wanted: &str) {
        let fault = format!("{name} is \"{value}\"; it wants {wanted}");
        // POD_IP is asked for once per port.
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// `300ms`, `5s`, `2m`, `1h`, or seconds without a unit.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_at_once() {
        let env = |name: &str| match name {
            "POD_IP" => Some("here".to_owned()),
            "GRPC_PORT" => Some("8080".to_owned()),
            "PROM_PORT" => Some("99999".to_owned()),
            "FAILURE_RATE" => Some("1.5".to_owned()),
            "ARTIFICIAL_DELAY" => Some("soon".to_owned()),
            _ => None,
        };
        let mut reader = Reader::new(&env);
        reader.listen("GRPC_PORT");
        reader.listen_if_set("PROM_PORT");
        reader.share("FAILURE_RATE");
        reader.duration("ARTIFICIAL_DELAY");
        reader.host("WEB_HOST");
        let error = reader.finish(()).unwrap_err();
        assert!(error.is_usage());
        let text = error.to_string();
        for name in ["POD_IP", "PROM_PORT", "FAILURE_RATE", "ARTIFICIAL_DELAY", "WEB_HOST"] {
            assert_eq!(text.matches(name).count(), 1, "{name} in {text}");
        }
    }

    #[test]
    fn the_authority_is_kept_as_written() {
        let env = |_: &str| Some("voting-svc.emojivoto:8080".to_owned());
        assert_eq!(Reader::new(&env).host("VOTINGSVC_HOST").as_str(), "voting-svc.emojivoto:8080");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(parse_duration("7"), Some(Duration::from_secs(7)));
        for wrong in ["", "s", "-1s", "1d", "1e400", "..s"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}

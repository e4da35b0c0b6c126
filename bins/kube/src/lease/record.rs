use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// A lease as the server has it, as much of it as decides who holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Changes with every write.
    pub version: String,
    /// Who holds it; empty if nobody does.
    pub holder: String,
    /// For how long after each renewal.
    pub duration: Duration,
    /// How often it changed hands.
    pub transitions: u32,
    /// When it last did, as the holder wrote it.
    pub acquired: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Lease {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    resource_version: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u32>,
    lease_transitions: Option<u32>,
    acquire_time: Option<String>,
}

impl Record {
    /// Reads a Lease.
    ///
    /// # Errors
    /// It is none.
    pub fn from_json(value: &Value) -> Result<Self, serde_json::Error> {
        let Lease { metadata, spec } = Lease::deserialize(value)?;
        Ok(Self {
            version: metadata.resource_version,
            holder: spec.holder_identity.unwrap_or_default(),
            duration: Duration::from_secs(spec.lease_duration_seconds.unwrap_or_default().into()),
            transitions: spec.lease_transitions.unwrap_or_default(),
            acquired: spec.acquire_time.unwrap_or_default(),
        })
    }

    /// The fields of a Lease that is renewed at a date. A released lease lasts one second, as `client-go` writes it.
    pub(crate) fn spec(&self, date: SystemTime) -> Value {
        let renewed = micro_time(date);
        json!({
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self.duration.as_secs().max(1),
            "leaseTransitions": self.transitions,
            "acquireTime": if self.acquired.is_empty() { &renewed } else { &self.acquired },
            "renewTime": renewed,
        })
    }
}

/// A date as `MicroTime` has it. A date that no calendar has becomes the epoch.
fn micro_time(date: SystemTime) -> String {
    format!("{:.6}", Timestamp::try_from(date).unwrap_or_default())
}

/// A date in whole seconds, as most objects have it.
pub(crate) fn time(date: SystemTime) -> String {
    format!("{:.0}", Timestamp::try_from(date).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_the_api_is_read_and_written() {
        let lease = json!({
            "metadata": {"name": "policy-controller-write", "resourceVersion": "77"},
            "spec": {"holderIdentity": "linkerd-destination-5d-x", "leaseDurationSeconds": 30, "leaseTransitions": 2,
                "acquireTime": "2026-01-02T03:04:05.000006Z", "renewTime": "2026-01-02T03:05:00.000000Z"}
        });
        let record = Record::from_json(&lease).unwrap();
        assert_eq!((record.version.as_str(), record.holder.as_str(), record.transitions), ("77", "linkerd-destination-5d-x", 2));
        let date = SystemTime::UNIX_EPOCH + Duration::from_micros(1_767_323_100_000_007);
        let spec = record.spec(date);
        assert_eq!(spec["acquireTime"], "2026-01-02T03:04:05.000006Z");
        assert_eq!(spec["renewTime"], "2026-01-02T03:05:00.000007Z");
        assert_eq!(time(date), "2026-01-02T03:05:00Z");
        assert_eq!(Record::from_json(&json!({"spec": {"holderIdentity": null}})).unwrap(), Record::default());
        assert!(Record::from_json(&json!({"spec": {"holderIdentity": 1}})).is_err());
    }
}

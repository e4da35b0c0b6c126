use meshkit_core::grpc::Code;
use meshkit_wire::Refused;
use serde::Deserialize;

/// What a proxy calls itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// What it is there.
    pub unit: Unit,
}

/// What a proxy stands beside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // The two of the API.
pub enum Unit {
    /// A Pod of this name.
    Pod(String),
    /// An ExternalWorkload of this name.
    External(String),
}

#[derive(Deserialize)]
struct Told {
    ns: String,
    pod: Option<String>,
    external_workload: Option<String>,
}

impl Workload {
    /// A Pod.
    #[must_use]
    pub fn pod(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), unit: Unit::Pod(name.into()) }
    }

    /// A workload outside the cluster.
    #[must_use]
    pub fn external(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), unit: Unit::External(name.into()) }
    }

    /// Reads `{"ns":…,"pod":…}`, `{"ns":…,"external_workload":…}`, or the older `ns:pod`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let told = serde_json::from_str::<Told>(text.trim()).ok().and_then(|told| match (told.pod, told.external_workload) {
            (Some(pod), None) => Some(Self::pod(told.ns, pod)),
            (None, Some(external)) => Some(Self::external(told.ns, external)),
            _ => None,
        });
        let old = || {
            let (namespace, pod) = text.split_once(':')?;
            (!namespace.is_empty() && !pod.is_empty() && !text.contains('{')).then(|| Self::pod(namespace, pod))
        };
        let shown = || text.chars().take(300).collect::<String>();
        told.or_else(old).ok_or_else(|| Refused::new(Code::INVALID_ARGUMENT, format!("{:?} is not a workload", shown())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_told_in_json_or_in_the_older_form() {
        let wanted = Workload::pod("ns", "web-1");
        assert_eq!(Workload::parse("{\"ns\":\"ns\", \"pod\":\"web-1\"}\n"), Ok(wanted.clone()));
        assert_eq!(Workload::parse("ns:web-1"), Ok(wanted));
        assert_eq!(Workload::parse(r#"{"ns":"ns","external_workload":"vm"}"#), Ok(Workload::external("ns", "vm")));
        for bad in ["", "ns", "{}", "{\"ns\":\"a\"}", r#"{"ns":"a","pod":"b","external_workload":"c"}"#] {
            assert_eq!(Workload::parse(bad).unwrap_err().code(), Code::INVALID_ARGUMENT, "{bad}");
        }
    }
}

//! ServiceProfiles, `linkerd.io`.

use serde::{Deserialize, Serialize};

use crate::{
    GoDuration,
    core::object,
    meta::{IntOrString, Metadata},
};

object! {
    /// Routes of a service by path and method: what came before HTTPRoute. Its name is the service's name in the DNS.
    ServiceProfile {
        /// Name and labels.
        metadata: Metadata,
        /// The routes.
        spec: ProfileSpec,
    }
}

object! {
    /// The routes of a service.
    ProfileSpec {
        /// The first that matches counts.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        routes: Vec<ProfileRoute>,
        /// How many retries there may be.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_budget: Option<RetryBudget>,
        /// Other services that stand in for this one.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        dst_overrides: Vec<WeightedDst>,
        /// Ports whose bytes are not looked at: numbers and ranges. The Service's annotation replaces them.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        opaque_ports: Vec<String>,
    }
}

object! {
    /// Some requests, and how they are treated.
    ProfileRoute {
        /// Names it in metrics.
        name: String,
        /// Which requests.
        condition: RequestMatch,
        /// Which responses are failures; 5xx if nobody says.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        response_classes: Vec<ResponseClass>,
        /// May a failed request be sent again?
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_retryable: bool,
        /// How long a request may take; what is no duration counts as none.
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout: Option<String>,
    }
}

object! {
    /// A condition on requests: all fields that are set must hold.
    RequestMatch {
        /// Describes the whole path.
        #[serde(skip_serializing_if = "Option::is_none")]
        path_regex: Option<String>,
        /// The method.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<String>,
        /// All of these hold.
        #[serde(skip_serializing_if = "Option::is_none")]
        all: Option<Vec<RequestMatch>>,
        /// One of these holds.
        #[serde(skip_serializing_if = "Option::is_none")]
        any: Option<Vec<RequestMatch>>,
        /// This does not hold.
        #[serde(skip_serializing_if = "Option::is_none")]
        not: Option<Box<RequestMatch>>,
    }
}

object! {
    /// Some responses, and what they are.
    ResponseClass {
        /// Which.
        condition: ResponseMatch,
        /// Are they failures?
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_failure: bool,
    }
}

object! {
    /// A condition on responses: all fields that are set must hold.
    ResponseMatch {
        /// The status.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<StatusRange>,
        /// All of these hold.
        #[serde(skip_serializing_if = "Option::is_none")]
        all: Option<Vec<ResponseMatch>>,
        /// One of these holds.
        #[serde(skip_serializing_if = "Option::is_none")]
        any: Option<Vec<ResponseMatch>>,
        /// This does not hold.
        #[serde(skip_serializing_if = "Option::is_none")]
        not: Option<Box<ResponseMatch>>,
    }
}

object! {
    /// Status codes from one to another, both included. An end that is not there is that of the other; none at all is no condition.
    StatusRange {
        /// The first.
        #[serde(skip_serializing_if = "Option::is_none")]
        min: Option<u32>,
        /// The last.
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<u32>,
    }
}

/// How many retries there may be. All of it must be said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// For each request, over the last while.
    pub retry_ratio: f64,
    /// However few requests there are.
    pub min_retries_per_second: u32,
    /// How long the last while is.
    pub ttl: GoDuration,
}

object! {
    /// A service that stands in for another.
    WeightedDst {
        /// Its name, with a port or without.
        authority: String,
        /// Its part of the whole, as a Kubernetes quantity: `1`, `500m`.
        weight: IntOrString,
    }
}

impl RequestMatch {
    /// Is there any condition at all?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.path_regex.is_none() && self.method.is_none() && self.all.is_none() && self.any.is_none() && self.not.is_none()
    }
}

impl ResponseMatch {
    /// Is there any condition at all?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.status.is_none() && self.all.is_none() && self.any.is_none() && self.not.is_none()
    }
}

impl WeightedDst {
    /// The weight in thousandths; `None` if it is no quantity from 0 to `u32::MAX` thousandths. Plain numbers, decimals, and the suffixes `m`,
    /// `k`, `M` are read: what anybody weighs with.
    #[must_use]
    pub fn milli(&self) -> Option<u32> {
        let text = self.weight.to_string();
        let (number, scale) = match text.strip_suffix(['m', 'k', 'M']) {
            Some(number) if text.ends_with('m') => (number, 1_u64),
            Some(number) if text.ends_with('k') => (number, 1_000_000),
            Some(number) => (number, 1_000_000_000),
            None => (text.as_str(), 1_000),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 9 || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let unit = (0..fraction.len()).fold(1_u64, |unit, _| unit * 10);
        let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? };
        let milli = whole.parse::<u64>().ok()?.checked_mul(scale)?.checked_add((fraction.checked_mul(scale)?).div_ceil(unit))?;
        u32::try_from(milli).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_quantities() {
        let table =
            [("1", Some(1000)), ("500m", Some(500)), ("0.5", Some(500)), ("2k", Some(2_000_000)), ("-1", None), ("", None), ("x", None)];
        for (text, milli) in table {
            let dst = WeightedDst { weight: IntOrString::String(text.to_owned()), ..WeightedDst::default() };
            assert_eq!(dst.milli(), milli, "{text}");
        }
        assert_eq!(WeightedDst { weight: IntOrString::Int(3), ..WeightedDst::default() }.milli(), Some(3000));
    }
}

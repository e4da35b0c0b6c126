//! What may be set, with the defaults of the chart.

use meshkit_wire::outbound::Overrides;

/// What an operator may set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// When a route or a limit is in force.
    pub acceptance: Acceptance,
    /// The namespace whose EgressNetworks are for all clients that have none of their own.
    pub egress_namespace: String,
    /// Whether requests may ask for other timeouts and retries, by `l5d-*` headers.
    pub overrides: Overrides,
    /// Ports of Services that are opaque where no annotation says otherwise: numbers and ranges, with commas between them.
    pub opaque_ports: String,
    /// How many watchers there may be at once: 100,000 unless said otherwise. Further ones are refused.
    pub max_watchers: usize,
}

/// When a route, a limit or an EgressNetwork is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // There is a writer of statuses, or there is none.
pub enum Acceptance {
    /// As soon as it would be accepted: for sources without statuses, such as a folder.
    Decided,
    /// When its status says that it was accepted: for an API server, where all replicas of a controller must see the same.
    Written,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            acceptance: Acceptance::Decided,
            egress_namespace: "linkerd-egress".to_owned(),
            overrides: Overrides::PassedOn,
            // Protocols in which the server speaks first.
            opaque_ports: "25,587,3306,4444,5432,6379,9300,11211".to_owned(),
            max_watchers: 100_000,
        }
    }
}

impl Settings {
    /// Other rules for when something is in force.
    #[must_use]
    pub fn acceptance(mut self, acceptance: Acceptance) -> Self {
        self.acceptance = acceptance;
        self
    }

    /// Another namespace for the EgressNetworks of all.
    #[must_use]
    pub fn egress_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.egress_namespace = namespace.into();
        self
    }

    /// Whether requests may ask for other timeouts and retries.
    #[must_use]
    pub fn overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        self
    }

    /// Other ports that are opaque.
    #[must_use]
    pub fn opaque_ports(mut self, ports: impl Into<String>) -> Self {
        self.opaque_ports = ports.into();
        self
    }

    /// Another bound on the watchers.
    #[must_use]
    pub fn max_watchers(mut self, max: usize) -> Self {
        self.max_watchers = max;
        self
    }
}

/// Is the port in a list of ports and ranges? What is neither is passed over.
pub(crate) fn contains(list: &str, port: u16) -> bool {
    list.split(',').map(str::trim).any(|item| match item.split_once('-') {
        Some((low, high)) => matches!((low.parse::<u16>(), high.parse::<u16>()), (Ok(low), Ok(high)) if (low..=high).contains(&port)),
        None => item.parse() == Ok(port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_ports_and_ranges() {
        let list = "25, 8000-8002,db,9-1";
        let seen: Vec<_> = [25, 8000, 8002, 8003, 9, 5, 1].map(|port| contains(list, port)).into();
        assert_eq!(seen, [true, true, true, false, false, false, false]);
        assert!(!contains("", 0));
    }
}

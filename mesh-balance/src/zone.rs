//! Keeps traffic in the client's zone, as long as that zone carries it.

/// Which endpoints a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // There are two sides of a border.
pub enum Side {
    /// Those in the client's zone.
    Local,
    /// All others, including those whose zone is not known.
    Other,
}

/// When the client's own zone suffices.
///
/// A pick is made on each side. The local one is taken unless the other one's load, times `factor`, is still below the local one's. So a
/// zone that loses endpoints or slows down spills only what it cannot carry. If fewer than `min_ready` local endpoints are ready, the
/// zone counts as broken and both sides compete evenly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preference {
    factor: f64,
    min_ready: usize,
}

impl Default for Preference {
    /// A factor of 4, and one local endpoint suffices.
    fn default() -> Self {
        Self { factor: 4.0, min_ready: 1 }
    }
}

impl Preference {
    /// How many times more loaded the local pick may be. Values below 1 and NaN count as 1. Default 4.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor.max(1.0);
        self
    }

    /// How many local endpoints must be ready for the preference to hold. Default 1.
    #[must_use]
    pub const fn min_ready(mut self, count: usize) -> Self {
        self.min_ready = count;
        self
    }

    /// Decides between the picks of the two sides, given their loads and the number of ready local endpoints.
    #[must_use]
    pub fn decide(&self, local: Option<f64>, local_count: usize, other: Option<f64>) -> Option<Side> {
        match (local, other) {
            (None, None) => None,
            (Some(_), None) => Some(Side::Local),
            (None, Some(_)) => Some(Side::Other),
            (Some(local), Some(other)) => {
                let factor = if local_count < self.min_ready { 1.0 } else { self.factor };
                Some(if other * factor < local { Side::Other } else { Side::Local })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_is_kept_until_it_is_over_the_factor() {
        let prefer = Preference::default();
        assert_eq!(prefer.decide(Some(1.0), 1, Some(1.0)), Some(Side::Local));
        assert_eq!(prefer.decide(Some(4.0), 1, Some(1.0)), Some(Side::Local));
        assert_eq!(prefer.decide(Some(4.1), 1, Some(1.0)), Some(Side::Other));
    }

    #[test]
    fn a_side_with_nothing_ready_overflows_to_the_other() {
        let prefer = Preference::default();
        assert_eq!(prefer.decide(None, 0, Some(9.0)), Some(Side::Other));
        assert_eq!(prefer.decide(Some(9.0), 1, None), Some(Side::Local));
        assert_eq!(prefer.decide(None, 0, None), None);
    }

    #[test]
    fn a_zone_below_its_minimum_competes_evenly() {
        let prefer = Preference::default().min_ready(2);
        assert_eq!(prefer.decide(Some(1.1), 1, Some(1.0)), Some(Side::Other));
        assert_eq!(prefer.decide(Some(1.1), 2, Some(1.0)), Some(Side::Local));
        assert_eq!(Preference::default().factor(f64::NAN).decide(Some(1.1), 1, Some(1.0)), Some(Side::Other));
    }
}

use std::fmt;

/// A share of the whole, from 0 to 1 inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// The whole.
    pub const ONE: Self = Self(1.0);

    /// Returns `None` for anything outside `0.0..=1.0`, NaN included.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// `numerator / denominator`, or `None` if the denominator is zero or the share exceeds the whole.
    #[must_use]
    pub fn of(numerator: u32, denominator: u32) -> Option<Self> {
        (denominator != 0).then(|| f64::from(numerator) / f64::from(denominator)).and_then(Self::new)
    }

    /// The share as a number from 0 to 1.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shares_of_the_whole_are_ratios() {
        assert_eq!(Ratio::new(0.0), Some(Ratio::ZERO));
        assert_eq!(Ratio::new(1.0), Some(Ratio::ONE));
        for bad in [-0.1, 1.000_001, f64::NAN, f64::INFINITY] {
            assert_eq!(Ratio::new(bad), None);
        }
        assert_eq!(Ratio::of(1, 4), Ratio::new(0.25));
        assert_eq!(Ratio::of(1, 0), None);
        assert_eq!(Ratio::of(2, 1), None);
    }
}

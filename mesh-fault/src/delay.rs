use std::{f64::consts::TAU, time::Duration};

use meshkit_core::Dice;

/// How long a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delay {
    /// Always as long.
    Fixed(Duration),
    /// Normally distributed, and never less than nothing.
    Normal {
        /// The mean.
        mean: Duration,
        /// The standard deviation.
        deviation: Duration,
    },
    /// Anything between the two, all alike.
    Uniform {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// Exponentially distributed, as waits in a queue are.
    Exponential {
        /// The mean.
        mean: Duration,
    },
}

impl Delay {
    /// One of the waits.
    #[must_use]
    pub fn sample(&self, dice: &Dice) -> Duration {
        match *self {
            Self::Fixed(length) => length,
            Self::Normal { mean, deviation } => shifted(mean, deviation, normal(dice)),
            Self::Uniform { min, max } => min.saturating_add(scaled(max.saturating_sub(min), dice.unit())),
            // 1 - u is never zero.
            Self::Exponential { mean } => scaled(mean, -(1.0 - dice.unit()).ln()),
        }
    }
}

/// Source: Box and Muller, "A note on the generation of random normal deviates".
fn normal(dice: &Dice) -> f64 {
    let (one, two) = (1.0 - dice.unit(), dice.unit());
    (-2.0 * one.ln()).sqrt() * (TAU * two).cos()
}

fn scaled(length: Duration, by: f64) -> Duration {
    Duration::try_from_secs_f64(length.as_secs_f64() * by).unwrap_or(Duration::MAX)
}

fn shifted(length: Duration, by: Duration, times: f64) -> Duration {
    let part = scaled(by, times.abs());
    if times < 0.0 { length.saturating_sub(part) } else { length.saturating_add(part) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MEAN: Duration = Duration::from_millis(300);

    fn mean_and_deviation(delay: Delay) -> (f64, f64) {
        let dice = Dice::new(1);
        let samples: Vec<_> = (0..20_000).map(|_| delay.sample(&dice).as_secs_f64() * 1e3).collect();
        let mean = samples.iter().sum::<f64>() / samples.len() as f64;
        let variance = samples.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / samples.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn samples_have_the_moments_of_their_distribution() {
        let near = |(mean, deviation): (f64, f64), wanted: (f64, f64)| {
            assert!((mean - wanted.0).abs() < 6.0 && (deviation - wanted.1).abs() < 6.0, "{mean} {deviation}");
        };
        near(mean_and_deviation(Delay::Fixed(MEAN)), (300.0, 0.0));
        near(mean_and_deviation(Delay::Normal { mean: MEAN, deviation: MEAN / 6 }), (300.0, 50.0));
        near(mean_and_deviation(Delay::Uniform { min: Duration::ZERO, max: 2 * MEAN }), (300.0, 173.2));
        near(mean_and_deviation(Delay::Exponential { mean: MEAN }), (300.0, 300.0));
    }

    proptest! {
        #[test]
        fn no_distribution_panics(a: u64, b: u64, seed: u64) {
            let (a, b) = (Duration::from_secs(a), Duration::from_secs(b));
            let dice = Dice::new(seed);
            for delay in [Delay::Fixed(a), Delay::Normal { mean: a, deviation: b }, Delay::Uniform { min: a, max: b }, Delay::Exponential { mean: a }] {
                let _ = delay.sample(&dice);
            }
            let uniform = Delay::Uniform { min: a.min(b), max: a.max(b) }.sample(&dice);
            prop_assert!(a.min(b) <= uniform);
        }
    }
}

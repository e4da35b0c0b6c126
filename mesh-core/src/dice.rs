//! Chance that can be repeated.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::Ratio;

/// A generator of random numbers from a seed, shared by its clones: a copied die would roll the same numbers.
///
/// Lock-free, and not for secrets. Under concurrent use the numbers are the same, in an order that is not specified.
/// Source: SplitMix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", figure 16.
#[derive(Clone, Debug)]
pub struct Dice(Arc<AtomicU64>);

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Dice {
    /// Starts the sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }

    /// The next 64 bits.
    #[must_use]
    pub fn roll(&self) -> u64 {
        let mut z = self.0.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0.0..1.0`.
    #[must_use]
    pub fn unit(&self) -> f64 {
        // 53 bits are what an f64 holds exactly.
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in `0..bound`; zero if `bound` is zero. Source: Lemire, "Fast random integer generation in an interval"
    /// (without the rejection step: the bias is below 2^-32 for the bounds in use).
    #[must_use]
    pub fn below(&self, bound: u32) -> u32 {
        let high = self.roll() >> 32;
        ((high * u64::from(bound)) >> 32) as u32
    }

    /// True for a share of the calls.
    #[must_use]
    pub fn hit(&self, share: Ratio) -> bool {
        self.unit() < share.get()
    }

    /// A part of `limit`, from nothing up to the whole.
    #[must_use]
    pub fn part_of(&self, limit: Duration) -> Duration {
        limit.mul_f64(self.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_sequence_and_clones_share_it() {
        let (one, two) = (Dice::new(7), Dice::new(7));
        let first: Vec<_> = (0..4).map(|_| one.roll()).collect();
        let copy = two.clone();
        let second = vec![two.roll(), copy.roll(), two.roll(), copy.roll()];
        assert_eq!(first, second);
    }

    #[test]
    fn shares_are_hit_in_proportion() {
        let dice = Dice::new(1);
        let hits = (0..10_000).filter(|_| dice.hit(Ratio::new(0.3).unwrap())).count();
        assert!((2_800..3_200).contains(&hits), "{hits}");
        assert!(!dice.hit(Ratio::ZERO));
        assert!(dice.hit(Ratio::ONE));
    }

    #[test]
    fn bounded_numbers_cover_their_range() {
        let dice = Dice::new(2);
        let mut seen = [0u32; 5];
        for _ in 0..5_000 {
            seen[dice.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (850..1_150).contains(n)), "{seen:?}");
        assert_eq!(dice.below(0), 0);
    }
}

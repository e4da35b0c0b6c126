//! Power of two choices: of two endpoints drawn at random, the less loaded one.
//!
//! Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing". Nothing is compared but the two, so the cost does not
//! grow with the pool, and a late view of the loads does not make every caller run to the same endpoint.

use meshkit_core::Dice;

/// Picks among `loads`: two distinct indices are drawn, the lower load wins, a tie goes to the first drawn.
#[must_use]
pub fn pick(loads: &[f64], dice: &Dice) -> Option<usize> {
    pick_by(loads.len(), dice, |i| loads[i])
}

/// As [`pick`], asking for the load only of the (at most) two that were drawn.
#[must_use]
pub fn pick_by(count: usize, dice: &Dice, load: impl Fn(usize) -> f64) -> Option<usize> {
    match count {
        0 => None,
        1 => Some(0),
        _ => {
            let bound = u32::try_from(count).unwrap_or(u32::MAX);
            let first = dice.below(bound) as usize;
            // One of the others: those from `first` on move up by one.
            let second = dice.below(bound - 1) as usize;
            let second = second + usize::from(second >= first);
            Some(if load(second) < load(first) { second } else { first })
        }
    }
}

/// Picks among endpoints of unequal weight: both draws follow the weights, and may hit the same endpoint. `sums[i]` is the sum of the weights
/// up to and including that of `i`, so that the cost grows with the logarithm of the pool.
///
/// If the draws had to be distinct, the shares of a small pool could not follow the weights at all (of two endpoints, both would always
/// be drawn). With independent draws and loads that compare evenly, every endpoint's share is exactly its weight's share.
#[must_use]
pub fn pick_weighted(sums: &[u64], dice: &Dice, load: impl Fn(usize) -> f64) -> Option<usize> {
    let total = *sums.last().filter(|total| **total > 0)?;
    let draw = || {
        // The product fits: a share in 0.0..1.0 of a sum of u32.
        let ticket = (dice.unit() * total as f64) as u64;
        sums.partition_point(|sum| *sum <= ticket).min(sums.len() - 1)
    };
    let (first, second) = (draw(), draw());
    Some(if first != second && load(second) < load(first) { second } else { first })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    // Critical values of chi-square for p = 0.001, by degrees of freedom.
    const CHI_9: f64 = 27.88;

    fn chi_square(seen: &[u32], expected: &[f64]) -> f64 {
        seen.iter().zip(expected).map(|(n, e)| (f64::from(*n) - e).powi(2) / e).sum()
    }

    #[test]
    fn equal_loads_are_drawn_evenly() {
        let (dice, loads) = (Dice::new(42), [1.0; 10]);
        let mut seen = [0u32; 10];
        for _ in 0..100_000 {
            seen[pick(&loads, &dice).unwrap()] += 1;
        }
        let chi = chi_square(&seen, &[10_000.0; 10]);
        assert!(chi < CHI_9, "{chi} {seen:?}");
    }

    #[test]
    fn distinct_loads_are_drawn_as_two_choices_predict() {
        let dice = Dice::new(43);
        let loads: Vec<f64> = (0..10).map(f64::from).collect();
        let mut seen = [0u32; 10];
        for _ in 0..90_000 {
            seen[pick(&loads, &dice).unwrap()] += 1;
        }
        assert_eq!(seen[9], 0, "the most loaded of distinct endpoints never wins");
        // Of the 45 pairs, endpoint i wins the 9 - i in which it meets a more loaded one.
        let expected: Vec<f64> = (0..9).map(|i| f64::from(9 - i) * 2_000.0).collect();
        let chi = chi_square(&seen[..9], &expected);
        assert!(chi < CHI_9, "{chi} {seen:?}");
    }

    #[test]
    fn equal_loads_of_unequal_weight_follow_the_weights() {
        // Weights 1, 2, 3, 0, 4.
        let (dice, sums) = (Dice::new(44), [1, 3, 6, 6, 10]);
        let mut seen = [0u32; 5];
        for _ in 0..100_000 {
            seen[pick_weighted(&sums, &dice, |_| 1.0).unwrap()] += 1;
        }
        assert_eq!(seen[3], 0);
        let chi = chi_square(&[seen[0], seen[1], seen[2], seen[4]], &[10_000.0, 20_000.0, 30_000.0, 40_000.0]);
        assert!(chi < CHI_9, "{chi} {seen:?}");
    }

    #[test]
    fn nothing_and_one_need_no_chance() {
        let dice = Dice::new(1);
        assert_eq!(pick(&[], &dice), None);
        assert_eq!(pick(&[f64::NAN], &dice), Some(0));
        assert_eq!(pick_weighted(&[], &dice, |_| 1.0), None);
        assert_eq!(pick_weighted(&[0, 0], &dice, |_| 1.0), None);
    }

    proptest! {
        #[test]
        fn the_less_loaded_of_two_always_wins(loads in vec(0.0f64..100.0, 2..=2), seed: u64) {
            let picked = loads[pick(&loads, &Dice::new(seed)).unwrap()];
            prop_assert!(picked <= loads[0] && picked <= loads[1]);
        }

        #[test]
        fn picks_are_in_range(count in 1usize..50, weights in vec(0u64..5, 50), seed: u64) {
            let dice = Dice::new(seed);
            prop_assert!(pick_by(count, &dice, |i| i as f64).unwrap() < count);
            let sums: Vec<_> = weights[..count].iter().scan(0, |sum, weight| { *sum += weight; Some(*sum) }).collect();
            match pick_weighted(&sums, &dice, |i| i as f64) {
                Some(i) => prop_assert!(weights[i] > 0),
                None => prop_assert_eq!(sums[count - 1], 0),
            }
        }
    }
}

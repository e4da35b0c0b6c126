//! Whom it hits, and that a seed repeats it.

use http::StatusCode;
use meshkit_core::{Cause, Dice};
use tokio::time::{Duration, Instant};

use super::{abort, ask, counts, layer, rate, ratio};
use crate::{Delay, Fault, FaultLayer, Kind};

/// How far observed counts are from expected ones.
fn chi_square(seen: &[u32], expected: &[f64]) -> f64 {
    seen.iter().zip(expected).map(|(seen, expected)| (f64::from(*seen) - expected).powi(2) / expected).sum()
}

#[tokio::test(start_paused = true)]
async fn two_faults_hit_their_shares_and_do_not_know_of_each_other() {
    const N: u32 = 20_000;
    // Delays that last no time at all can be told from none, by their count.
    let nothing = Fault::new(Kind::Delay(Delay::Fixed(Duration::ZERO)));
    let layer = layer(vec![nothing.share(ratio(0.3)), abort(StatusCode::BAD_GATEWAY).share(ratio(0.1))]);
    let mut seen = [0; 4];
    for _ in 0..N {
        let before = layer.counts().delayed();
        let aborted = usize::from(ask(&layer).await.is_err());
        let delayed = usize::from(layer.counts().delayed() > before);
        seen[2 * delayed + aborted] += 1;
    }
    let expected = [0.7 * 0.9, 0.7 * 0.1, 0.3 * 0.9, 0.3 * 0.1].map(|share| share * f64::from(N));
    // Three degrees of freedom: by chance alone, one seed in a thousand is beyond this.
    assert!(chi_square(&seen, &expected) < 16.27, "{seen:?}");
}

#[tokio::test]
async fn nobody_and_everybody_are_shares() {
    for (share, hits) in [(0.0, 0), (1.0, 1_000)] {
        let layer = layer(vec![rate(1).share(ratio(share))]);
        for _ in 0..1_000 {
            assert!(ask(&layer).await.is_ok());
        }
        assert_eq!(counts(&layer), [0, 0, 0, hits]);
    }
}

/// Everything that happened to some requests: how long each took, and how it ended.
async fn run(seed: u64) -> Vec<(Duration, Option<Cause>)> {
    let faults = vec![
        Fault::new(Kind::Delay(Delay::Normal { mean: Duration::from_millis(300), deviation: Duration::from_millis(50) })).share(ratio(0.5)),
        Fault::new(Kind::Delay(Delay::Exponential { mean: Duration::from_millis(100) })).share(ratio(0.5)),
        abort(StatusCode::BAD_GATEWAY).share(ratio(0.3)),
        Fault::new(Kind::Reset).share(ratio(0.1)),
    ];
    let layer = FaultLayer::new(faults, Dice::new(seed));
    let mut seen = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        let failed = ask(&layer).await.err().map(|error| error.cause().clone());
        seen.push((begun.elapsed(), failed));
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_a_run() {
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
}

#[tokio::test]
async fn a_seed_repeats_a_run_of_an_earlier_release() {
    let layer = layer(vec![abort(StatusCode::BAD_GATEWAY).share(ratio(0.3))]);
    let mut hit = Vec::new();
    for n in 0..32 {
        if ask(&layer).await.is_err() {
            hit.push(n);
        }
    }
    // From a SplitMix64 that is not ours.
    assert_eq!(hit, [8, 15, 20, 21, 23, 24, 25, 28]);
}

#[tokio::test]
async fn services_of_one_layer_share_the_dice() {
    // Were the die copied, each new service would roll the same first number.
    let layer = layer(vec![abort(StatusCode::BAD_GATEWAY).share(ratio(0.5))]);
    let mut failed = 0;
    for _ in 0..64 {
        failed += u32::from(ask(&layer.clone()).await.is_err());
    }
    assert!((16..48).contains(&failed), "{failed}");
}

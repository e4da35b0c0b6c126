use meshkit_core::Ratio;

pub(super) const WANTED: &str = "a share from 0% to 100%, such as 12.5%";

pub(super) fn share(text: &str) -> Option<Ratio> {
    let percent = text.strip_suffix('%')?;
    // `f64` would also read signs, exponents and names.
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let legal = percent.split_once('.').map_or(is_number(percent), |(whole, part)| is_number(whole) && is_number(part));
    // The point is moved in the text: a division would round a second time.
    legal.then(|| format!("{percent}e-2").parse::<f64>().ok()).flatten().and_then(Ratio::new)
}

/// The shortest text that is read as the same share.
pub(super) fn percentage(ratio: Ratio) -> String {
    // An `f64` is written without an exponent, and with no more digits than tell it from its neighbours.
    let share = ratio.get().abs().to_string();
    let (whole, part) = share.split_once('.').unwrap_or((&share, ""));
    let digits = format!("{whole}{part:0<2}");
    let (percent, part) = digits.split_at(whole.len() + 2);
    let percent = percent.trim_start_matches('0');
    let percent = if percent.is_empty() { "0" } else { percent };
    if part.is_empty() { format!("{percent}%") } else { format!("{percent}.{part}%") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_are_written_as_people_do() {
        for (ratio, text) in
            [(1.0, "100%"), (0.0, "0%"), (-0.0, "0%"), (0.5, "50%"), (0.07, "7%"), (0.125, "12.5%"), (0.001, "0.1%"), (1e-7, "0.00001%")]
        {
            let ratio = Ratio::new(ratio).unwrap();
            assert_eq!(percentage(ratio), text);
            assert_eq!(share(text), Some(ratio), "{text}");
        }
    }

    #[test]
    fn only_percentages_are_shares() {
        for bad in ["", "%", "5", "5.%", ".5%", "1.2.3%", "-5%", "+5%", "1e1%", "NaN%", "inf%", "5 %", "100.1%", "101%", "5%%", "٥%"] {
            assert_eq!(share(bad), None, "{bad:?}");
        }
        assert_eq!(share("0012.50%"), Ratio::new(0.125));
        assert_eq!(share(&format!("{}%", "9".repeat(400))), None);
    }

    proptest! {
        #[test]
        fn every_share_is_read_back(share in 0.0f64..=1.0, shift in 0i32..300) {
            for share in [share, share * 10f64.powi(-shift)] {
                let ratio = Ratio::new(share).unwrap();
                prop_assert_eq!(super::share(&percentage(ratio)), Some(ratio));
            }
        }
    }
}

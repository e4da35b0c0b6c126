//! Quantities of Kubernetes, as far as they are needed: is it one, and how many whole processors is it?
//!
//! Source: Kubernetes, `apimachinery/pkg/api/resource/quantity.go`.

/// Suffixes and their powers of ten or two.
const SUFFIXES: &[(&str, f64)] = &[
    ("", 1.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
];

/// The amount; nothing if the text is no quantity, or a negative one.
#[must_use]
pub fn parse(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.chars().any(|c| c.is_ascii_digit()).then(|| number.parse().ok())??;
    if let Some((_, factor)) = SUFFIXES.iter().find(|(known, _)| *known == suffix) {
        return Some(number * factor);
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    (exponent.len() <= 4).then(|| exponent.parse::<i32>().ok()).flatten().map(|e| number * 10_f64.powi(e))
}

/// How many whole processors it takes.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked right before.
pub fn whole_cores(text: &str) -> Option<u32> {
    // A thousandth is the smallest part of a processor; less is an error of the division.
    let cores = ((parse(text)? * 1e3).round() / 1e3).ceil();
    (cores <= f64::from(u32::MAX)).then_some(cores as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_rounded_up() {
        let cases = [("100m", 1), ("1", 1), ("1.5", 2), ("2000m", 2), ("2001m", 3), ("0", 0), ("1e1", 10), ("3.0", 3), ("1100m", 2)];
        for (text, cores) in cases {
            assert_eq!(whole_cores(text), Some(cores), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "m", ".", "1x", "-1", "1 ", "1..2", "1.2.3", "Gi", "1e", "NaN", "inf"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!((parse("20Mi"), parse(".5"), parse("1E")), (Some(20_971_520.0), Some(0.5), Some(1e18)));
    }
}

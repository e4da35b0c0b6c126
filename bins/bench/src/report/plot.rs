//! Bars, as SVG: one for each peer, with its spread.

use std::fmt::Write as _;

use super::Row;
use crate::{peer::Peer, scenario::Scenario, statistics::Spread};

const WIDTH: f64 = 640.0;
const BAR: f64 = 26.0;
const GAP: f64 = 10.0;
const TOP: f64 = 44.0;
const LABELS: f64 = 80.0;
const NUMBERS: f64 = 150.0;

/// A plot of what a scenario compares.
pub(super) fn bars(scenario: &Scenario, row: &Row) -> String {
    let values: Vec<(Peer, Spread)> = Peer::ALL
        .iter()
        .filter(|peer| **peer != Peer::Direct)
        .filter_map(|peer| Some((*peer, row.value(*peer, scenario.metric)?)))
        .collect();
    let longest = values.iter().map(|(_, value)| value.most).fold(f64::MIN_POSITIVE, f64::max);
    let height = (BAR + GAP).mul_add(values.len() as f64, TOP + GAP);
    let scale = |value: f64| (value.max(0.0) / longest) * (WIDTH - LABELS - NUMBERS);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"26\" font-size=\"15\" fill=\"#1a1a1a\">{}: {}</text>\n",
        escape(scenario.title),
        escape(scenario.metric.title())
    );
    for (index, (peer, value)) in values.iter().enumerate() {
        let y = (BAR + GAP).mul_add(index as f64, TOP);
        let middle = y + BAR / 2.0;
        let color = if *peer == Peer::Ours { "#2a6f97" } else { "#a9b4bd" };
        let (least, most) = (LABELS + scale(value.least), LABELS + scale(value.most));
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{text}\" fill=\"#1a1a1a\">{peer}</text>\
             <rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{color}\"/>\
             <path d=\"M{least:.1} {middle}H{most:.1}M{least:.1} {up}v8M{most:.1} {up}v8\" stroke=\"#1a1a1a\" fill=\"none\"/>\
             <text x=\"{number:.1}\" y=\"{text}\" fill=\"#1a1a1a\">{median}</text>",
            text = middle + 4.5,
            width = scale(value.median),
            up = middle - 4.0,
            number = most + 8.0,
            median = short(value.median),
        );
    }
    svg + "</svg>\n"
}

/// Three digits.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{measure::Sample, scenario};

    #[test]
    fn a_bar_is_as_long_as_its_value() {
        let sample = |cpu: f64| Sample { requests: 1_000_000, outbound_cpu: cpu, ..Sample::default() };
        let mut row = Row::default();
        row.samples.insert(Peer::Ours, vec![sample(50.0)]);
        row.samples.insert(Peer::Envoy, vec![sample(100.0)]);
        let svg = bars(&scenario::ALL[0], &row);
        assert!(svg.contains("width=\"205.0\" height=\"26\" fill=\"#2a6f97\""), "{svg}");
        assert!(svg.contains("width=\"410.0\" height=\"26\" fill=\"#a9b4bd\""), "{svg}");
        assert_eq!((svg.matches("<svg").count(), svg.matches("</svg>").count()), (1, 1));
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([1234.5, 45.67, 1.234, 0.01].map(short), ["1234", "45.7", "1.23", "0.01"]);
    }
}

use std::fmt::{self, Write as _};

use super::labels::{LabelWriter, Labels};

/// How a family spells its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // There are these two.
pub enum Generation {
    /// Names as they are given.
    Legacy,
    /// The unit and, on counters, `_total` are appended to the names.
    Open,
}

/// What a family's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
    /// Quantiles.
    Summary,
}

/// The unit of an OpenMetrics family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Lengths of time, and points of time since 1970.
    Seconds,
    /// Amounts of data.
    Bytes,
}

impl Unit {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// Something that can be a series of a family.
pub trait Metric: Send + Sync + Sized + 'static {
    /// What all series of a family have in common, for instance the bounds of the buckets.
    type Shape: Clone + PartialEq + Send + Sync + 'static;
    /// What the numbers mean.
    const KIND: Kind;

    /// A series that has counted nothing.
    fn new(shape: &Self::Shape) -> Self;

    /// A number that is another one after an update. It tells idle series from busy ones without a clock reading per event.
    fn stamp(&self) -> u64;

    /// Prints the samples.
    fn encode(&self, out: &mut Samples<'_>);
}

/// The text of a scrape, while it is written.
#[derive(Debug)]
pub struct Encoder {
    out: String,
    labels: String,
    generation: Generation,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { out: String::with_capacity(64 * 1024), labels: String::with_capacity(512), generation: Generation::Legacy }
    }

    pub(super) fn generation(&mut self, generation: Generation) {
        self.generation = generation;
    }

    /// Prints a family; nothing at all, not even the header, if `each` prints no sample.
    pub fn family(&mut self, name: &str, help: &str, kind: Kind, unit: Option<Unit>, each: impl FnOnce(&mut Samples<'_>)) {
        let open = self.generation == Generation::Open;
        let mut full = name.to_owned();
        if let Some(unit) = unit.filter(|_| open) {
            let _ = write!(full, "_{}", unit.as_str());
        }
        let begin = self.out.len();
        let _ = write!(self.out, "# HELP {full} ");
        for c in help.chars() {
            match c {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                c => self.out.push(c),
            }
        }
        let _ = writeln!(self.out, "\n# TYPE {full} {}", kind.as_str());
        if let Some(unit) = unit.filter(|_| open) {
            let _ = writeln!(self.out, "# UNIT {full} {}", unit.as_str());
        }
        if open && kind == Kind::Counter {
            full.push_str("_total");
        }
        let header_end = self.out.len();
        self.labels.clear();
        each(&mut Samples { out: &mut self.out, name: &full, labels: &mut self.labels, generation: self.generation });
        if self.out.len() == header_end {
            self.out.truncate(begin);
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.out.push_str("# EOF\n");
        self.out
    }
}

/// Prints the samples of one family.
#[derive(Debug)]
pub struct Samples<'a> {
    out: &'a mut String,
    name: &'a str,
    labels: &'a mut String,
    generation: Generation,
}

impl Samples<'_> {
    /// Prints what `each` prints with `labels` behind the labels that are there already.
    pub fn with(&mut self, labels: &(impl Labels + ?Sized), each: impl FnOnce(&mut Samples<'_>)) {
        let before = self.labels.len();
        labels.write(&mut LabelWriter::new(self.labels));
        each(self);
        self.labels.truncate(before);
    }

    /// Prints a counter's value.
    pub fn counter(&mut self, value: u64) {
        // Beyond 2^53 a float does not hold every integer: `rate()` takes the wrap for a restart, and stays exact.
        const EXACT: u64 = (1 << 53) - 1;
        let value = if self.generation == Generation::Legacy { value & EXACT } else { value };
        self.line("", value);
    }

    /// Prints a whole number.
    pub fn integer(&mut self, value: i64) {
        self.line("", value);
    }

    /// Prints a number with a fraction.
    pub fn float(&mut self, value: f64) {
        let number = self.number(value);
        self.line("", number);
    }

    /// Prints a histogram: `buckets` are the counts by bound, one more than there are bounds.
    pub(super) fn histogram(&mut self, bounds: &[f64], buckets: &[u64], sum: f64) {
        let mut count = 0;
        for (i, bucket) in buckets.iter().enumerate() {
            count += bucket;
            let bound = self.number(bounds.get(i).copied().unwrap_or(f64::INFINITY));
            self.with(&[("le", bound)], |out| out.line("_bucket", count));
        }
        self.line("_count", count);
        let sum = self.number(sum);
        self.line("_sum", sum);
    }

    /// Prints quantiles.
    pub(super) fn summary(&mut self, quantiles: &[(f64, f64)], count: u64, sum: f64) {
        for (quantile, value) in quantiles {
            let value = self.number(*value);
            self.with(&[("quantile", quantile)], |out| out.line("", value));
        }
        self.line("_count", count);
        let sum = self.number(sum);
        self.line("_sum", sum);
    }

    fn number(&self, value: f64) -> Number {
        Number { value, open: self.generation == Generation::Open }
    }

    fn line(&mut self, suffix: &str, value: impl fmt::Display) {
        let _ = match self.labels.is_empty() {
            true => writeln!(self.out, "{}{suffix} {value}", self.name),
            false => writeln!(self.out, "{}{suffix}{{{}}} {value}", self.name, self.labels),
        };
    }
}

/// A float as each generation spells it: the older writes `1`, OpenMetrics `1.0`. It matters where it is a label (`le`).
#[derive(Clone, Copy)]
struct Number {
    value: f64,
    open: bool,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            v if v.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            v if self.open => write!(f, "{v:?}"),
            v => write!(f, "{v}"),
        }
    }
}

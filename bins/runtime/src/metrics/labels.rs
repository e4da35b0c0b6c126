use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

/// Values that tell one series of a family from another.
///
/// Two values that are not equal should write different text: series with the same labels make a scrape ambiguous.
pub trait Labels {
    /// Writes the pairs, in the order in which they are printed.
    fn write(&self, out: &mut LabelWriter<'_>);
}

/// Writes `key="value"` pairs, separated by single commas and escaped.
#[derive(Debug)]
pub struct LabelWriter<'a> {
    out: &'a mut String,
}

impl<'a> LabelWriter<'a> {
    pub(super) fn new(out: &'a mut String) -> Self {
        Self { out }
    }

    /// Writes one pair. An empty value is printed. Characters that may not stand in a key become `_`.
    pub fn pair(&mut self, key: impl fmt::Display, value: impl fmt::Display) {
        if !self.out.is_empty() {
            self.out.push(',');
        }
        let begin = self.out.len();
        // Writing to a `String` does not fail; a `Display` that reports an error has written what it could.
        let _ = write!(Key { out: self.out, begin }, "{key}");
        if self.out.len() == begin {
            self.out.push('_');
        }
        self.out.push_str("=\"");
        let _ = write!(Value(self.out), "{value}");
        self.out.push('"');
    }

    /// Writes the pairs of another set.
    pub fn all(&mut self, labels: &(impl Labels + ?Sized)) {
        labels.write(self);
    }
}

/// Lets through what `[a-zA-Z_][a-zA-Z0-9_]*` allows: keys may come from a peer (`dst_*`, `rt_*`).
struct Key<'a> {
    out: &'a mut String,
    begin: usize,
}

impl fmt::Write for Key<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let first = self.out.len() == self.begin;
            let fits = c == '_' || c.is_ascii_alphabetic() || (c.is_ascii_digit() && !first);
            self.out.push(if fits { c } else { '_' });
        }
        Ok(())
    }
}

struct Value<'a>(&'a mut String);

impl fmt::Write for Value<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

impl Labels for () {
    fn write(&self, _: &mut LabelWriter<'_>) {}
}

impl<L: Labels + ?Sized> Labels for &L {
    fn write(&self, out: &mut LabelWriter<'_>) {
        (**self).write(out);
    }
}

impl<L: Labels + ?Sized> Labels for Arc<L> {
    fn write(&self, out: &mut LabelWriter<'_>) {
        (**self).write(out);
    }
}

impl<L: Labels> Labels for Option<L> {
    fn write(&self, out: &mut LabelWriter<'_>) {
        if let Some(labels) = self {
            labels.write(out);
        }
    }
}

impl<A: Labels, B: Labels> Labels for (A, B) {
    fn write(&self, out: &mut LabelWriter<'_>) {
        self.0.write(out);
        self.1.write(out);
    }
}

impl<A: Labels, B: Labels, C: Labels> Labels for (A, B, C) {
    fn write(&self, out: &mut LabelWriter<'_>) {
        self.0.write(out);
        self.1.write(out);
        self.2.write(out);
    }
}

impl<A: Labels, B: Labels, C: Labels, D: Labels> Labels for (A, B, C, D) {
    fn write(&self, out: &mut LabelWriter<'_>) {
        self.0.write(out);
        self.1.write(out);
        self.2.write(out);
        self.3.write(out);
    }
}

/// Pairs as they are.
impl<K: fmt::Display, V: fmt::Display> Labels for [(K, V)] {
    fn write(&self, out: &mut LabelWriter<'_>) {
        for (key, value) in self {
            out.pair(key, value);
        }
    }
}

/// Pairs as they are.
impl<K: fmt::Display, V: fmt::Display> Labels for Vec<(K, V)> {
    fn write(&self, out: &mut LabelWriter<'_>) {
        self.as_slice().write(out);
    }
}

/// Pairs as they are.
impl<K: fmt::Display, V: fmt::Display, const N: usize> Labels for [(K, V); N] {
    fn write(&self, out: &mut LabelWriter<'_>) {
        self.as_slice().write(out);
    }
}

use std::{fmt, ops::Deref};

/// An annotation does not describe a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFault {
    field: &'static str,
    value: String,
    /// What is wrong within the value, if it is not the whole of it.
    part: Option<String>,
    wanted: &'static str,
}

/// Annotations that do not describe faults: one or more of [`InvalidFault`], told together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFaults(Vec<InvalidFault>);

impl InvalidFault {
    pub(super) fn new(field: &'static str, value: &str, wanted: &'static str) -> Self {
        Self { field, value: shortened(value), part: None, wanted }
    }

    /// What was seen so far is a part of this.
    pub(super) fn within(mut self, value: &str) -> Self {
        let value = shortened(value);
        if value != self.value {
            self.part = Some(std::mem::replace(&mut self.value, value));
        }
        self
    }

    /// The annotation.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// What it says, or the beginning of it.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(300).collect()
}

impl InvalidFaults {
    /// Of at least one.
    pub(super) const fn new(errors: Vec<InvalidFault>) -> Self {
        Self(errors)
    }
}

impl Deref for InvalidFaults {
    type Target = [InvalidFault];

    fn deref(&self) -> &[InvalidFault] {
        &self.0
    }
}

impl IntoIterator for InvalidFaults {
    type Item = InvalidFault;
    type IntoIter = std::vec::IntoIter<InvalidFault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a InvalidFaults {
    type Item = &'a InvalidFault;
    type IntoIter = std::slice::Iter<'a, InvalidFault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for InvalidFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, part, wanted } = self;
        match part {
            Some(part) => write!(f, "{field}: {part:?} in {value:?} is not {wanted}"),
            None => write!(f, "{field}: {value:?} is not {wanted}"),
        }
    }
}

impl std::error::Error for InvalidFault {}

impl fmt::Display for InvalidFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidFaults {}

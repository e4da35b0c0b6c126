use std::fmt;

/// The longest pattern that is accepted, in bytes.
const MAX_LEN: usize = 4096;
/// What a compiled pattern may take, in bytes: a peer chooses the pattern. As much as in the compatible system, lest one proxy
/// take a policy that another one refuses.
const MAX_SIZE: usize = 10 << 20;

/// A regular expression that must match the whole text. Two are equal if their patterns are.
#[derive(Clone, Debug)]
pub struct Regex(regex::Regex);

/// The pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRegex(String);

impl Regex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// It is not a regular expression, or too large.
    pub fn new(pattern: &str) -> Result<Self, InvalidRegex> {
        if pattern.len() > MAX_LEN {
            return Err(InvalidRegex(format!("a pattern of {} bytes is longer than the limit of {MAX_LEN}", pattern.len())));
        }
        regex::RegexBuilder::new(pattern).size_limit(MAX_SIZE).build().map(Self).map_err(|e| InvalidRegex(e.to_string()))
    }

    /// The pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Does the leftmost match span the whole text? So `a|ab` does not match `ab`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.0.find(text).is_some_and(|found| found.start() == 0 && found.end() == text.len())
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Regex {}

impl fmt::Display for InvalidRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidRegex {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_expression_or_too_large_is_refused() {
        assert!(Regex::new("(").unwrap_err().to_string().contains("unclosed group"));
        assert!(Regex::new(&"a".repeat(MAX_LEN + 1)).unwrap_err().to_string().contains("longer than the limit of 4096"));
        assert!(Regex::new("((a{1000}){1000}){1000}").is_err());
        assert_eq!(Regex::new("a+"), Regex::new("a+"));
        assert_ne!(Regex::new("a+"), Regex::new("aa*"));
    }
}

//! The words of a command line, as the parser wants them: in Linkerd's, flags may stand before the command, and long ones of controllers have one dash.

use std::ffi::OsString;

/// Flags that stand alone wherever they are.
const ALONE: &[&str] = &["-h", "--help", "-V", "--version", "--verbose", "-v"];

/// Puts the words in order.
pub(crate) fn ordered(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.get(1).is_some_and(|word| word == "controller") {
        return meshkit_destination::args::go_flags(words).collect();
    }
    let before = before_command(&words);
    // `mesh -n web check`: what stands before the command is said to it.
    if before > 1 && before < words.len() {
        words[1..=before].rotate_right(1);
    }
    words
}

/// Where the command stands: after the flags, and the values of those that have some.
fn before_command(words: &[OsString]) -> usize {
    let mut at = 1;
    while let Some(word) = words.get(at).and_then(|word| word.to_str()).filter(|word| word.starts_with('-')) {
        at += if word.contains('=') || ALONE.contains(&word) { 1 } else { 2 };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        ordered(text.split(' ').map(OsString::from).collect()).join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn only_controllers_take_long_flags_with_one_dash() {
        let words = "mesh controller destination -addr=:8086 --metrics-addr=:1";
        assert_eq!(told(words), "mesh controller destination --addr=:8086 --metrics-addr=:1");
        assert_eq!(told("mesh tap -max 3"), "mesh tap -max 3");
    }

    #[test]
    fn flags_may_stand_before_the_command() {
        assert_eq!(told("mesh -n emojivoto check --proxy"), "mesh check -n emojivoto --proxy");
        assert_eq!(told("mesh --namespace=web -L mesh check"), "mesh check --namespace=web -L mesh");
        assert_eq!(told("mesh --verbose check"), "mesh check --verbose");
        for same in ["mesh", "mesh --help", "mesh --version", "mesh check -n x", "mesh -n", "mesh -n x"] {
            assert_eq!(told(same), same);
        }
    }
}

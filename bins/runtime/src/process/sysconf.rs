//! The two constants of the system that `/proc` counts in.

#![allow(unsafe_code)]

/// Clock ticks per second.
pub(super) fn clock_ticks() -> Option<u64> {
    // SAFETY: `sysconf` takes a number, returns a number, and has no preconditions.
    positive(unsafe { libc::sysconf(libc::_SC_CLK_TCK) })
}

/// Bytes per page of memory.
pub(super) fn page_size() -> Option<u64> {
    // SAFETY: `sysconf` takes a number, returns a number, and has no preconditions.
    positive(unsafe { libc::sysconf(libc::_SC_PAGESIZE) })
}

fn positive(value: libc::c_long) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}

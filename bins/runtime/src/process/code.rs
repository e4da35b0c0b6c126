//! Gives the memory of the start back.
//!
//! A program touches nearly all of its code while it starts: the kernel maps what surrounds each page that is touched, and what is mapped counts as
//! resident for as long as the process lives. What serves requests is a small part of it. Pages of code are copies of a file, so they can be
//! given back at any moment: what is still needed is mapped again when it is next run, from the page cache.

#![allow(unsafe_code)]

use std::{fs, io, ops::Range};

/// Unmaps every page of code of this process, and says how many bytes of mappings that were. Running code faults its own pages in again, so the
/// call costs some ten microseconds and the next requests a few page faults.
///
/// # Errors
/// `/proc/self/maps` cannot be read, or the kernel refuses: nothing is lost then but the saving.
pub fn release() -> io::Result<usize> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mut released = 0;
    for range in maps.lines().filter_map(mapping_of_code) {
        let start = std::ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the range is a mapping of this process that is backed by a file, private, executable and not writable. Nothing can have been
        // written to it, so what the kernel reads from the file again is what stood there; no Rust object lives in it. That nothing else is
        // mapped there by now: code is unmapped by `dlclose` alone, which nothing here calls.
        let code = unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) };
        if code != 0 {
            return Err(io::Error::last_os_error());
        }
        released += range.len();
    }
    Ok(released)
}

/// The addresses of a line of `/proc/self/maps`, if it is code from a file that cannot be written to.
fn mapping_of_code(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let file = fields.nth(3)?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    (permissions == "r-xp" && file.starts_with('/') && !range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_from_a_file_is_given_back() {
        let code = "55ca1c200000-55ca1cb00000 r-xp 003a9000 fe:00 1311 /usr/bin/mesh-proxy";
        assert_eq!(mapping_of_code(code), Some(0x55ca_1c20_0000..0x55ca_1cb0_0000));
        for kept in [
            "55ca1be00000-55ca1c200000 r--p 00000000 fe:00 1311 /usr/bin/mesh-proxy",
            "55ca1cb00000-55ca1cb08000 rw-p 00c00000 fe:00 1311 /usr/bin/mesh-proxy",
            "55ca1cb00000-55ca1cb08000 rwxp 00c00000 fe:00 1311 /usr/bin/mesh-proxy",
            "7ffc5a7f2000-7ffc5a7f4000 r-xp 00000000 00:00 0 [vdso]",
            "7ffc5a7f2000-7ffc5a7f4000 r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(mapping_of_code(kept), None, "{kept}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn less_is_resident_and_the_code_still_runs() {
        let resident = || -> u64 {
            let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
            let mut code = false;
            let mut sum = 0;
            for line in smaps.lines() {
                match line.strip_prefix("Rss:") {
                    Some(rss) if code => sum += rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap(),
                    Some(_) => {}
                    None if line.split_ascii_whitespace().next().is_some_and(|first| first.contains('-')) => {
                        code = mapping_of_code(line).is_some()
                    }
                    None => {}
                }
            }
            sum
        };
        let before = resident();
        assert!(release().unwrap() > 0);
        let after = resident();
        assert!(after < before, "{after} kB after {before} kB");
    }
}

use bytes::{Bytes, BytesMut};

/// Cuts a stream of bytes into lines. A line longer than the limit is skipped without being kept.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: BytesMut,
    /// So much of the buffer has no end of line.
    searched: usize,
    limit: usize,
    skipping: bool,
}

/// A line, or that there was one that is too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Whole(Bytes),
    TooLong,
}

impl Lines {
    pub(crate) fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, limit, skipping: false }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line that is there in full.
    pub(crate) fn next(&mut self) -> Option<Line> {
        loop {
            let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                if self.searched > self.limit || self.skipping {
                    self.buffer = BytesMut::new();
                    self.searched = 0;
                    self.skipping = true;
                }
                return None;
            };
            let end = self.searched + at;
            let mut line = self.buffer.split_to(end + 1);
            self.searched = 0;
            line.truncate(end);
            if std::mem::take(&mut self.skipping) || line.len() > self.limit {
                return Some(Line::TooLong);
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(Line::Whole(line.freeze()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_bytes_are_cut(
            lines in proptest::collection::vec("[a-z]{1,30}", 0..20),
            cuts in proptest::collection::vec(1usize..40, 1..60),
        ) {
            const LIMIT: usize = 20;
            let whole: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n\n"].concat()).collect();
            let mut cutter = Lines::new(LIMIT + 1);
            let (mut found, mut rest, mut cuts) = (Vec::new(), whole.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                cutter.push(chunk);
                rest = after;
                while let Some(line) = cutter.next() {
                    found.push(line);
                }
                prop_assert!(cutter.buffer.len() <= LIMIT + 1);
            }
            let wanted: Vec<_> = lines.iter().map(|line| match line.len() {
                0..=LIMIT => Line::Whole(Bytes::from(format!("{line}\r"))),
                _ => Line::TooLong,
            }).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}

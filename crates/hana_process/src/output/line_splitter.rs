/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The line's number in the output of its instance, from 0.
    pub number: u64,
    /// The line without its end, at most [`LineSplitter::MAX_LINE`] bytes. Invalid UTF-8 is replaced.
    pub text: String,
}

/// Splits a stream of bytes into lines, with bounded memory. Pure.
#[derive(Debug, Clone, Default)]
pub struct LineSplitter {
    /// The beginning of an incomplete line.
    partial: Vec<u8>,
    next: u64,
}

impl LineSplitter {
    /// The longest line, in bytes of UTF-8. Longer lines are cut.
    pub const MAX_LINE: usize = 4096;

    /// Creates a splitter that gives its first line the number `number`.
    #[must_use]
    pub const fn starting_at(number: u64) -> Self {
        Self { partial: vec![], next: number }
    }

    /// Returns the number of the next line.
    #[must_use]
    pub const fn next_number(&self) -> u64 {
        self.next
    }

    /// Adds bytes and calls `each` with the number and the raw bytes of each completed line.
    ///
    /// The bytes of a long line are cut; [`Line::new`] converts them to text.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(u64, &[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.partial.is_empty() {
                each(self.next, head);
            } else {
                self.keep(head);
                each(self.next, &self.partial);
                self.partial.clear();
            }
            self.next += 1;
        }
        self.keep(bytes);
    }

    /// Marks a gap in the input: drops the incomplete line and skips one number.
    pub fn gap(&mut self) {
        self.partial.clear();
        self.next += 1;
    }

    /// Ends the input and passes on the last line if it has no line end.
    pub fn finish(&mut self, mut each: impl FnMut(u64, &[u8])) {
        if !self.partial.is_empty() {
            each(self.next, &self.partial);
            self.partial.clear();
            self.next += 1;
        }
    }

    /// Adds to the incomplete line, up to a few bytes beyond the limit.
    ///
    /// With these bytes, [`Line::new`] recognizes a character that the limit cuts.
    fn keep(&mut self, bytes: &[u8]) {
        let room = (Self::MAX_LINE + 4).saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Line {
    /// Converts the raw bytes of a line to text.
    ///
    /// Removes a `\r` at the end, replaces invalid UTF-8, and cuts at a character boundary to
    /// [`LineSplitter::MAX_LINE`].
    #[must_use]
    pub fn new(number: u64, bytes: &[u8]) -> Self {
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let mut text =
            String::from_utf8_lossy(&bytes[..bytes.len().min(LineSplitter::MAX_LINE + 4)])
                .into_owned();
        text.truncate(text.floor_char_boundary(LineSplitter::MAX_LINE));
        Self { number, text }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<(u64, String)> {
        let mut splitter = LineSplitter::default();
        let mut lines = vec![];
        let mut each = |number, bytes: &[u8]| {
            let line = Line::new(number, bytes);
            lines.push((line.number, line.text));
        };
        for chunk in chunks {
            splitter.push(chunk, &mut each);
        }
        splitter.finish(&mut each);
        lines
    }

    #[test]
    fn line_is_complete_however_it_was_split() {
        let whole = [(0, "one".into()), (1, String::new()), (2, "zwölf".into()), (3, "end".into())];
        assert_eq!(lines(&["one\n\nzwölf\r\nend".as_bytes()]), whole);
        let text = "one\n\nzwölf\r\nend".as_bytes();
        let bytewise: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(lines(&bytewise), whole);
        assert!(lines(&[b""]).is_empty());
    }

    #[test]
    fn long_line_is_cut_at_a_character_boundary() {
        let long =
            format!("{}ä{}\nnext\n", "x".repeat(LineSplitter::MAX_LINE - 1), "y".repeat(9000));
        for size in [1, 7, 4096, 1 << 20] {
            let chunks: Vec<&[u8]> = long.as_bytes().chunks(size).collect();
            let lines = lines(&chunks);
            assert_eq!(lines[0].1, "x".repeat(LineSplitter::MAX_LINE - 1));
            assert_eq!(lines[1], (1, "next".into()));
        }
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        assert_eq!(lines(&[b"a\xffb\n"]), [(0, "a\u{fffd}b".into())]);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn splitting_into_chunks_changes_nothing(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(0xc3), any::<u8>()], 0..400),
            size in 1_usize..40,
        ) {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(lines(&chunks), lines(&[&bytes]));
        }
    }
}

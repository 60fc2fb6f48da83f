//! Splits any output, cut into pieces of any size: the lines are the same, numbered without gaps and bounded in
//! length, and the buffer between two pieces stays small.

use hana_process::{Line, LineSplitter};

/// The first byte is the size of the pieces.
pub(crate) fn check(bytes: &[u8]) {
    let Some((size, output)) = bytes.split_first() else { return };
    let whole = lines(output, usize::MAX);
    assert_eq!(lines(output, usize::from(*size) + 1), whole);
    assert_eq!(lines(output, 1), whole);
    let ends = output.split(|byte| *byte == b'\n').count() - 1;
    let unended = usize::from(output.last().is_some_and(|byte| *byte != b'\n'));
    assert_eq!(whole.len(), ends + unended);
    for (number, line) in (0..).zip(&whole) {
        assert_eq!(line.number, number);
        assert!(line.text.len() <= LineSplitter::MAX_LINE && !line.text.contains('\n'));
    }
}

fn lines(output: &[u8], size: usize) -> Vec<Line> {
    let mut splitter = LineSplitter::default();
    let mut lines = vec![];
    let mut keep = |number, bytes: &[u8]| {
        assert!(bytes.len() <= output.len());
        lines.push(Line::new(number, bytes));
    };
    for piece in output.chunks(size.min(output.len().max(1))) {
        splitter.push(piece, &mut keep);
    }
    splitter.finish(&mut keep);
    lines
}

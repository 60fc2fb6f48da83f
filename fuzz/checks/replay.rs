//! Puts every file of a corpus through its check.

use std::fs;
use std::path::PathBuf;

/// The folder of the corpora. The crates that replay them are two folders below the root.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");

pub(crate) fn replay(target: &str, check: fn(&[u8])) {
    let directory = PathBuf::from(CORPUS).join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap_or_else(|problem| panic!("{}: {problem}", directory.display()))
        .map(|entry| entry.expect("a corpus can be listed").path())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{} has only {} files", directory.display(), files.len());
    for file in files {
        // The test runner shows the path when the check fails; the check does not name its input.
        #[allow(clippy::print_stdout)]
        {
            println!("{}", file.display());
        }
        check(&fs::read(&file).expect("a file of the corpus can be read"));
    }
}

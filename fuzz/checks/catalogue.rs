//! Any text as a catalogue: a mistake is told in a line with its place, and every entry of one that is taken is
//! found by its name.

use std::path::Path;

use hana_process::{Catalogue, CatalogueError};

pub(crate) fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Catalogue::parse(&text, Path::new("/show/visualizations.toml")) {
        Ok(catalogue) => {
            for entry in catalogue.entries() {
                assert_eq!(catalogue.get(entry.name.as_str()), Ok(entry));
                assert!(!entry.program.is_empty());
            }
        },
        Err(CatalogueError::Invalid { line, key, message, .. }) => {
            assert!((1..=text.matches('\n').count() + 1).contains(&line), "line {line}");
            assert!(!key.contains('\n') && !message.contains('\n'), "{key}: {message}");
        },
        Err(problem @ CatalogueError::Read { .. }) => panic!("nothing was read: {problem}"),
    }
}

//! Parses any text as a catalogue: an error has a line number and fits on one line, and every entry of an accepted
//! catalogue can be looked up by its name.

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
        Err(problem @ CatalogueError::Read { .. }) => panic!("no file is read: {problem}"),
    }
}

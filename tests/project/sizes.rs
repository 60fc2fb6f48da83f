//! No file and no folder grows beyond the size at which a reader loses track.

use std::fs;
use std::path::{Path, PathBuf};

use hana_lab::project_root;

/// Lines of production code in a file.
const MAX_LINES: usize = 600;
/// Source files in a folder.
const MAX_FILES: usize = 17;

/// Returns all folders below `folder`, and `folder` itself.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(folders(&path));
        }
    }
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect()
}

/// Returns the number of lines before the unit tests.
fn production_lines(source: &str) -> usize {
    source.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}

#[test]
fn files_and_folders_stay_small() {
    let mut too_large = Vec::new();
    for top in ["crates", "examples", "fixtures", "tests"] {
        for folder in folders(&project_root().join(top)) {
            let sources = sources(&folder);
            if sources.len() > MAX_FILES {
                too_large.push(format!("{}: {} files", folder.display(), sources.len()));
            }
            let is_production = folder.components().any(|part| part.as_os_str() == "src");
            let is_tests = |path: &Path| path.file_name().is_some_and(|name| name == "tests.rs");
            for path in sources.iter().filter(|path| is_production && !is_tests(path)) {
                let lines = production_lines(&fs::read_to_string(path).unwrap());
                if lines > MAX_LINES {
                    too_large.push(format!("{}: {lines} lines", path.display()));
                }
            }
        }
    }
    assert!(too_large.is_empty(), "{too_large:#?}");
}

#[test]
fn unit_tests_do_not_count_as_production_code() {
    assert_eq!(production_lines("fn a() {}\nfn b() {}\n#[cfg(test)]\nmod tests {\n}\n"), 2);
}

//! Checks that each randomised test of the workspace takes its cases from this crate.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;

/// Names that indicate a test whose cases may differ from run to run.
const ELSEWHERE: [&str; 5] =
    ["RngSeed", "ProptestConfig", "TestRunner", "\"HANA_SEED\"", "subsec_nanos"];

#[test]
fn every_property_test_takes_its_cases_from_hana_random() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut faults = vec![];
    let mut count = 0;
    for folder in ["crates", "examples", "tests", "fuzz"] {
        read(&root.join(folder), &mut |path, text| {
            // The lab passes the two environment variables on to its programs.
            let hands_on = path.ends_with("crates/hana_lab/src/environment.rs");
            if hands_on || path.ancestors().any(|folder| folder.ends_with("hana_random")) {
                return;
            }
            for (line, after) in text.lines().zip(text.lines().skip(1)) {
                if !line.trim_start().starts_with("//") && line.trim_end().ends_with("proptest! {")
                {
                    count += 1;
                    if !after.contains("#![proptest_config(hana_random::cases(") {
                        faults.push(format!("{}: `proptest!` without its cases", path.display()));
                    }
                }
            }
            let found = ELSEWHERE.iter().filter(|word| text.contains(*word));
            faults.extend(found.map(|word| format!("{}: {word}", path.display())));
        });
    }
    assert!(count > 20, "only {count} property tests found");
    assert!(faults.is_empty(), "use hana_random::cases:\n{}", faults.join("\n"));
}

fn read(folder: &Path, judge: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                read(&path, judge);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            judge(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

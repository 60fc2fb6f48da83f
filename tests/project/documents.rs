//! The documents and the repository agree: links, pages, commands, and the files on the path of a value.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use hana_lab::project_root;

/// The Markdown files outside of `docs/` and `tools/`.
const AT_THE_ROOT: [&str; 4] = ["README.md", "keyexprs.md", "CONTRIBUTING.md", "CHANGELOG.md"];
/// The table of contents of the book.
const SUMMARY: &str = "docs/SUMMARY.md";
/// The largest number of lines in a decision record.
const MOST_LINES: usize = 25;

/// Returns the Markdown files in a folder and its subfolders.
fn pages_in(folder: &Path) -> Vec<PathBuf> {
    let mut pages = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(pages_in(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages
}

fn all_pages() -> Vec<PathBuf> {
    let root = project_root();
    let mut pages: Vec<PathBuf> = AT_THE_ROOT.iter().map(|name| root.join(name)).collect();
    pages.extend(pages_in(&root.join("docs")));
    pages.extend(pages_in(&root.join("tools")));
    pages
}

/// Returns a page without its code blocks.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap();
    let mut is_code = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if !is_code && !line.starts_with("    ") {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// Returns the indented code lines of a page, without their comments.
fn commands(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let code = text.lines().filter_map(|line| line.strip_prefix("    "));
    code.map(|line| line.split(" #").next().unwrap().trim().to_owned()).collect()
}

/// Returns the targets of the relative links of a page, each with its anchor.
fn links(page: &Path) -> Vec<(String, Option<String>)> {
    let prose = prose(page);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let is_relative = |target: &&str| !target.contains("://") && !target.starts_with("mailto:");
    targets
        .filter(is_relative)
        .map(|target| match target.split_once('#') {
            Some((file, anchor)) => (file.to_owned(), Some(anchor.to_owned())),
            None => (target.to_owned(), None),
        })
        .collect()
}

/// Returns the anchors of a page's headings, as GitHub and mdBook derive them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut broken = vec![];
    for page in all_pages() {
        for (file, anchor) in links(&page) {
            let target =
                if file.is_empty() { page.clone() } else { page.parent().unwrap().join(&file) };
            let is_page = target.extension().is_some_and(|extension| extension == "md");
            let is_found = target.exists()
                && (!is_page || anchor.as_ref().is_none_or(|name| anchors(&target).contains(name)));
            if !is_found {
                broken.push(format!("{}: {file} {anchor:?}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_source_file_that_is_named_exists() {
    let changes = project_root().join("CHANGELOG.md");
    let mut missing = vec![];
    for page in all_pages().into_iter().filter(|page| *page != changes) {
        let prose = prose(&page);
        let quoted = prose.split('`').skip(1).step_by(2);
        let is_source = |name: &&str| {
            let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
            name.contains('/') && matches!(extension, Some("rs" | "sh" | "py"))
        };
        for name in quoted.filter(is_source).filter(|name| !project_root().join(name).exists()) {
            missing.push(format!("{}: {name}", page.display()));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_page_is_in_the_summary_once() {
    let docs = project_root().join("docs");
    let mut listed: Vec<PathBuf> =
        links(&project_root().join(SUMMARY)).into_iter().map(|(file, _)| docs.join(file)).collect();
    let mut pages = pages_in(&docs);
    pages.retain(|page| *page != project_root().join(SUMMARY));
    listed.sort();
    pages.sort();
    assert_eq!(listed, pages);
}

#[test]
fn every_decision_is_short_and_listed() {
    let folder = project_root().join("docs/decisions");
    let index = folder.join("README.md");
    let listed: BTreeSet<PathBuf> =
        links(&index).into_iter().map(|(file, _)| folder.join(file)).collect();
    for record in pages_in(&folder).into_iter().filter(|page| *page != index) {
        let lines = fs::read_to_string(&record).unwrap().lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines", record.display());
        assert!(listed.contains(&record), "{} is not in the index", record.display());
    }
}

#[test]
fn path_of_a_value_passes_no_file_twice() {
    let page = project_root().join("docs/internals/value_path.md");
    let files: Vec<String> = prose(&page)
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .map(|line| line.split(['[', ']']).nth(1).unwrap().to_owned())
        .collect();
    let different: BTreeSet<&String> = files.iter().collect();
    assert!(files.len() > 10, "{files:?}");
    assert_eq!(different.len(), files.len(), "{files:#?}");
    for file in files {
        assert!(project_root().join(&file).is_file(), "{file}");
    }
}

/// Sources that contain the snippets of the pages, and are compiled.
const COMPILED: [&str; 4] = [
    "crates/hana/tests/snippets.rs",
    "crates/hana_network/tests/snippets.rs",
    "crates/hana_network/src/lib.rs",
    "examples/hello_visualization/src/main.rs",
];

/// Removes from code what the formatter decides, and comments.
fn condensed(code: &str) -> String {
    let lines = code.lines().map(|line| line.strip_prefix("//!").unwrap_or(line));
    let code: String = lines.map(|line| line.split("//").next().unwrap_or_default()).collect();
    code.chars().filter(|letter| !letter.is_whitespace() && !"{};,".contains(*letter)).collect()
}

#[test]
fn every_rust_snippet_is_compiled() {
    let compiled: Vec<String> = COMPILED
        .iter()
        .map(|path| condensed(&fs::read_to_string(project_root().join(path)).unwrap()))
        .collect();
    let mut snippets = 0;
    for page in all_pages() {
        let text = fs::read_to_string(&page).unwrap();
        for snippet in text.split("```rust\n").skip(1) {
            snippets += 1;
            for part in snippet.split("```").next().unwrap().split("\n\n") {
                let code = condensed(part);
                assert!(
                    compiled.iter().any(|source| source.contains(&code)),
                    "{}: this is in none of {COMPILED:?}:\n{part}",
                    page.display()
                );
            }
        }
    }
    assert!(snippets > 10, "{snippets}");
}

#[test]
fn readme_shows_the_hello_visualization() {
    let example = project_root().join("examples/hello_visualization/src/main.rs");
    let example = fs::read_to_string(example).unwrap();
    let readme = fs::read_to_string(project_root().join("README.md")).unwrap();
    assert!(readme.contains(&format!("```rust\n{example}```")), "they differ");
}

/// Returns the help of a command, or `None` if there is no such command.
fn help(words: &[&str]) -> Option<String> {
    let tests = env::current_exe().unwrap();
    let programs = tests.parent().unwrap().parent().unwrap();
    let mut hana = Command::new(programs.join("hana"));
    let output = hana.arg("help").args(words).output().expect("`cargo build` has built hana");
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_command_in_the_documents_exists() {
    let mut wrong = vec![];
    for page in all_pages() {
        for line in commands(&page) {
            let Some(rest) = line.strip_prefix("hana ") else { continue };
            let words: Vec<&str> = rest.split_whitespace().collect();
            let names: Vec<&str> = words.iter().copied().take(2).collect();
            let help = help(&names).or_else(|| help(&names[..1]));
            let options = words.iter().filter(|word| word.starts_with("--"));
            let is_known = help.is_some_and(|help| options.clone().all(|name| help.contains(name)));
            if !is_known {
                wrong.push(format!("{}: {line}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

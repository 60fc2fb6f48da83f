use std::path::Path;
use std::path::PathBuf;

use thiserror::Error;

/// Something wrong in a file that a person has written in TOML: where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}:{line}: {key}: {message}", path.display())]
pub struct TomlMistake {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The key at that line, with its tables.
    pub key: String,
    /// What is wrong with it, and what would be right. One line.
    pub message: String,
}

impl TomlMistake {
    /// What `error` says of `text`, the content of the file at `path`.
    #[must_use]
    pub fn of(error: &toml::de::Error, text: &str, path: &Path) -> Self {
        let offset = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count();
        Self {
            path: path.into(),
            line: line + 1,
            key: key_at(text, line),
            message: error.message().replace('\n', "; "),
        }
    }
}

/// The key that stands at a line counted from 0, with the table it is in.
fn key_at(text: &str, line_at: usize) -> String {
    let mut table = "";
    let mut key = "";
    for (number, line) in text.lines().take(line_at + 1).map(str::trim).enumerate() {
        if let Some(header) = line.strip_prefix('[') {
            table = header.split(']').next().unwrap_or_default();
            key = "";
        } else if let Some((before, _)) = line.split_once('=')
            && !line.starts_with('#')
        {
            key = before.trim();
        } else if number == line_at
            && let Some(word) = line.split_whitespace().next().filter(is_bare_key)
        {
            // A key that has lost its `=`, not the go-on of a list.
            key = word;
        }
    }
    let parts: Vec<&str> = [table, key].into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "the file".into() } else { parts.join(".") }
}

fn is_bare_key(word: &&str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphabetic())
        && word.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'))
}

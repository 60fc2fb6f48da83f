//! Reads which file of a crate uses which other file, and finds cycles of files that use each other.
//!
//! Only production code counts, so code behind `cfg(test)` is left out. A use is an arrow from the file that contains
//! it to the file that *defines* the name; re-exports in between are followed. A module root that only declares its
//! modules and re-exports their names therefore has no arrows of its own.

mod arrows;
mod components;
mod module_tree;
mod resolve;
mod syntax;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use components::components;
use module_tree::ModuleTree;

/// The source files of a crate, by their path below the crate's `src`.
#[derive(Debug, Default)]
pub(crate) struct Sources(pub(crate) BTreeMap<PathBuf, String>);

/// A use of a name that another file defines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    /// The file that uses the name.
    pub(crate) from: PathBuf,
    /// The file that defines the name.
    pub(crate) to: PathBuf,
    /// The name, with the modules in its path.
    pub(crate) name: String,
    /// The line of the use in `from`.
    pub(crate) line: usize,
}

/// Files that all use each other, directly or through the other files of the cycle.
#[derive(Debug)]
pub(crate) struct Cycle {
    /// The files of the cycle.
    pub(crate) files: Vec<PathBuf>,
    /// All uses among these files.
    pub(crate) arrows: Vec<Arrow>,
}

/// A source that the checker cannot read.
#[derive(Debug)]
pub(crate) struct SourceError {
    file: PathBuf,
    reason: String,
}

impl Sources {
    /// Reads all Rust files below a crate's `src`.
    pub(crate) fn read(src: &Path) -> io::Result<Self> {
        let mut sources = Self::default();
        sources.add(src, src)?;
        Ok(sources)
    }

    fn add(&mut self, src: &Path, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.add(src, &path)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(src).map_err(io::Error::other)?.to_owned();
                self.0.insert(name, fs::read_to_string(&path)?);
            }
        }
        Ok(())
    }

    /// Returns the files at which the compiler starts: the library and each binary.
    fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys().filter(|path| {
            let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
            matches!(parts[..], ["lib.rs" | "main.rs"] | ["bin", _] | ["bin", _, "main.rs"])
        })
    }

    /// Lists all uses of names that other files define, each with its first line.
    pub(crate) fn arrows(&self) -> Result<Vec<Arrow>, SourceError> {
        let mut all = vec![];
        for root in self.roots() {
            all.extend(arrows::arrows(&ModuleTree::read(self, root)?));
        }
        all.sort();
        all.dedup_by(|next, first| {
            (&next.from, &next.to, &next.name) == (&first.from, &first.to, &first.name)
        });
        Ok(all)
    }

    /// Returns the cycles, the largest first.
    pub(crate) fn cycles(&self) -> Result<Vec<Cycle>, SourceError> {
        let arrows = self.arrows()?;
        let cycle = |files: Vec<PathBuf>| {
            let is_inside =
                |arrow: &&Arrow| files.contains(&arrow.from) && files.contains(&arrow.to);
            let arrows = arrows.iter().filter(is_inside).cloned().collect();
            Cycle { files, arrows }
        };
        let mut cycles: Vec<Cycle> = components(&arrows).into_iter().map(cycle).collect();
        cycles.sort_by_key(|cycle| std::cmp::Reverse(cycle.files.len()));
        Ok(cycles)
    }
}

impl SourceError {
    fn new(file: &Path, reason: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), reason: reason.to_string() }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.reason)
    }
}

impl std::error::Error for SourceError {}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, name, line } = self;
        write!(f, "{} uses {name} at line {line} ({})", from.display(), to.display())
    }
}

impl fmt::Display for Cycle {
    /// Writes the files, and one arrow for each pair of files; `{:#}` lists all arrows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
        writeln!(f, "{} files: {}", names.len(), names.join(", "))?;
        let mut last = None;
        for arrow in &self.arrows {
            let pair = (&arrow.from, &arrow.to);
            if f.alternate() || last.replace(pair) != Some(pair) {
                writeln!(f, "    {arrow}")?;
            }
        }
        Ok(())
    }
}

use std::env;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use etcetera::BaseStrategy;
use hana_process::Catalogue;
use hana_process::CatalogueError;
use serde::Deserialize;
use thiserror::Error;

/// What the daemon is told: how to find others, and what it may launch.
#[derive(Debug)]
pub(crate) struct DaemonConfig {
    pub(crate) interface: Option<String>,
    pub(crate) multicast: bool,
    pub(crate) connect: Vec<String>,
    pub(crate) catalogue: Catalogue,
    pub(crate) origin: Origin,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A directory of files.
    Directory(PathBuf),
    /// None was found: everything by default, and the catalogue that ships.
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "configuration in {}", path.display()),
            Self::BuiltIn => write!(f, "no configuration found, using what ships"),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("the configuration {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {problem}; config/hanad.toml of the project shows every key", path.display())]
    Invalid { path: PathBuf, line: usize, problem: String },
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// The file `hanad.toml`. Every key may be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    interface: Option<String>,
    #[serde(default = "yes")]
    multicast: bool,
    #[serde(default)]
    connect: Vec<String>,
    visualizations: Option<PathBuf>,
}

const fn yes() -> bool {
    true
}

/// The names of the two files in a configuration directory.
const DAEMON_FILE: &str = "hanad.toml";
const CATALOGUE_FILE: &str = "visualizations.toml";
/// The catalogue that ships, for a machine without any configuration.
const SHIPPED_CATALOGUE: &str = include_str!("../../../config/visualizations.toml");

impl DaemonConfig {
    /// The first there is of: `named`, `HANA_CONFIG` (a file, or a directory with `hanad.toml` and
    /// `visualizations.toml`), the user's config directory, `config/` beside the working directory, what
    /// ships.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, ConfigError> {
        let from_variable =
            env::var_os("HANA_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = named.map(PathBuf::from).or(from_variable) {
            return Self::load(&path);
        }
        let of_user =
            etcetera::choose_base_strategy().ok().map(|base| base.config_dir().join("hana"));
        let beside = env::current_dir().ok().map(|here| here.join("config"));
        let has_files =
            |path: &PathBuf| path.join(DAEMON_FILE).exists() || path.join(CATALOGUE_FILE).exists();
        if let Some(directory) = of_user.into_iter().chain(beside).find(has_files) {
            Self::load(&directory)
        } else {
            let catalogue = Catalogue::parse(SHIPPED_CATALOGUE, Path::new(CATALOGUE_FILE))?;
            Ok(Self::of(File::default(), catalogue, Origin::BuiltIn))
        }
    }

    /// Reads a file, or a directory that may have either of the two files.
    fn load(path: &Path) -> Result<Self, ConfigError> {
        let (file, directory) = if path.is_dir() {
            let file = path.join(DAEMON_FILE);
            let file = if file.exists() { File::read(&file)? } else { File::default() };
            (file, path)
        } else {
            (File::read(path)?, path.parent().unwrap_or_else(|| Path::new("")))
        };
        let beside = directory.join(CATALOGUE_FILE);
        let catalogue = match &file.visualizations {
            Some(named) => Catalogue::load(&directory.join(named))?,
            None if beside.exists() => Catalogue::load(&beside)?,
            None => Catalogue::parse(SHIPPED_CATALOGUE, Path::new(CATALOGUE_FILE))?,
        };
        Ok(Self::of(file, catalogue, Origin::Directory(directory.into())))
    }

    fn of(file: File, catalogue: Catalogue, origin: Origin) -> Self {
        let File { interface, multicast, connect, .. } = file;
        Self { interface, multicast, connect, catalogue, origin }
    }
}

impl Default for File {
    fn default() -> Self {
        Self { interface: None, multicast: true, connect: vec![], visualizations: None }
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        toml::from_str(&text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.get(..offset).unwrap_or_default().matches('\n').count() + 1;
            ConfigError::Invalid { path: path.into(), line, problem: error.message().into() }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The configuration that ships, as a reader of the repository finds it.
    fn shipped() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
    }

    #[test]
    fn the_configuration_that_ships_is_the_default() {
        let config = DaemonConfig::load(&shipped()).unwrap();
        assert!(config.multicast && config.interface.is_none() && config.connect.is_empty());
        assert!(config.catalogue.get("ripples").is_ok() && config.catalogue.get("pulse").is_ok());
    }

    #[test]
    fn every_key_that_the_shipped_file_shows_is_taken() {
        let text = std::fs::read_to_string(shipped().join(DAEMON_FILE)).unwrap();
        let shown: String = text
            .lines()
            .filter_map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = ")))
            .fold(String::new(), |all, line| all + line + "\n");
        let file: File = toml::from_str(&shown).unwrap();
        assert!(
            file.interface.is_some() && !file.connect.is_empty() && file.visualizations.is_some()
        );
    }

    #[test]
    fn an_error_names_file_line_and_key() {
        let error = toml::from_str::<File>("multicast = true\ninterfaces = 'eth0'\n").unwrap_err();
        assert!(error.message().contains("interfaces"), "{error}");
        assert_eq!(error.span().unwrap().start, 17);
    }
}

use std::path::{Path, PathBuf};
use std::{env, fmt};

use etcetera::BaseStrategy;
use hana_time::{Timeline, TimelineError, sanitize_line};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::config::environment::env_var;
use crate::config::machine_config_error::MachineConfigError;
use crate::config::network_settings::NetworkSettings;
use crate::config::play_transport::DirectLinkTransport;
use crate::config::port_range::PortRange;
use crate::config::secret::Secret;
use crate::config::show_name::ShowName;

/// The settings of a machine, read from the file `hanad.toml`.
///
/// The daemon and all other programs of the machine read the same file, so that all of them are in one show.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineConfig {
    /// The discovery and access settings, after the environment variables are applied.
    pub network: NetworkSettings,
    /// The catalogue of visualizations that the daemon may launch, if the file names one.
    ///
    /// A relative path starts at [`directory`](ConfigSource::directory).
    pub visualizations: Option<PathBuf>,
    /// The tempo and bar length with which a daemon starts at beat 0 if no other host has a timeline.
    pub timeline: Timeline,
    /// Whether the daemon joins Ableton Link, if `hana-link` is installed.
    pub link: bool,
    /// The source of these settings.
    pub origin: ConfigSource,
}

/// The source of a machine's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigSource {
    /// A file that was named explicitly.
    File(PathBuf),
    /// A directory, which may contain `hanad.toml`, `visualizations.toml` or both.
    Directory(PathBuf),
    /// No configuration was found: the defaults and the built-in catalogue apply.
    BuiltIn,
}

/// The contents of `hanad.toml`. Every key is optional.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineConfigFile {
    interface: Option<String>,
    multicast: Option<bool>,
    connect: Option<Vec<String>>,
    show: Option<ShowName>,
    secret: Option<Secret>,
    play_ports: Option<PortRange>,
    play_link: Option<DirectLinkTransport>,
    visualizations: Option<PathBuf>,
    #[serde(default, deserialize_with = "tempo")]
    tempo: Option<f64>,
    #[serde(default, deserialize_with = "quantum")]
    quantum: Option<f64>,
    link: Option<bool>,
}

/// The name of the settings file in a configuration directory.
const SETTINGS: &str = "hanad.toml";
/// The name of the catalogue file, which also marks a directory as a configuration directory.
const CATALOGUE: &str = "visualizations.toml";

impl ConfigSource {
    /// Returns the directory to which relative paths in the file refer.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::File(path) => path.parent(),
            Self::Directory(path) => Some(path),
            Self::BuiltIn => None,
        }
    }

    /// Returns the value for `HANA_CONFIG` with which any program on this machine loads the same configuration.
    #[must_use]
    pub fn to_variable(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) | Self::Directory(path) => {
                Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
            },
            Self::BuiltIn => None,
        }
    }
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "configuration from {}", path.display()),
            Self::Directory(path) => write!(f, "configuration in {}", path.display()),
            Self::BuiltIn => write!(f, "no configuration found, using the defaults"),
        }
    }
}

impl MachineConfig {
    /// Loads the first configuration that exists, and applies the environment variables.
    ///
    /// The order is: `named`, `HANA_CONFIG`, the user's config directory, `config/` in the working directory, the
    /// defaults. `named` and `HANA_CONFIG` are a file, or a directory with `hanad.toml`, `visualizations.toml` or
    /// both. `HANA_SHOW`, `HANA_SECRET`, `HANA_PLAY_LINK` and `HANA_LINK` override the file.
    ///
    /// Reads small files, which takes a few hundred microseconds.
    ///
    /// # Errors
    ///
    /// When `named` or `HANA_CONFIG` cannot be read, or the configuration or an environment variable has an error.
    pub fn find(named: Option<&Path>) -> Result<Self, MachineConfigError> {
        let mut settings = Self::find_file(named)?;
        settings.network.override_by_environment()?;
        if let Some(word) = env_var("HANA_LINK")? {
            settings.link = switch(&word)?;
        }
        Ok(settings)
    }

    fn find_file(named: Option<&Path>) -> Result<Self, MachineConfigError> {
        if let Some(path) = named.map(PathBuf::from).or_else(from_variable) {
            return Self::load(&path);
        }
        let has_files =
            |path: &PathBuf| path.join(SETTINGS).exists() || path.join(CATALOGUE).exists();
        of_user().into_iter().chain(beside()).find(has_files).map_or_else(
            || {
                Ok(Self::of(
                    MachineConfigFile::parse("", Path::new(SETTINGS))?,
                    ConfigSource::BuiltIn,
                ))
            },
            |directory| Self::load(&directory),
        )
    }

    /// Returns the files that [`MachineConfig::find`] tries, each with the catalogue file in the same directory.
    #[must_use]
    pub fn places(named: Option<&Path>) -> Vec<PathBuf> {
        let directories: Vec<PathBuf> = match named.map(PathBuf::from).or_else(from_variable) {
            Some(file) if file.is_file() => {
                let beside = file.with_file_name(CATALOGUE);
                return vec![file, beside];
            },
            Some(directory) => vec![directory],
            None => of_user().into_iter().chain(beside()).collect(),
        };
        directories.iter().flat_map(|dir| [dir.join(SETTINGS), dir.join(CATALOGUE)]).collect()
    }

    /// Reads a settings file, or a directory with a settings file, a catalogue or both. Ignores the environment.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or has an error.
    pub fn load(path: &Path) -> Result<Self, MachineConfigError> {
        if !path.is_dir() {
            return Ok(Self::of(MachineConfigFile::read(path)?, ConfigSource::File(path.into())));
        }
        let file = path.join(SETTINGS);
        let file = if file.exists() {
            MachineConfigFile::read(&file)?
        } else {
            MachineConfigFile::parse("", &file)?
        };
        Ok(Self::of(file, ConfigSource::Directory(path.into())))
    }

    fn of(file: MachineConfigFile, origin: ConfigSource) -> Self {
        let MachineConfigFile {
            interface,
            multicast,
            connect,
            show,
            secret,
            play_ports,
            play_link,
            visualizations,
            tempo,
            quantum,
            link,
        } = file;
        let network = NetworkSettings {
            interface,
            multicast: multicast.unwrap_or(true),
            connect: connect.unwrap_or_default(),
            show,
            secret,
            play_ports,
            play_link: play_link.unwrap_or_default(),
        };
        let tempo = tempo.unwrap_or(Timeline::DEFAULT.bpm());
        let quantum = quantum.unwrap_or(Timeline::DEFAULT.quantum());
        // Cannot fail: both values were validated when they were parsed.
        let timeline = first(tempo, quantum).unwrap_or(Timeline::DEFAULT);
        Self { network, visualizations, timeline, link: link.unwrap_or(true), origin }
    }
}

fn from_variable() -> Option<PathBuf> {
    env::var_os("HANA_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn of_user() -> Option<PathBuf> {
    etcetera::choose_base_strategy().ok().map(|base| base.config_dir().join("hana"))
}

fn beside() -> Option<PathBuf> {
    env::current_dir().ok().map(|here| here.join("config"))
}

fn switch(word: &str) -> Result<bool, MachineConfigError> {
    match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(MachineConfigError::Variable {
            variable: "HANA_LINK",
            problem: format!("'{}' is not on or off", sanitize_line(word, 40)),
        }),
    }
}

fn first(tempo: f64, quantum: f64) -> Result<Timeline, TimelineError> {
    Ok(Timeline::new(tempo, 0, 0.0)?.with_quantum(quantum)?.with_playing(true))
}

fn tempo<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let tempo = f64::deserialize(deserializer)?;
    first(tempo, Timeline::DEFAULT.quantum()).map(|_| Some(tempo)).map_err(D::Error::custom)
}

fn quantum<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let quantum = f64::deserialize(deserializer)?;
    first(Timeline::DEFAULT.bpm(), quantum).map(|_| Some(quantum)).map_err(D::Error::custom)
}

impl MachineConfigFile {
    fn read(path: &Path) -> Result<Self, MachineConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| MachineConfigError::Read { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, MachineConfigError> {
        toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.get(..offset).unwrap_or_default().matches('\n').count() + 1;
            let key = text.lines().nth(line - 1).and_then(|line| line.split_once('='));
            let key = key.map(|(key, _)| key.trim()).unwrap_or_default();
            let problem = match key {
                // The error message of TOML may contain the value, so it is replaced.
                "secret" => "secret: must be a quoted string on one line, without spaces at its ends, at most 256 bytes".into(),
                key if key.is_empty() || error.message().contains(&format!("`{key}`")) => {
                    error.message().into()
                },
                key => format!("{key}: {}", error.message()),
            };
            MachineConfigError::Invalid { path: path.into(), line, problem }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Returns the configuration directory of the repository.
    fn shipped() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
    }

    fn problem_of(text: &str) -> String {
        let problem = MachineConfigFile::parse(text, Path::new("config/hanad.toml")).unwrap_err();
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
        assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        problem.to_string()
    }

    #[test]
    fn switch_accepts_only_on_and_off() {
        assert!(switch("on").unwrap() && !switch("off").unwrap());
        let problem = switch("maybe").unwrap_err().to_string();
        assert!(problem.contains("HANA_LINK") && problem.contains("'maybe'"), "{problem}");
    }

    #[test]
    fn shipped_file_contains_the_defaults() {
        let settings = MachineConfig::load(&shipped()).unwrap();
        assert_eq!(settings.network, NetworkSettings::default());
        assert_eq!(settings.visualizations, None);
        assert_eq!(settings.timeline, Timeline::DEFAULT);
    }

    #[test]
    fn shipped_file_shows_every_key() {
        let text = std::fs::read_to_string(shipped().join(SETTINGS)).unwrap();
        let shown: String = text
            .lines()
            .filter_map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = ")))
            .fold(String::new(), |all, line| all + line + "\n");
        let MachineConfigFile {
            interface,
            multicast,
            connect,
            show,
            secret,
            play_ports,
            play_link,
            visualizations,
            tempo,
            quantum,
            link,
        } = MachineConfigFile::parse(&shown, Path::new(SETTINGS)).unwrap();
        assert!(interface.is_some() && multicast.is_some() && connect.is_some());
        assert!(show.is_some() && secret.is_some() && play_ports.is_some());
        assert!(play_link.is_some() && visualizations.is_some());
        assert!(tempo.is_some() && quantum.is_some() && link == Some(false));
    }

    #[test]
    fn error_names_file_line_and_key() {
        for (text, line, words) in [
            ("multicast = true\ninterfaces = 'eth0'\n", 2, "interfaces"),
            ("\n\nmulticast = 'on'\n", 3, "multicast"),
            ("show = 'The Club'\n", 1, "show: \"The Club\""),
            ("connect = 'tcp/10.0.0.7:7447'", 1, "connect"),
            ("play_ports = '7'", 1, "play_ports"),
            ("play_link = 'quic'", 1, "play_link"),
            ("link = 'off'", 1, "link"),
            ("tempo = 1000", 1, "tempo: 1000 is no tempo; give one from 20 to 999"),
            ("tempo = 'fast'", 1, "tempo"),
            ("quantum = 0.0", 1, "quantum: 0 is no length of a bar"),
            ("multicast = true\nshow = \n", 2, "show"),
        ] {
            let problem = problem_of(text);
            assert!(problem.starts_with(&format!("config/hanad.toml:{line}: ")), "{problem}");
            assert!(problem.contains(words), "{problem}");
        }
    }

    #[test]
    fn error_does_not_contain_the_secret() {
        for text in
            ["secret = hunter2", "secret = ' hunter2'", "secret = ['hunter2']", "secret = 'hunter2"]
        {
            let problem = problem_of(text);
            assert!(problem.contains("hanad.toml:1: secret"), "{problem}");
        }
    }

    #[test]
    fn named_file_is_passed_on_as_absolute_path() {
        let origin = ConfigSource::File("config/hanad.toml".into());
        assert!(origin.to_variable().unwrap().is_absolute());
        assert_eq!(origin.directory(), Some(Path::new("config")));
        assert_eq!(ConfigSource::BuiltIn.to_variable(), None);
    }
}

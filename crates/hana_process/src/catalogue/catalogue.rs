use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use hana_protocol::id::NodeId;
use serde::Deserialize;
use thiserror::Error;
use toml::de::DeTable;

use crate::catalogue::config::{CatalogueFile, EntryConfig};
use crate::launch::launch_queue::LaunchLimits;
use crate::launch::launch_spec::{self, LaunchError, LaunchSpec};
use crate::os::launch_id::new_launch_id;
use crate::supervisor::policy::{Policy, Preset};

/// The programs that may be launched on this host, as read from `config/visualizations.toml`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalogue {
    entries: BTreeMap<NodeId, CatalogueEntry>,
    launch_limits: LaunchLimits,
}

/// A program in the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueEntry {
    /// The program's name, which is also the node id of its first instance.
    pub name: NodeId,
    /// The program as written in the catalogue: a path if it contains a path separator, otherwise a file name to
    /// search for.
    pub program: String,
    /// The arguments of the program.
    pub args: Vec<String>,
    /// The environment variables to add.
    pub env: BTreeMap<String, String>,
    /// The working directory, if one is set.
    pub dir: Option<PathBuf>,
    /// A description for people.
    pub description: String,
    /// The rules for supervising the program.
    pub policy: Policy,
    /// Whether the program may draw notices about network problems; `false` where an audience watches.
    pub notices: bool,
    /// The base of relative paths: the directory of the catalogue file.
    base: PathBuf,
}

/// The error of loading a catalogue.
#[derive(Debug, Error)]
pub enum CatalogueError {
    /// The file cannot be read.
    #[error("cannot read the catalogue {}; create it, or set another in the daemon's configuration", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file's content is not a valid catalogue.
    #[error("{}:{line}: {key}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key on that line, with its table path.
        key: String,
        /// A description of the error, with the allowed values.
        message: String,
    },
}

/// The error for a name that is not in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the catalogue has no '{name}'; it has {}", list(.known))]
pub struct UnknownVisualization {
    /// The name.
    pub name: String,
    /// The names in the catalogue.
    pub known: Vec<NodeId>,
}

fn list(names: &[NodeId]) -> String {
    if names.is_empty() {
        return "no entry at all".into();
    }
    let names: Vec<&str> = names.iter().map(NodeId::as_str).collect();
    names.join(", ")
}

impl Catalogue {
    /// Parses `text`, the content of the file `path`.
    ///
    /// Errors name this path, and relative paths in the catalogue start at its directory.
    ///
    /// # Errors
    ///
    /// Returns the first mistake, with its line and key.
    pub fn parse(text: &str, path: &Path) -> Result<Self, CatalogueError> {
        let file: CatalogueFile =
            toml::from_str(text).map_err(|error| CatalogueError::at(&error, text, path))?;
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        let entries = file
            .visualizations
            .into_iter()
            .map(|(name, entry)| (name.clone(), CatalogueEntry::new(name, entry, base)))
            .collect();
        Ok(Self { entries, launch_limits: file.launch.into_limits() })
    }

    /// Loads the file at `path`.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or is not a valid catalogue.
    pub fn load(path: &Path) -> Result<Self, CatalogueError> {
        let read = |source| CatalogueError::Read { path: path.into(), source };
        let text = fs::read_to_string(path).map_err(read)?;
        let absolute = std::path::absolute(path).map_err(read)?;
        Self::parse(&text, &absolute)
    }

    /// Returns the mistakes in the file at `path`: the first one of each entry, and the first one outside the
    /// entries.
    #[must_use]
    pub fn mistakes(path: &Path) -> Vec<CatalogueError> {
        let read = |source| CatalogueError::Read { path: path.into(), source };
        match fs::read_to_string(path) {
            Ok(text) => Self::mistakes_in(&text, path),
            Err(source) => vec![read(source)],
        }
    }

    fn mistakes_in(text: &str, path: &Path) -> Vec<CatalogueError> {
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => return vec![CatalogueError::at(&error, text, path)],
        };
        let parts = CatalogueFile::parts(table).into_iter();
        let errors = parts.filter_map(|part| CatalogueFile::deserialize(part).err());
        errors.map(|error| CatalogueError::at(&error, text, path)).collect()
    }

    /// Returns the entry with this name.
    ///
    /// # Errors
    ///
    /// Fails if there is no such entry; the error lists the names that exist.
    pub fn get(&self, name: &str) -> Result<&CatalogueEntry, UnknownVisualization> {
        self.entries().find(|entry| entry.name.as_str() == name).ok_or_else(|| {
            UnknownVisualization {
                name: name.into(),
                known: self.entries.keys().cloned().collect(),
            }
        })
    }

    /// Returns the limits on how fast programs are launched.
    #[must_use]
    pub const fn launch_limits(&self) -> LaunchLimits {
        self.launch_limits
    }

    /// Returns all entries, ordered by name.
    pub fn entries(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.entries.values()
    }
}

impl CatalogueEntry {
    fn new(name: NodeId, config: EntryConfig, base: &Path) -> Self {
        Self {
            name,
            policy: config.to_policy(),
            program: config.program.0,
            args: config.args,
            env: config.env,
            dir: config.dir.map(|dir| base.join(dir)),
            description: config.description,
            // The other presets are used in front of an audience.
            notices: config.notices.unwrap_or(config.policy == Preset::Manual),
            base: base.into(),
        }
    }

    /// Returns the working directory if one is set but does not exist.
    #[must_use]
    pub fn missing_dir(&self) -> Option<&Path> {
        self.dir.as_deref().filter(|dir| !dir.is_dir())
    }

    /// Checks whether the program exists and can be executed, by inspecting its file.
    ///
    /// # Errors
    ///
    /// Fails if the program does not exist or cannot be executed.
    pub fn check(&self, beside: &Path) -> Result<(), LaunchError> {
        launch_spec::find_program(&self.program, &self.base, beside).map(drop)
    }

    /// Returns the launch spec of this entry. `output` is the file for its output.
    ///
    /// A program without a path is searched for in the directory `beside`, then in `PATH`. The caller adds the
    /// environment variables that a node needs.
    ///
    /// # Errors
    ///
    /// Fails if there is no such program or it cannot be executed.
    pub fn launch_spec(
        &self,
        beside: &Path,
        output: impl Into<PathBuf>,
    ) -> Result<LaunchSpec, LaunchError> {
        Ok(LaunchSpec {
            program: launch_spec::find_program(&self.program, &self.base, beside)?,
            args: self.args.clone(),
            env: self.env.clone(),
            dir: self.dir.clone(),
            output: output.into(),
            fallback_output: None,
            launch_id: new_launch_id(),
        })
    }
}

impl CatalogueError {
    fn at(error: &toml::de::Error, text: &str, path: &Path) -> Self {
        let offset = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count();
        Self::Invalid {
            path: path.into(),
            line: line + 1,
            key: key_at(text, line),
            message: error.message().replace('\n', "; "),
        }
    }
}

/// Returns the key, with its table path, on the line with the index `line_at` (from 0).
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
            // This is a key whose `=` is missing, and not the continuation of a list.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::supervisor::policy::{Monitoring, RestartOn, WhenUnresponsive};

    fn parse(text: &str) -> Result<Catalogue, CatalogueError> {
        Catalogue::parse(text, Path::new("/show/visualizations.toml"))
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn shipped_catalogue_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/visualizations.toml");
        let catalogue = Catalogue::load(&path).unwrap();
        let names: Vec<&str> = catalogue.entries().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["pulse", "ripples"]);
        assert!(catalogue.entries().all(|entry| !entry.description.is_empty()));
        assert!(catalogue.entries().all(|entry| entry.policy == Policy::default()));
    }

    #[test]
    fn settings_shown_in_the_shipped_catalogue_are_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/visualizations.toml");
        let text = fs::read_to_string(path).unwrap();
        let explained: String = text
            .lines()
            .skip_while(|line| *line != "# [visualizations.NAME]")
            .map(|line| line.strip_prefix("# ").unwrap_or(line).replace("NAME", "name") + "\n")
            .collect();
        let catalogue = parse(&explained).unwrap();
        assert_eq!(catalogue.get("name").unwrap().policy, Policy::default());
        assert!(!catalogue.get("name").unwrap().notices);
        assert_eq!(catalogue.launch_limits(), LaunchLimits::default());
        // The example file explains every setting. 1e300 is out of range for each of them, so each must be refused.
        for knob in explained.lines().filter_map(|line| line.split_once(" = ")) {
            let (key, _) = knob;
            let value = knob.1.split('#').next().unwrap().trim();
            if key.trim().starts_with('#') || value.parse::<f64>().is_err() {
                continue;
            }
            let line = format!("{key} = {}", knob.1);
            let wrong = explained.replace(&line, &format!("{key} = 1e300"));
            let text = error(&wrong);
            let number = 1 + explained.lines().position(|other| other == line).unwrap();
            assert!(text.contains(&format!(":{number}: ")), "{line}: {text}");
            assert!(text.contains(&format!(".{}: ", key.trim())), "{line}: {text}");
        }
    }

    #[test]
    fn every_policy_setting_can_be_set() {
        let catalogue = parse(
            r#"
            [launch]
            at_once    = 2
            spacing_s  = 0.1
            start_timeout_s = 9
            [visualizations.all]
            program = "all"
            mesh    = false
            [visualizations.all.restart]
            on        = ["launch"]
            first_s   = 1
            initial_s = 2
            factor    = 3
            max_s     = 4
            jitter    = 0.5
            stable_after_s = 6
            budget    = 7
            window_s  = 8
            [visualizations.all.stop]
            polite_s    = 9
            terminate_s = 10
            [visualizations.all.health]
            startup_s         = 11
            slow_fps          = 12
            slow_s            = 13
            unresponsive_s    = 14
            when_unresponsive = "restart"
            restart_after_s   = 15
            "#,
        )
        .unwrap();
        let seconds = Duration::from_secs;
        // No `..` here: the compiler requires this test to name each new setting of the policy.
        let expected = Policy {
            mesh: Monitoring::Never,
            restart: crate::supervisor::policy::RestartPolicy {
                on: [RestartOn::Launch].into(),
                backoff: crate::supervisor::backoff::Backoff {
                    first: seconds(1),
                    initial: seconds(2),
                    factor: 3.0,
                    max: seconds(4),
                    jitter: 0.5,
                },
                stable_after: seconds(6),
                budget: Some(7),
                window: seconds(8),
            },
            stop: crate::supervisor::policy::StopPolicy {
                polite: seconds(9),
                terminate: seconds(10),
            },
            health: crate::supervisor::policy::HealthPolicy {
                startup: seconds(11),
                limits: hana_engine::roster::HealthLimits {
                    slow_below_fps: 12.0,
                    slow_after: seconds(13),
                    unresponsive_after: seconds(14),
                },
                when_unresponsive: WhenUnresponsive::Restart(seconds(15)),
            },
        };
        assert_eq!(catalogue.get("all").unwrap().policy, expected);
        let limits = LaunchLimits {
            at_once: 2,
            spacing: Duration::from_millis(100),
            start_timeout: seconds(9),
        };
        assert_eq!(catalogue.launch_limits(), limits);
    }

    #[test]
    fn each_setting_changes_only_its_part_of_the_preset() {
        let catalogue = parse(
            r#"
            [visualizations.wall]
            program = "bin/wall"
            args    = ["--big"]
            env     = { COLOUR = "red" }
            dir     = "media"
            policy  = "installation"
            mesh    = false
            [visualizations.wall.restart]
            on      = ["signal"]
            max_s   = 60
            budget  = 9
            [visualizations.wall.stop]
            polite_s = 0.5
            [visualizations.wall.health]
            slow_fps        = 24
            restart_after_s = 8
            "#,
        )
        .unwrap();
        let wall = catalogue.get("wall").unwrap();
        assert_eq!(wall.dir.as_deref(), Some(Path::new("/show/media")));
        let mut expected = Policy::preset(Preset::Installation);
        expected.mesh = Monitoring::Never;
        expected.restart.on = [RestartOn::Signal].into();
        expected.restart.backoff.max = Duration::from_mins(1);
        expected.restart.budget = Some(9);
        expected.stop.polite = Duration::from_millis(500);
        expected.health.limits.slow_below_fps = 24.0;
        expected.health.when_unresponsive = WhenUnresponsive::Restart(Duration::from_secs(8));
        assert_eq!(wall.policy, expected);
        let sought = wall.launch_spec(Path::new("/beside"), "/log").unwrap_err().to_string();
        assert!(sought.contains("/show/bin/wall"), "{sought}");
    }

    #[test]
    fn notices_are_off_in_shows_unless_enabled() {
        let catalogue = parse(
            "[visualizations.a]\nprogram = \"a\"\n\
             [visualizations.b]\nprogram = \"b\"\npolicy = \"installation\"\n\
             [visualizations.c]\nprogram = \"c\"\npolicy = \"manual\"\n\
             [visualizations.d]\nprogram = \"d\"\nnotices = true",
        )
        .unwrap();
        let shown = ["a", "b", "c", "d"].map(|name| catalogue.get(name).unwrap().notices);
        assert_eq!(shown, [false, false, true, true]);
    }

    #[test]
    fn unlimited_budget_and_report_are_accepted() {
        let catalogue = parse(
            "[visualizations.a]\nprogram = \"a\"\n[visualizations.a.restart]\nbudget = \"unlimited\"\n\
             [visualizations.b]\nprogram = \"b\"\npolicy = \"installation\"\n\
             [visualizations.b.health]\nwhen_unresponsive = \"report\"",
        )
        .unwrap();
        assert_eq!(catalogue.get("a").unwrap().policy.restart.budget, None);
        let response = catalogue.get("b").unwrap().policy.health.when_unresponsive;
        assert_eq!(response, WhenUnresponsive::Report);
    }

    #[test]
    fn mistake_is_reported_with_file_line_key_and_remedy() {
        let head = "# mine\n[visualizations.ripples]\nprogram = \"ripples\"\n";
        for (rest, expected) in [
            (
                "polcy = \"show\"",
                "/show/visualizations.toml:4: visualizations.ripples.polcy: unknown field `polcy`, expected one of `program`, `args`",
            ),
            (
                "policy = \"shw\"",
                ":4: visualizations.ripples.policy: unknown variant `shw`, expected one of `show`, `installation`, `manual`",
            ),
            (
                "args = 3",
                ":4: visualizations.ripples.args: invalid type: integer `3`, expected a sequence",
            ),
            (
                "[visualizations.ripples.restart]\nmax_s = -1",
                ":5: visualizations.ripples.restart.max_s: give seconds, 0 to 86400",
            ),
            (
                "[visualizations.ripples.restart]\nbudget = \"endless\"",
                ":5: visualizations.ripples.restart.budget: invalid value: string \"endless\", expected a number of restarts, 0 or more, or \"unlimited\"",
            ),
            ("args = [", ":4: visualizations.ripples.args: "),
            ("args = [\"a\"]\nargs = [\"b\"]", ":5: visualizations.ripples.args: duplicate key"),
            (
                "[visualizations.ripples]\nprogram = \"pulse\"",
                ":4: visualizations.ripples: duplicate key",
            ),
            ("env = { A = 1 }", ":4: visualizations.ripples.env: invalid type: integer `1`"),
            ("policy = \"show", ":4: visualizations.ripples.policy: "),
            ("[visualizations.ripples.stop", ":4: visualizations.ripples.stop: "),
            ("policy \"show\"", ":4: visualizations.ripples.policy: "),
            ("[visualizations.pulse]", ":4: visualizations.pulse: missing field `program`"),
            (
                "[visualizations.Pulse]\nprogram = \"p\"",
                "the node id 'Pulse' has the character 'P'",
            ),
        ] {
            let text = error(&format!("{head}{rest}\n"));
            assert!(text.contains(expected), "{rest}\n  {text}\n  {expected}");
            assert!(!text.contains('\n'), "{text}");
        }
        let text = error("[visualizations.x]\nprogram = \"\"");
        assert!(text.contains(":2: visualizations.x.program: a program must be named"), "{text}");
    }

    #[test]
    fn each_entry_and_the_rest_report_their_first_mistake() {
        let text = "[visualizations.a]\nprogram = 1\n[visualizations.b]\nprogram = \"b\"\n\
                    [visualizations.c]\nprogram = \"c\"\npolcy = 1\n[visualizations.c.stop]\npolite_s = -1\n\
                    [launch]\nat_once = 0\n";
        let mistakes = Catalogue::mistakes_in(text, Path::new("/v.toml"));
        let texts: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let places = ["/v.toml:11: launch.at_once: ", "/v.toml:2: ", "/v.toml:7: "];
        assert_eq!(texts.len(), places.len(), "{texts:?}");
        for (text, place) in texts.iter().zip(places) {
            assert!(text.starts_with(place), "{texts:?}");
        }
        assert!(Catalogue::mistakes_in("", Path::new("v.toml")).is_empty());
        assert_eq!(Catalogue::mistakes_in("visualizations = 1", Path::new("v.toml")).len(), 1);
        assert_eq!(Catalogue::mistakes_in("a = ", Path::new("v.toml")).len(), 1);
    }

    #[test]
    fn missing_file_is_reported_with_its_path() {
        let text = Catalogue::load(Path::new("/nowhere/v.toml")).unwrap_err().to_string();
        assert!(text.contains("/nowhere/v.toml"), "{text}");
    }

    #[test]
    fn unknown_name_error_lists_the_known_names() {
        let text = "[visualizations.a]\nprogram = \"a\"\n[visualizations.b]\nprogram = \"b\"";
        let error = parse(text).unwrap().get("c").unwrap_err();
        assert_eq!(error.to_string(), "the catalogue has no 'c'; it has a, b");
        let error = parse("").unwrap().get("c").unwrap_err();
        assert_eq!(error.to_string(), "the catalogue has no 'c'; it has no entry at all");
    }
}

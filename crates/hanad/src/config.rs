use std::path::{Path, PathBuf};

use hana_network::{ConfigSource, MachineConfig, MachineConfigError, NetworkSettings};
use hana_process::{Catalogue, CatalogueError};
use hana_time::Timeline;
use thiserror::Error;

/// The daemon's configuration: how it finds other nodes, the programs it may launch, and the initial tempo.
#[derive(Debug, Clone)]
pub(crate) struct DaemonConfig {
    pub(crate) network: NetworkSettings,
    pub(crate) catalogue: Catalogue,
    /// The catalogue file, or `None` for the built-in catalogue.
    pub(crate) catalogue_file: Option<PathBuf>,
    /// The initial tempo and bar.
    pub(crate) timeline: Timeline,
    /// Whether to join Ableton Link sessions.
    pub(crate) link: bool,
    pub(crate) origin: ConfigSource,
}

/// The reason why a configuration cannot be used.
#[derive(Debug, Error)]
pub(crate) enum DaemonConfigError {
    #[error(transparent)]
    Settings(#[from] MachineConfigError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// The name of the catalogue file in the directory of the machine settings.
pub(crate) const CATALOGUE_FILE: &str = "visualizations.toml";
/// The built-in catalogue, for a machine without any configuration.
const SHIPPED_CATALOGUE: &str = include_str!("../../../config/visualizations.toml");

impl DaemonConfig {
    /// Finds the settings with [`MachineConfig::find`], and their catalogue.
    ///
    /// The catalogue is the one that the settings name, otherwise the one in their directory, otherwise the built-in
    /// one.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, DaemonConfigError> {
        Self::of(MachineConfig::find(named)?)
    }

    fn of(settings: MachineConfig) -> Result<Self, DaemonConfigError> {
        let MachineConfig { network, visualizations, timeline, link, origin } = settings;
        let catalogue_file = catalogue_file(&origin, visualizations.as_deref());
        let catalogue = match &catalogue_file {
            Some(path) => Catalogue::load(path)?,
            None => Catalogue::parse(SHIPPED_CATALOGUE, Path::new(CATALOGUE_FILE))?,
        };
        Ok(Self { network, catalogue, catalogue_file, timeline, link, origin })
    }

    /// Returns the files that this configuration was read from, and those that would be read if they existed.
    pub(crate) fn files(&self, named: Option<&Path>) -> Vec<PathBuf> {
        let mut files = MachineConfig::places(named);
        files.extend(self.catalogue_file.clone());
        files
    }

    /// Returns the names of settings that differ in `new` and only take effect after a restart of the daemon.
    pub(crate) fn changed_for_later(&self, new: &Self) -> Vec<String> {
        let (old, now) = (&self.network, &new.network);
        [
            ("interface", old.interface != now.interface),
            ("multicast", old.multicast != now.multicast),
            ("connect", old.connect != now.connect),
            ("show", old.show != now.show),
            ("secret", old.secret != now.secret),
            ("play_ports", old.play_ports != now.play_ports),
            ("play_link", old.play_link != now.play_link),
            ("tempo or quantum", self.timeline != new.timeline),
            ("link", self.link != new.link),
        ]
        .into_iter()
        .filter(|(_, is_other)| *is_other)
        .map(|(name, _)| name.into())
        .collect()
    }
}

/// Returns the catalogue that the settings name, otherwise the one in their directory.
pub(crate) fn catalogue_file(source: &ConfigSource, named: Option<&Path>) -> Option<PathBuf> {
    let directory = source.directory();
    let named = named.map(|named| directory.unwrap_or_else(|| Path::new("")).join(named));
    named.or_else(|| Some(directory?.join(CATALOGUE_FILE)).filter(|path| path.exists()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn shipped_configuration_is_the_default() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
        let config = DaemonConfig::of(MachineConfig::load(&shipped).unwrap()).unwrap();
        assert_eq!(config.network, NetworkSettings::default());
        assert!(config.changed_for_later(&config.clone()).is_empty());
        assert!(config.catalogue.get("ripples").is_ok() && config.catalogue.get("pulse").is_ok());
    }
}

use std::path::Path;

use hana_network::NetworkSettings;
use hana_network::Origin;
use hana_network::SettingsError;
use hana_network::SettingsFile;
use hana_process::Catalogue;
use hana_process::CatalogueError;
use hana_protocol::Timeline;
use thiserror::Error;

/// What the daemon is told: how to find others, what it may launch, and the tempo to begin with.
#[derive(Debug)]
pub(crate) struct DaemonConfig {
    pub(crate) network: NetworkSettings,
    pub(crate) catalogue: Catalogue,
    /// The tempo and the bar to begin with.
    pub(crate) timeline: Timeline,
    /// Whether to take part in Ableton Link.
    pub(crate) link: bool,
    pub(crate) origin: Origin,
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// The catalogue, beside the settings of the machine.
const CATALOGUE_FILE: &str = "visualizations.toml";
/// The catalogue that ships, for a machine without any configuration.
const SHIPPED_CATALOGUE: &str = include_str!("../../../config/visualizations.toml");

impl DaemonConfig {
    /// The settings of this machine, where [`SettingsFile::find`] finds them, and the catalogue that they
    /// name, or that lies beside them, or that ships.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, ConfigError> {
        Self::of(SettingsFile::find(named)?)
    }

    fn of(settings: SettingsFile) -> Result<Self, ConfigError> {
        let SettingsFile { network, visualizations, timeline, link, origin } = settings;
        let directory = origin.directory();
        let beside = directory.map(|directory| directory.join(CATALOGUE_FILE));
        let named =
            visualizations.map(|named| directory.unwrap_or_else(|| Path::new("")).join(named));
        let catalogue = match named.or_else(|| beside.filter(|path| path.exists())) {
            Some(path) => Catalogue::load(&path)?,
            None => Catalogue::parse(SHIPPED_CATALOGUE, Path::new(CATALOGUE_FILE))?,
        };
        Ok(Self { network, catalogue, timeline, link, origin })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_that_ships_is_the_default() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
        let config = DaemonConfig::of(SettingsFile::load(&shipped).unwrap()).unwrap();
        assert_eq!(config.network, NetworkSettings::default());
        assert!(config.catalogue.get("ripples").is_ok() && config.catalogue.get("pulse").is_ok());
    }
}

use bevy_ecs::prelude::*;
use hana_network::Connection;
use hana_network::DisconnectedBy;
use hana_network::Way;

/// Whether the program is on the mesh: kept up to date by the plugin, before [`HanaSystems::Receive`] in `PreUpdate`.
///
/// The run conditions [`is_connected`], [`has_daemon`], [`just_connected`] and [`just_disconnected`] read it.
///
/// [`HanaSystems::Receive`]: crate::HanaSystems::Receive
#[derive(Resource, Debug, Clone, Default, PartialEq, Eq)]
pub enum Connectivity {
    /// It is joining for the first time.
    #[default]
    Joining,
    /// It is on the mesh.
    Connected {
        /// By this way.
        way: Way,
    },
    /// The daemon that it was behind is gone; in five seconds it goes on without it.
    DaemonLost,
    /// It is not on the mesh.
    Disconnected {
        /// Whose doing it is. After [`DisconnectedBy::Error`] it comes back by itself.
        by: DisconnectedBy,
        /// Why, and what to do, in plain words.
        reason: String,
    },
}

impl Connectivity {
    /// Whether it is on the mesh.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }

    /// Whether it is on the mesh, behind the daemon of this machine.
    #[must_use]
    pub const fn has_daemon(&self) -> bool {
        matches!(self, Self::Connected { way: Way::ThroughDaemon })
    }
}

impl From<Connection> for Connectivity {
    fn from(connection: Connection) -> Self {
        match connection {
            Connection::Connected { way } => Self::Connected { way },
            Connection::DaemonLost => Self::DaemonLost,
            Connection::Disconnected { by, reason } => Self::Disconnected { by, reason },
        }
    }
}

/// A run condition: the program is on the mesh.
#[must_use]
pub fn is_connected(connectivity: Option<Res<Connectivity>>) -> bool {
    connectivity.is_some_and(|connectivity| connectivity.is_connected())
}

/// A run condition: the program is on the mesh, behind the daemon of this machine.
#[must_use]
pub fn has_daemon(connectivity: Option<Res<Connectivity>>) -> bool {
    connectivity.is_some_and(|connectivity| connectivity.has_daemon())
}

/// A run condition: the program is on the mesh, and was not when this was asked last.
#[must_use]
pub fn just_connected(connectivity: Option<Res<Connectivity>>, mut was: Local<bool>) -> bool {
    let is = is_connected(connectivity);
    let before = std::mem::replace(&mut *was, is);
    is && !before
}

/// A run condition: the program is not on the mesh, and was when this was asked last.
#[must_use]
pub fn just_disconnected(connectivity: Option<Res<Connectivity>>, mut was: Local<bool>) -> bool {
    let is = is_connected(connectivity);
    let before = std::mem::replace(&mut *was, is);
    !is && before
}

#[cfg(test)]
mod tests {
    use bevy_app::App;
    use bevy_app::Update;

    use super::*;

    #[derive(Resource, Default)]
    struct Ran(Vec<&'static str>);

    #[test]
    fn the_conditions_run_systems_when_they_say() {
        let ran = |what: &'static str| move |mut ran: ResMut<Ran>| ran.0.push(what);
        let mut app = App::new();
        app.init_resource::<Ran>().add_systems(
            Update,
            (
                ran("just connected").run_if(just_connected),
                ran("connected").run_if(is_connected),
                ran("daemon").run_if(has_daemon),
                ran("just disconnected").run_if(just_disconnected),
            )
                .chain(),
        );
        let mut run = |connectivity: Option<Connectivity>| {
            if let Some(connectivity) = connectivity {
                app.insert_resource(connectivity);
            }
            app.update();
            std::mem::take(&mut app.world_mut().resource_mut::<Ran>().0)
        };
        let connected = |way| Some(Connectivity::Connected { way });
        assert!(run(None).is_empty(), "without the plugin none of them holds");
        assert!(run(Some(Connectivity::Joining)).is_empty());
        let way = Way::ThroughDaemon;
        assert_eq!(run(connected(way)), ["just connected", "connected", "daemon"]);
        assert_eq!(run(connected(way)), ["connected", "daemon"]);
        assert_eq!(run(Some(Connectivity::DaemonLost)), ["just disconnected"]);
        assert!(run(Some(Connectivity::DaemonLost)).is_empty());
        assert_eq!(run(connected(Way::WithoutDaemon)), ["just connected", "connected"]);
    }
}

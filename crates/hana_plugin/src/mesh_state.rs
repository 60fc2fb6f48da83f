use bevy_app::{App, Plugin, PreUpdate};
use bevy_ecs::prelude::*;
use bevy_reflect::Reflect;
use bevy_state::app::AppExtStates;
use bevy_state::state::{NextState, State, StateTransition, States};
use hana_protocol::id::role;

use crate::connectivity::{Connectivity, NodeConnectivity};
use crate::sets::HanaSystems;

/// Whether the program is on the mesh, as a state of Bevy: `OnEnter(MeshState::Connected)`, `in_state(..)`.
///
/// [`MeshStatePlugin`] adds it. In a program with two nodes, it is the state of the visualization's node.
#[derive(States, Reflect, Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MeshState {
    /// The program is joining for the first time.
    #[default]
    Joining,
    /// The program is on the mesh.
    Connected,
    /// The program's daemon is gone; after five seconds, the program continues without it.
    DaemonLost,
    /// The program is not on the mesh.
    Disconnected,
}

/// Adds [`MeshState`]. Add it after Bevy's `StatesPlugin`, which is one of the `DefaultPlugins`.
#[derive(Debug, Clone, Copy, Default)]
pub struct MeshStatePlugin;

impl Plugin for MeshStatePlugin {
    fn build(&self, app: &mut App) {
        if app.get_schedule(StateTransition).is_none() {
            tracing::error!(
                "`MeshState` is missing: add `DefaultPlugins` or `StatesPlugin` before `MeshStatePlugin`"
            );
            return;
        }
        app.init_state::<MeshState>()
            .register_type::<MeshState>()
            .add_systems(PreUpdate, follow.after(HanaSystems::Receive));
    }
}

impl From<&Connectivity> for MeshState {
    fn from(connectivity: &Connectivity) -> Self {
        match connectivity {
            Connectivity::Joining => Self::Joining,
            Connectivity::Connected { .. } => Self::Connected,
            Connectivity::DaemonLost => Self::DaemonLost,
            Connectivity::Disconnected { .. } => Self::Disconnected,
        }
    }
}

fn follow(
    visualization: Option<Res<NodeConnectivity<role::Visualization>>>,
    controller: Option<Res<NodeConnectivity<role::App>>>,
    state: Res<State<MeshState>>,
    mut next: ResMut<NextState<MeshState>>,
) {
    let now: Option<MeshState> = match (&visualization, &controller) {
        (Some(connectivity), _) => Some((&***connectivity).into()),
        (None, Some(connectivity)) => Some((&***connectivity).into()),
        (None, None) => None,
    };
    if let Some(now) = now.filter(|now| now != state.get()) {
        next.set(now);
    }
}

#[cfg(test)]
mod tests {
    use bevy_state::app::StatesPlugin;
    use bevy_state::state::OnEnter;
    use hana_network::AttachMode;

    use super::*;

    #[derive(Resource, Default)]
    struct Entered(usize);

    #[test]
    fn the_state_follows_the_connection_of_the_visualization() {
        let mut app = App::new();
        app.add_plugins((StatesPlugin, MeshStatePlugin)).init_resource::<Entered>().add_systems(
            OnEnter(MeshState::Connected),
            |mut entered: ResMut<Entered>| {
                entered.0 += 1;
            },
        );
        app.insert_resource(NodeConnectivity::<role::App>::new(Connectivity::DaemonLost));
        let mut state = |now: Option<Connectivity>| {
            if let Some(now) = now {
                app.insert_resource(NodeConnectivity::<role::Visualization>::new(now));
            }
            app.update();
            (*app.world().resource::<State<MeshState>>().get(), app.world().resource::<Entered>().0)
        };
        assert_eq!(state(None), (MeshState::DaemonLost, 0));
        let connected = Connectivity::Connected { attach_mode: AttachMode::ViaDaemon };
        assert_eq!(state(Some(connected.clone())), (MeshState::Connected, 1));
        assert_eq!(state(Some(connected)), (MeshState::Connected, 1));
        assert_eq!(state(Some(Connectivity::DaemonLost)), (MeshState::DaemonLost, 1));
    }

    #[test]
    fn a_program_without_states_goes_on_without_it() {
        let mut app = App::new();
        app.add_plugins(MeshStatePlugin);
        app.update();
        assert!(!app.world().contains_resource::<State<MeshState>>());
    }
}

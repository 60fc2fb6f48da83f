use bevy_ecs::prelude::*;

/// The way in which the program turns black on the command `blackout`, determined when the app starts.
#[derive(Resource, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlackoutSupport {
    /// The plugin draws black in every window.
    ByPlugin,
    /// The program declares that it follows [`ActiveOverride`](crate::visualization::active_override::ActiveOverride).
    ByProgram,
    /// The program declares that it has no window, so that nothing is visible.
    NothingVisible,
    /// The program cannot turn black, so it refuses the command.
    Missing,
}

/// Exists if the plugin can draw black: it has the feature `ui`, and the program has windows and a renderer.
#[derive(Resource)]
pub(crate) struct CanDrawBlack;

impl BlackoutSupport {
    pub(crate) fn of(draws_itself: bool, can_draw: bool, is_headless: bool) -> Self {
        let support = match (draws_itself, can_draw, is_headless) {
            (true, ..) => Self::ByProgram,
            (_, true, _) => Self::ByPlugin,
            (.., true) => Self::NothingVisible,
            _ => Self::Missing,
        };
        if support == Self::Missing {
            tracing::warn!(
                "the program refuses the command `blackout`: it has no window in which hana's feature `ui` draws black; draw it as `ActiveOverride` reports and declare `draws_blackout_itself()`, or declare `headless(cause)` if it shows nothing"
            );
        }
        support
    }

    /// Whether the program accepts the command.
    pub(crate) fn is_supported(self) -> bool {
        self != Self::Missing
    }
}

#[cfg(test)]
mod tests {
    use bevy_app::{App, PreStartup};
    use bevy_reflect::Reflect;

    use super::*;
    use crate::VisualizationPlugin;

    #[derive(Resource, Reflect, Default)]
    struct Sky {
        brightness: f32,
    }

    fn support(plugin: VisualizationPlugin<Sky>, can_draw: bool) -> BlackoutSupport {
        let mut app = App::new();
        app.add_plugins(plugin);
        app.finish();
        if can_draw {
            app.insert_resource(CanDrawBlack);
        }
        app.world_mut().run_schedule(PreStartup);
        *app.world().resource()
    }

    #[test]
    fn a_program_that_cannot_draw_black_refuses_the_command() {
        let plugin = || VisualizationPlugin::new("sky");
        assert_eq!(support(plugin(), false), BlackoutSupport::Missing);
        assert!(!BlackoutSupport::Missing.is_supported());
        assert_eq!(support(plugin(), true), BlackoutSupport::ByPlugin);
        let headless = plugin().headless("no display");
        assert_eq!(support(headless, false), BlackoutSupport::NothingVisible);
        let itself = plugin().draws_blackout_itself();
        assert_eq!(support(itself, false), BlackoutSupport::ByProgram);
    }
}

use std::marker::PhantomData;
use std::time::Duration;

use bevy_app::{App, AppExit, Last, Plugin, PreStartup, PreUpdate};
use bevy_ecs::component::Mutable;
use bevy_ecs::prelude::*;
use hana_engine::playout::JitterBufferSettings;
use hana_network::{NodeConfig, OnControllerLost};
use hana_protocol::id::{NodeId, role};

use crate::events::ShutdownRequested;
use crate::notices::notice_reports;
use crate::session::{MeshSession, begin_frame};
use crate::sets::{FrameSystems, HanaSystems};
use crate::topics::topic_registry;
use crate::visualization::active_override::ActiveOverride;
use crate::visualization::blackout_support::{BlackoutSupport, CanDrawBlack};
use crate::visualization::parameters::ParameterStruct;
use crate::visualization::resume_on_bar;
use crate::visualization::shared_parameters::{DeclaredParameters, receive, send};

/// Puts a program that draws onto the mesh. The fields of the resource `P` are its parameters ([`ParameterStruct`]).
///
/// [`add_parameters`](crate::app_ext::HanaAppExt::add_parameters) adds the fields of other resources. The plugin
/// inserts the resource `P` with its default values, unless the program has already inserted it. Played values are
/// written to the resource before `Update`; the program's own changes to the resource are published. Each frame is
/// counted, so that other nodes see that the program is alive. When the program is requested to exit, the plugin
/// triggers [`ShutdownRequested`] and, unless configured otherwise, exits. When the app exits with success or by
/// Ctrl-C, the plugin publishes that the program was closed.
pub struct VisualizationPlugin<P> {
    id: String,
    exits_on_shutdown: bool,
    draws_notices: bool,
    resumes_on_bar: bool,
    settings: VisualizationSettings,
    parameters: PhantomData<fn(P)>,
}

/// The part of the plugin's settings that its node announces when the app starts.
#[derive(Resource, Debug, Clone)]
struct VisualizationSettings {
    on_controller_lost: OnControllerLost,
    playout: JitterBufferSettings,
    headless: Option<String>,
    draws_blackout_itself: bool,
}

impl<P> VisualizationPlugin<P> {
    /// Creates a visualization named `id`, which matches `[a-z0-9][a-z0-9_-]{0,62}`; any other string is converted.
    ///
    /// A daemon that launches the program may assign another id.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            exits_on_shutdown: true,
            draws_notices: true,
            resumes_on_bar: false,
            settings: VisualizationSettings {
                on_controller_lost: OnControllerLost::default(),
                playout: JitterBufferSettings {
                    delay: Duration::ZERO,
                    ..JitterBufferSettings::default()
                },
                headless: None,
                draws_blackout_itself: false,
            },
            parameters: PhantomData,
        }
    }

    /// Sets what happens to the parameters that a lost controller played. By default, they keep their values.
    #[must_use]
    pub const fn on_controller_lost(mut self, then: OnControllerLost) -> Self {
        self.settings.on_controller_lost = then;
        self
    }

    /// Makes a restarted visualization, for example after a crash, stay black until the next bar begins.
    ///
    /// The visualization waits eight seconds at most, and then shows its previous look. By default, its first frame
    /// shows that look.
    #[must_use]
    pub const fn resume_on_bar(mut self) -> Self {
        self.resumes_on_bar = true;
        self
    }

    /// Sets how played values are shown. By default each value takes effect as soon as it arrives.
    ///
    /// With a small delay, curves are reproduced as they were played, even if the network delays single messages.
    /// [`Smoothing`](crate::visualization::parameter_attributes::Smoothing) and
    /// [`Stepped`](crate::visualization::parameter_attributes::Stepped) set the playout of one parameter;
    /// `HANA_PLAYOUT_MS` overrides the delay.
    #[must_use]
    pub const fn playout(mut self, playout: JitterBufferSettings) -> Self {
        self.settings.playout = playout;
        self
    }

    /// Reports that the program runs without a window, and why.
    ///
    /// `hana nodes`, `hana start` and the apps show the cause next to the node's state.
    /// [`find_display`](crate::visualization::display::find_display) returns the reason if no display is available. A
    /// program with Bevy's `WindowPlugin` need not call this method: the plugin reports that no window is open.
    #[must_use]
    pub fn headless(mut self, cause: impl Into<String>) -> Self {
        self.settings.headless = Some(cause.into());
        self
    }

    /// Declares that the program handles
    /// [`ActiveOverride`](crate::visualization::active_override::ActiveOverride) itself.
    ///
    /// For programs without Bevy's windows, or without the feature `ui`, which draws black in every window. Without
    /// this declaration, such a program refuses the command `blackout`, unless it declares by
    /// [`headless`](Self::headless) that it shows nothing.
    #[must_use]
    pub const fn draws_blackout_itself(mut self) -> Self {
        self.settings.draws_blackout_itself = true;
        self
    }

    /// Leaves it to the program to exit on [`ShutdownRequested`].
    #[must_use]
    pub const fn without_exit_on_shutdown(mut self) -> Self {
        self.exits_on_shutdown = false;
        self
    }

    /// Disables the drawing of notices. The program may show them itself; see
    /// [`Notices`](crate::notices::notices::Notices).
    #[must_use]
    pub const fn without_notices(mut self) -> Self {
        self.draws_notices = false;
        self
    }
}

/// Bevy's exit code after Ctrl-C.
const CTRL_C: AppExit = AppExit::from_code(130);
/// How long a clean departure from the mesh may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

impl<P> Plugin for VisualizationPlugin<P>
where
    P: Resource<Mutability = Mutable> + ParameterStruct,
{
    fn build(&self, app: &mut App) {
        let id = NodeId::new(&self.id).unwrap_or_else(|_| NodeId::from_hostname(&self.id));
        let config = NodeConfig::from_environment(id);
        if let Some(mut other) = app.world_mut().get_resource_mut::<MeshSession<role::App>>() {
            // In a program with two nodes, the visualization gets the id that a daemon assigned.
            other.keep_own_id();
        }
        let last_look = config.as_ref().ok().and_then(NodeConfig::last_look);
        let was_restarted = last_look.is_some();
        app.insert_resource(ActiveOverride(last_look.and_then(|look| look.in_force)));
        MeshSession::<role::Visualization>::build(app, config);
        let (first, last) = (FrameSystems::Begin, FrameSystems::End);
        if DeclaredParameters::add::<P>(app) {
            // Piped into one system, since running a system costs Bevy about as much as each of these systems itself.
            let receive = begin_frame::<role::Visualization>.pipe(receive::<P>);
            app.add_systems(PreUpdate, receive.in_set(HanaSystems::Receive).in_set(first))
                .add_systems(Last, send::<P>.pipe(end_frame).in_set(last));
        } else {
            let begin = begin_frame::<role::Visualization>;
            app.add_systems(PreUpdate, begin.in_set(HanaSystems::Receive).in_set(first))
                .add_systems(Last, end_frame.in_set(last));
        }
        #[cfg(feature = "ui")]
        crate::visualization::blackout::build(app);
        #[cfg(feature = "ui")]
        crate::visualization::open_windows::build(app);
        notice_reports::build(app, self.draws_notices);
        if self.resumes_on_bar && was_restarted {
            resume_on_bar::build(app);
        }
        if self.exits_on_shutdown {
            app.add_observer(|_: On<ShutdownRequested>, mut exits: MessageWriter<AppExit>| {
                exits.write(AppExit::Success);
            });
        }
        topic_registry::build::<role::Visualization>(app);
        app.insert_resource(self.settings.clone()).add_systems(PreStartup, announce);
    }

    #[cfg(feature = "ui")]
    fn finish(&self, app: &mut App) {
        crate::visualization::blackout::finish(app);
    }
}

/// Completes the configuration of the node when the app starts, after all plugins are built.
fn announce(
    settings: Res<VisualizationSettings>,
    parameters: Res<DeclaredParameters>,
    can_draw: Option<Res<CanDrawBlack>>,
    mut session: ResMut<MeshSession<role::Visualization>>,
    mut commands: Commands,
) {
    let VisualizationSettings { draws_blackout_itself, headless, .. } = &*settings;
    let blackout =
        BlackoutSupport::of(*draws_blackout_itself, can_draw.is_some(), headless.is_some());
    commands.insert_resource(blackout);
    session.configure(|config| {
        let config = parameters.announce(config, settings.playout);
        let config = config.on_controller_lost(settings.on_controller_lost);
        let config = if blackout.is_supported() { config.with_blackout() } else { config };
        match headless {
            Some(cause) => config.with_headless(cause),
            None => config,
        }
    });
}

/// Counts the frame, so that other nodes see that the program is alive.
///
/// In its last frame, a program that exits cleanly publishes that it was closed. Otherwise, a daemon that has been
/// restarted would take the exit for a crash, since it cannot know the exit code.
fn end_frame(
    mut exits: MessageReader<AppExit>,
    mut session: ResMut<MeshSession<role::Visualization>>,
) {
    session.frame_clock.frame_ends();
    if let Some(node) = session.node() {
        node.frames().tick();
    }
    if exits.is_empty() {
        return;
    }
    let by_person = |exit: &AppExit| *exit == AppExit::Success || *exit == CTRL_C;
    if exits.read().all(by_person)
        && let Some(node) = session.take_node()
    {
        // A failed connection must not keep the window open.
        node.close().wait(CLOSE_TIMEOUT).ok();
    }
}

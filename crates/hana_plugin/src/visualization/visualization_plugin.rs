use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bevy_app::{App, AppExit, Last, Plugin, PreUpdate};
use bevy_ecs::change_detection::Tick;
use bevy_ecs::prelude::*;
use bevy_reflect::TypePath;
use hana_engine::playout::JitterBufferSettings;
use hana_network::{NodeConfig, OnControllerLost, ParameterStore};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::Look;
use hana_protocol::parameter::Parameter;

use crate::events::ShutdownRequested;
use crate::notices::notice_reports;
use crate::session::{MeshSession, begin_frame};
use crate::sets::HanaSystems;
use crate::topics::topic_registry;
use crate::visualization::active_override::ActiveOverride;
use crate::visualization::parameters::{ParameterFields, ParameterStruct};
use crate::visualization::resume_on_bar;
use crate::visualization::resume_on_bar::AwaitingBar;

/// Puts a program that draws onto the mesh. The fields of the resource `P` are its parameters ([`ParameterStruct`]).
///
/// The plugin inserts the resource with its default values, if the program has not. Played values arrive in
/// the resource before `Update`; the program's own changes to it are published. Each frame is counted, so
/// that other nodes see that the program is alive. On a request to end, the plugin triggers
/// [`ShutdownRequested`] and, unless configured otherwise, exits. When the app exits with success, on request
/// or because its window was closed, it publishes that it was closed.
// The fields are four independent choices of the program.
#[allow(clippy::struct_excessive_bools)]
pub struct VisualizationPlugin<P> {
    id: String,
    exits_on_shutdown: bool,
    draws_notices: bool,
    when_app_vanishes: OnControllerLost,
    returns_on_bar: bool,
    playout: JitterBufferSettings,
    headless: Option<String>,
    draws_blackout: bool,
    parameters: PhantomData<fn(P)>,
}

impl<P> VisualizationPlugin<P> {
    /// Creates a visualization named `id`, which matches `[a-z0-9][a-z0-9_-]{0,62}`; any other string is converted.
    ///
    /// A daemon that launches it may assign another id.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            exits_on_shutdown: true,
            draws_notices: true,
            when_app_vanishes: OnControllerLost::default(),
            returns_on_bar: false,
            playout: JitterBufferSettings {
                delay: Duration::ZERO,
                ..JitterBufferSettings::default()
            },
            headless: None,
            draws_blackout: cfg!(feature = "ui"),
            parameters: PhantomData,
        }
    }

    /// Sets what happens to the parameters that an app played, once that app is gone. By default they stay as
    /// they are.
    #[must_use]
    pub const fn when_app_vanishes(mut self, then: OnControllerLost) -> Self {
        self.when_app_vanishes = then;
        self
    }

    /// Starts on the bar: after a restart, such as after a crash, it is black until the next bar begins.
    ///
    /// It waits eight seconds at most, and then shows its former look. By default it shows that look with its
    /// first frame.
    #[must_use]
    pub const fn returns_on_bar(mut self) -> Self {
        self.returns_on_bar = true;
        self
    }

    /// Sets how played values are shown. By default each value takes effect as soon as it arrives.
    ///
    /// With a small delay, curves are reproduced as they were played, whatever the network does to single
    /// messages. [`Smoothing`](crate::visualization::parameters::Smoothing) and
    /// [`Stepped`](crate::visualization::parameters::Stepped) set it for one parameter; `HANA_PLAYOUT_MS`
    /// overrides the delay.
    #[must_use]
    pub const fn playout(mut self, playout: JitterBufferSettings) -> Self {
        self.playout = playout;
        self
    }

    /// Reports that the program runs without a window, and why.
    ///
    /// `hana nodes`, `hana start` and the apps show the cause beside its state.
    /// [`find_display`](crate::visualization::display::find_display) finds out whether there is a display,
    /// and why not. A program with Bevy's `WindowPlugin` that has no window open is reported without this.
    #[must_use]
    pub fn headless(mut self, cause: impl Into<String>) -> Self {
        self.headless = Some(cause.into());
        self
    }

    /// Declares that the program handles
    /// [`ActiveOverride`](crate::visualization::active_override::ActiveOverride) itself.
    ///
    /// It draws black during a blackout, or has nothing visible. Only for programs without the plugin's
    /// feature `ui`, which draws it; without either, the program refuses the command `blackout`.
    #[must_use]
    pub const fn draws_blackout_itself(mut self) -> Self {
        self.draws_blackout = true;
        self
    }

    /// Leaves it to the program to exit on [`ShutdownRequested`].
    #[must_use]
    pub const fn without_exit_on_shutdown(mut self) -> Self {
        self.exits_on_shutdown = false;
        self
    }

    /// Draws no notices: the program shows them itself ([`Notices`](crate::notices::notices::Notices)), or
    /// not at all.
    #[must_use]
    pub const fn without_notices(mut self) -> Self {
        self.draws_notices = false;
        self
    }
}

/// Bevy's exit code after Ctrl-C.
const CTRL_C: AppExit = AppExit::from_code(130);
/// How long a clean departure from the mesh may take.
const GOODBYE: Duration = Duration::from_millis(300);

/// The parameters shared by the network and the program.
#[derive(Resource)]
struct SharedParameters<P> {
    fields: ParameterFields,
    board: Option<Arc<ParameterStore>>,
    declared: Vec<Parameter>,
    /// The initial values of a board: the defaults, or the last look of an earlier instance.
    first: Vec<f32>,
    /// The version of the board that the program has seen.
    seen: u64,
    /// The values that the network and the program last agreed on; kept so that no frame allocates.
    agreed: Vec<f32>,
    /// When the resource last changed, if both know that change.
    agreed_at: Option<Tick>,
    parameters: PhantomData<fn(P)>,
}

impl<P> Plugin for VisualizationPlugin<P>
where
    P: Resource<Mutability = bevy_ecs::component::Mutable> + ParameterStruct + TypePath,
{
    fn build(&self, app: &mut App) {
        let declared = P::declare();
        let id = NodeId::new(&self.id).unwrap_or_else(|_| NodeId::from_hostname(&self.id));
        let config = NodeConfig::from_environment(id).map(|config| {
            let config = config.with_parameters(declared.clone()).with_playout(self.playout);
            let config = P::playout(self.playout)
                .into_iter()
                .fold(config, |config, (name, playout)| config.with_playout_of(name, playout));
            let config = config.with_vanishing_apps(self.when_app_vanishes);
            let config = if self.draws_blackout { config.with_blackout() } else { config };
            match &self.headless {
                Some(cause) => config.with_headless(cause),
                None => config,
            }
        });
        if let Some(mut app_link) = app.world_mut().get_resource_mut::<MeshSession<role::App>>() {
            // In a program with two nodes, this one gets the id that a daemon assigned.
            app_link.keep_own_id();
        }
        let last_look = config.as_ref().ok().and_then(NodeConfig::last_look).cloned();
        let was_restarted = last_look.is_some();
        let look = last_look.unwrap_or_default();
        MeshSession::<role::Visualization>::build(app, config);
        app.init_resource::<P>();
        let first = first_values(&declared, &look);
        let fields = ParameterFields::of::<P>();
        restore(&fields, &mut *app.world_mut().resource_mut::<P>(), &declared, &look);
        #[cfg(feature = "ui")]
        crate::visualization::blackout::build(app);
        #[cfg(feature = "ui")]
        crate::visualization::open_windows::build(app);
        if self.returns_on_bar && !self.draws_blackout {
            tracing::warn!(
                "`returns_on_bar` keeps the program black until a bar begins, which it does not draw: build hana_plugin with its feature `ui`, or declare `draws_blackout_itself()`"
            );
        }
        notice_reports::build(app, self.draws_notices);
        app.insert_resource(ActiveOverride(look.in_force))
            .insert_resource(SharedParameters::<P> {
                fields,
                board: None,
                declared,
                first,
                seen: 0,
                agreed: vec![],
                agreed_at: None,
                parameters: PhantomData,
            })
            .add_systems(
                PreUpdate,
                begin_frame::<role::Visualization>.pipe(receive::<P>).in_set(HanaSystems::Receive),
            )
            .add_systems(Last, send::<P>.pipe(end_frame));
        if self.returns_on_bar && was_restarted {
            resume_on_bar::build(app);
        }
        if self.exits_on_shutdown {
            app.add_observer(|_: On<ShutdownRequested>, mut exits: MessageWriter<AppExit>| {
                exits.write(AppExit::Success);
            });
        }
        topic_registry::build::<role::Visualization>(app);
    }
}

/// Returns the initial values of a board.
fn first_values(declared: &[Parameter], look: &Look) -> Vec<f32> {
    let of = |parameter: &Parameter| last_value(parameter, look).unwrap_or(parameter.default);
    declared.iter().map(of).collect()
}

/// Returns the value that an earlier instance last showed, if it is still valid.
fn last_value(parameter: &Parameter, look: &Look) -> Option<f32> {
    let last = look.parameters.get(&parameter.name)?;
    parameter.check(*last).ok()
}

/// Restores the last look of an earlier instance before the first frame.
fn restore<P: ParameterStruct>(
    fields: &ParameterFields,
    parameters: &mut P,
    declared: &[Parameter],
    look: &Look,
) {
    let values: Vec<f32> = fields
        .read(parameters)
        .zip(declared)
        .map(|(value, parameter)| last_value(parameter, look).unwrap_or(value))
        .collect();
    fields.write(parameters, &values);
}

/// Returns the values when the program joins.
///
/// A value that the program changed before is kept; the others are those of the board, which may have moved already.
fn joined(own: impl Iterator<Item = f32>, first: &[f32], board: &[f32]) -> Vec<f32> {
    let of = |((own, first), board): ((f32, &f32), &f32)| {
        if own.to_bits() == first.to_bits() { *board } else { own }
    };
    own.zip(first).zip(board).map(of).collect()
}

/// Writes played values into the program's resource.
fn receive<P: Resource<Mutability = bevy_ecs::component::Mutable> + ParameterStruct>(
    link: Res<MeshSession<role::Visualization>>,
    mut shared: ResMut<SharedParameters<P>>,
    mut parameters: ResMut<P>,
    mut in_force: ResMut<ActiveOverride>,
    waits: Option<Res<AwaitingBar>>,
) {
    let shared = &mut *shared;
    let Some(node) = link.node() else {
        shared.board = None;
        return;
    };
    if shared.board.is_none() {
        shared.board = Some(Arc::clone(node.board()));
        shared.agreed = shared.declared.iter().map(|parameter| parameter.default).collect();
        shared.seen = 0;
    }
    let Some(board) = &shared.board else { return };
    board.shown_after(link.pace.shown_after());
    let version = board.read_since(shared.seen, &mut shared.agreed);
    if version != shared.seen && waits.is_none() {
        in_force.set_if_neq(ActiveOverride(board.in_force()));
    }
    if shared.seen == 0 {
        let values = joined(shared.fields.read(&*parameters), &shared.first, &shared.agreed);
        shared.fields.write(&mut *parameters, &values);
        shared.agreed_at = None;
    } else if version != shared.seen {
        shared.fields.write(&mut *parameters, &shared.agreed);
        shared.agreed_at = Some(parameters.last_changed());
    }
    shared.seen = version;
}

/// Publishes the program's own changes.
fn send<P: Resource + ParameterStruct>(
    mut shared: ResMut<SharedParameters<P>>,
    parameters: Res<P>,
) {
    let shared = &mut *shared;
    let Some(board) = &shared.board else { return };
    let changed_at = parameters.last_changed();
    if shared.agreed_at.replace(changed_at) == Some(changed_at) {
        return;
    }
    let values = shared.fields.read(&*parameters);
    for ((value, agreed), declared) in values.zip(&mut shared.agreed).zip(&shared.declared) {
        if value.to_bits() == agreed.to_bits() {
            continue;
        }
        *agreed = value;
        if let Err(problem) = board.set(&declared.name, value) {
            tracing::warn!("the program's own value is not shown: {problem}");
        }
    }
}

/// Counts the frame, so that other nodes see that the program is alive.
///
/// With its last frame, a program that exits cleanly publishes that, so that it is not taken for a crash: a
/// daemon that restarted meanwhile cannot know its exit code.
fn end_frame(
    mut exits: MessageReader<AppExit>,
    mut link: ResMut<MeshSession<role::Visualization>>,
) {
    link.pace.frame_ends();
    if let Some(node) = link.node() {
        node.frames().bump();
    }
    if exits.is_empty() {
        return;
    }
    let by_person = |exit: &AppExit| *exit == AppExit::Success || *exit == CTRL_C;
    if exits.read().all(by_person)
        && let Some(node) = link.take_node()
    {
        // A failed connection must not keep the window open.
        node.close().wait(GOODBYE).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_before_the_first_frame_is_not_taken_for_the_programs_own() {
        // The first value is unchanged here and has moved on the board; the program changed the second; the
        // third is unchanged.
        let values = joined([0.0, 0.5, 1.0].into_iter(), &[0.0, 0.0, 1.0], &[0.25, 0.0, 1.0]);
        assert_eq!(values, [0.25, 0.5, 1.0]);
    }
}

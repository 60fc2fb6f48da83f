use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bevy_app::{App, AppExit, Last, PreStartup};
use bevy_ecs::prelude::*;
use hana_network::{SavedPart, SavedState};
use hana_protocol::id::role;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::session::MeshSession;

/// A resource that keeps its value when its program crashes or is restarted.
///
/// Register it with [`persist`](crate::app_ext::HanaAppExt::persist). Before `Startup`, the saved value replaces the
/// value that the program inserted. The resource is saved after a change, at most four times a second, and when the
/// program exits. A frame spends time only on the serialization, so store only data that cannot be recreated, such as
/// seeds, positions and counts; recreate images and meshes from that data.
pub trait Persist: Resource + Serialize + DeserializeOwned {
    /// The name under which the resource is saved; unique in the program.
    const NAME: &'static str;
    /// The version of the fields: increase it whenever they change their meaning or their types.
    ///
    /// Fields that are added with `#[serde(default)]` need no new version.
    const VERSION: u32 = 1;

    /// Converts the state that an older or newer version of the program saved: `MessagePack` bytes with field names.
    ///
    /// `None` discards the saved state.
    #[must_use]
    fn migrate(_version: u32, _bytes: &[u8]) -> Option<Self> {
        None
    }
}

/// The saved state of a resource was discarded: it has another version, or it is damaged.
///
/// The resource keeps the value that the program gave it.
#[derive(Event, Debug, Clone, PartialEq, Eq)]
pub struct PersistedStateDiscarded {
    /// The [`Persist::NAME`] of the resource.
    pub name: &'static str,
    /// The reason, in plain words.
    pub reason: String,
}

/// The file of the program's saved state, once the app has started.
#[derive(Resource, Default)]
struct SavedFile {
    state: Option<SavedState>,
    /// The names under which resources are saved.
    names: BTreeSet<&'static str>,
}

/// Minimum time between two saves of a resource.
const SAVE_INTERVAL: Duration = Duration::from_millis(250);
/// How long an exiting program waits for its state to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Restores the resource when the app starts, and saves it from then on.
pub(crate) fn register<S: Persist>(app: &mut App) {
    if !app.world().contains_resource::<SavedFile>() {
        app.init_resource::<SavedFile>()
            .add_systems(PreStartup, open)
            .add_systems(Last, flush.run_if(on_message::<AppExit>));
    }
    if !app.world_mut().resource_mut::<SavedFile>().names.insert(S::NAME) {
        tracing::error!("'{}' is saved already: each `Persist::NAME` is unique", S::NAME);
        return;
    }
    app.add_systems(PreStartup, restore::<S>.after(open))
        .add_systems(Last, save::<S>.before(flush));
}

/// Opens the file under the id of the program's visualization, or of its controller if it has no visualization.
fn open(
    mut file: ResMut<SavedFile>,
    visualization: Option<Res<MeshSession<role::Visualization>>>,
    controller: Option<Res<MeshSession<role::App>>>,
) {
    if file.state.is_none() {
        let id = visualization.as_ref().map(|session| session.id());
        let id = id.or_else(|| controller.as_ref().map(|session| session.id()));
        if let Some(id) = id {
            file.state = id.map(SavedState::of_environment);
        } else {
            tracing::error!(
                "`persist` saves nothing: add `VisualizationPlugin` or `ControllerPlugin` to the app"
            );
        }
    }
    if let Some(damage) = file.state.as_ref().and_then(SavedState::damage) {
        tracing::warn!("{damage}; the program starts without it");
    }
}

fn restore<S: Persist>(file: Res<SavedFile>, mut commands: Commands) {
    let found = file.state.as_ref().and_then(|state| state.found(S::NAME));
    let Some(SavedPart { version, bytes }) = found else { return };
    let read = if *version == S::VERSION {
        rmp_serde::from_slice(bytes).map_err(|problem| problem.to_string())
    } else {
        S::migrate(*version, bytes)
            .ok_or_else(|| format!("it has version {version}, and this program has {}", S::VERSION))
    };
    match read {
        Ok(state) => commands.insert_resource::<S>(state),
        Err(reason) => {
            let name = S::NAME;
            tracing::warn!("the saved state of '{name}' is discarded: {reason}");
            commands.trigger(PersistedStateDiscarded { name, reason });
        },
    }
}

/// The time at which a resource was last saved, and the problem that has already been reported.
#[derive(Default)]
struct Saving {
    at: Option<Instant>,
    has_changed: bool,
    was_reported: bool,
}

fn save<S: Persist>(
    state: Option<Res<S>>,
    file: Res<SavedFile>,
    exits: MessageReader<AppExit>,
    mut saving: Local<Saving>,
) {
    let Some(file) = file.state.as_ref().filter(|file| file.is_kept()) else { return };
    let Some(state) = state else { return };
    saving.has_changed |= state.is_changed();
    let is_due = !exits.is_empty() || saving.at.is_none_or(|at| at.elapsed() >= SAVE_INTERVAL);
    if !saving.has_changed || !is_due {
        return;
    }
    saving.has_changed = false;
    saving.at = Some(Instant::now());
    let saved =
        rmp_serde::to_vec_named(&*state).map_err(|problem| problem.to_string()).and_then(|bytes| {
            let part = SavedPart { version: S::VERSION, bytes: bytes.into() };
            file.save(S::NAME, part).map_err(|problem| problem.to_string())
        });
    if let Err(problem) = saved
        && !saving.was_reported
    {
        saving.was_reported = true;
        tracing::warn!("cannot save '{}': {problem}", S::NAME);
    }
}

fn flush(file: Res<SavedFile>) {
    if file.state.as_ref().is_some_and(|state| !state.flush(FLUSH_TIMEOUT)) {
        tracing::warn!(
            "the last saved state is not written within {FLUSH_TIMEOUT:?}: the disk is slow"
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use bevy_app::{Startup, Update};
    use hana_protocol::id::NodeId;
    use serde::Deserialize;

    use super::*;

    #[derive(Resource, Serialize, Deserialize, Default, Debug, PartialEq)]
    struct Rings {
        count: u32,
    }

    impl Persist for Rings {
        const NAME: &'static str = "rings";
        const VERSION: u32 = 2;

        fn migrate(version: u32, bytes: &[u8]) -> Option<Self> {
            let count = u32::from_le_bytes(bytes.try_into().ok()?);
            (version == 1).then_some(Self { count })
        }
    }

    #[derive(Resource, Default)]
    struct Reported(Vec<String>);

    fn file(path: &Path) -> SavedState {
        SavedState::in_file(path.into(), &NodeId::new("ripples").unwrap())
    }

    /// A program that saves its rings.
    fn program(path: &Path) -> App {
        let mut app = App::new();
        app.add_message::<AppExit>()
            .init_resource::<Rings>()
            .init_resource::<Reported>()
            .add_observer(|lost: On<PersistedStateDiscarded>, mut reported: ResMut<Reported>| {
                reported.0.push(lost.event().reason.clone());
            });
        app.insert_resource(SavedFile { state: Some(file(path)), names: BTreeSet::new() });
        app.add_systems(PreStartup, open).add_systems(Last, flush.run_if(on_message::<AppExit>));
        register::<Rings>(&mut app);
        app
    }

    fn end(mut app: App) {
        app.world_mut().write_message(AppExit::Success);
        app.update();
    }

    #[test]
    fn a_resource_is_restored_before_startup() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ripples");
        let mut first = program(&path);
        first.add_systems(Update, |mut rings: ResMut<Rings>| rings.count += 1);
        for _ in 0..5 {
            first.update();
        }
        end(first);
        let mut second = program(&path);
        second.add_systems(Startup, |rings: Res<Rings>, mut reported: ResMut<Reported>| {
            reported.0.push(format!("{} at the start", rings.count));
        });
        second.update();
        // The first program counted five frames, and the frame that ended it.
        assert_eq!(second.world().resource::<Reported>().0, ["6 at the start"]);
    }

    #[test]
    fn an_older_version_is_migrated_an_unknown_one_discarded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ripples");
        for (version, bytes, count, reported) in [
            (1, vec![9, 0, 0, 0], 9, None),
            (3, vec![9, 0, 0, 0], 0, Some("version 3, and this program has 2")),
            (2, vec![0xc1], 0, Some("")),
        ] {
            let part = SavedPart { version, bytes: bytes.into() };
            file(&path).save(Rings::NAME, part).unwrap();
            let mut program = program(&path);
            program.update();
            assert_eq!(*program.world().resource::<Rings>(), Rings { count });
            let reasons = &program.world().resource::<Reported>().0;
            assert_eq!(reasons.len(), usize::from(reported.is_some()), "{reasons:?}");
            assert!(reasons.iter().all(|reason| reason.contains(reported.unwrap())), "{reasons:?}");
        }
    }
}

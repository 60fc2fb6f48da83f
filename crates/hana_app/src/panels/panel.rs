use bevy::prelude::*;

/// A part of the window, with the view that it shows.
#[derive(Component)]
pub(crate) struct Panel<V: Send + Sync + 'static> {
    view: Option<V>,
}

impl<V: Send + Sync + 'static> Panel<V> {
    /// Creates a panel that shows nothing yet.
    pub(super) const fn empty() -> Self {
        Self { view: None }
    }
}

/// Spawns the content of a panel again if its view has changed.
pub(super) fn redraw<V: PartialEq + Send + Sync + 'static>(
    panel: Single<(Entity, &mut Panel<V>)>,
    view: V,
    commands: &mut Commands,
    spawn: impl FnOnce(&V, &mut ChildSpawnerCommands),
) {
    let (entity, mut panel) = panel.into_inner();
    if panel.view.as_ref() == Some(&view) {
        return;
    }
    commands
        .entity(entity)
        .despawn_related::<Children>()
        .with_children(|parent| spawn(&view, parent));
    panel.view = Some(view);
}

//! The parts of the window.
//!
//! Each part has a view: plain data computed from the model without I/O. A part is spawned again when its
//! view has changed.

mod details;
mod footer;
mod header;
mod list;
mod toast_stack;

use std::time::Duration;

use bevy::prelude::*;

use crate::{AppSystems, theme};

/// A part of the window, with the view shown there.
#[derive(Component)]
struct Panel<P: Send + Sync + 'static> {
    picture: Option<P>,
}

pub(crate) fn plugin(app: &mut App) {
    app.add_systems(Startup, lay_out).add_systems(
        Update,
        (header::draw, list::draw, details::draw, toast_stack::draw, footer::draw)
            .in_set(AppSystems::Draw),
    );
}

const fn part<P: Send + Sync + 'static>() -> Panel<P> {
    Panel { picture: None }
}

fn lay_out(mut commands: Commands) {
    commands.spawn(Camera2d);
    let panel = |grow: f32| Node {
        flex_direction: FlexDirection::Column,
        flex_grow: grow,
        flex_basis: px(0),
        min_width: px(0),
        padding: UiRect::all(px(theme::GAP)),
        ..default()
    };
    commands.spawn((
        Node {
            width: percent(100),
            height: percent(100),
            flex_direction: FlexDirection::Column,
            ..default()
        },
        children![
            (header::place(), part::<header::HeaderView>()),
            (
                Node { flex_grow: 1.0, min_height: px(0), ..default() },
                children![
                    (
                        Node { overflow: Overflow::scroll_y(), ..panel(1.45) },
                        ScrollPosition::default(),
                        crate::mouse::Scrolls,
                        part::<list::ListView>(),
                    ),
                    (
                        Node { overflow: Overflow::clip(), ..panel(1.0) },
                        BackgroundColor(theme::PANEL),
                        part::<details::DetailsView>(),
                    ),
                ],
            ),
            (footer::place(), part::<footer::FooterView>()),
        ],
    ));
    commands.spawn((toast_stack::place(), part::<toast_stack::ToastStackView>()));
}

/// Spawns a part again if its view has changed.
fn show<P: PartialEq + Send + Sync + 'static>(
    place: Single<(Entity, &mut Panel<P>)>,
    picture: P,
    commands: &mut Commands,
    spawn: impl FnOnce(&P, &mut ChildSpawnerCommands),
) {
    let (entity, mut part) = place.into_inner();
    if part.picture.as_ref() == Some(&picture) {
        return;
    }
    commands
        .entity(entity)
        .despawn_related::<Children>()
        .with_children(|parent| spawn(&picture, parent));
    part.picture = Some(picture);
}

/// Formats the time since a moment of Unix time, in the two largest units.
fn since(since_ms: u64, now_ms: u64) -> String {
    let passed = Duration::from_millis(now_ms.saturating_sub(since_ms)).as_secs();
    match passed {
        0..60 => format!("{passed} s"),
        60..3600 => format!("{} min {:02}", passed / 60, passed % 60),
        3600..86_400 => format!("{} h {:02}", passed / 3600, passed / 60 % 60),
        _ => format!("{} days", passed / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_as_people_say_it() {
        let told = [0, 59, 61, 3_661, 200_000].map(|seconds| since(5, 5 + seconds * 1000));
        assert_eq!(told, ["0 s", "59 s", "1 min 01", "1 h 01", "2 days"]);
        assert_eq!(since(10, 5), "0 s", "the clock of another machine");
    }
}

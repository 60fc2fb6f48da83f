use std::time::Duration;

use bevy::prelude::*;

/// A part of the window, with the view shown there.
#[derive(Component)]
pub(super) struct Panel<P: Send + Sync + 'static> {
    picture: Option<P>,
}

pub(super) const fn part<P: Send + Sync + 'static>() -> Panel<P> {
    Panel { picture: None }
}

/// Spawns a part again if its view has changed.
pub(super) fn show<P: PartialEq + Send + Sync + 'static>(
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
pub(super) fn since(since_ms: u64, now_ms: u64) -> String {
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

//! The notices as a few small lines at the bottom left of the window.

use std::time::Instant;

use bevy_app::{App, Last};
use bevy_color::{Alpha, Color};
use bevy_ecs::prelude::*;
use bevy_ecs::reflect::{AppTypeRegistry, ReflectComponent};
use bevy_reflect::PartialReflect;
use bevy_reflect::std_traits::ReflectDefault;
use bevy_text::{TextColor, TextFont};
use bevy_ui::widget::Text;
use bevy_ui::{BackgroundColor, FocusPolicy, GlobalZIndex, Node, PositionType, UiRect, Val};
use bevy_window::Window;

use crate::notices::notices::Notices;

/// The text entity that shows the notices.
#[derive(Component)]
struct NoticePanel;

const TEXT: Color = Color::srgb(0.93, 0.90, 0.82);
/// The background, so that the text is readable on any picture.
const GROUND: Color = Color::srgba(0.05, 0.05, 0.06, 0.8);
const FONT_SIZE: f32 = 14.0;

/// Exists once a program draws its notices.
#[derive(Resource)]
struct DrawsNotices;

pub(crate) fn build(app: &mut App) {
    if app.world().contains_resource::<DrawsNotices>() {
        // The program's other node draws them already.
        return;
    }
    app.insert_resource(DrawsNotices).add_systems(Last, draw);
}

fn draw(
    notices: Option<Res<Notices>>,
    windows: Query<(), With<Window>>,
    mut panels: Query<(Entity, &mut Text, &mut TextColor, &mut BackgroundColor), With<NoticePanel>>,
    mut commands: Commands,
) {
    let Some(notices) = notices else { return };
    let now = Instant::now();
    let mut seen = 0.0_f32;
    let mut text = String::new();
    for (line, opacity) in notices.fading(now) {
        seen = seen.max(opacity);
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
    }
    let is_wanted = !text.is_empty() && !windows.is_empty();
    if let Ok((entity, mut shown, mut colour, mut ground)) = panels.single_mut() {
        if !is_wanted {
            commands.entity(entity).despawn();
            return;
        }
        if shown.0 != text {
            shown.0 = text;
        }
        colour.set_if_neq(TextColor(TEXT.with_alpha(seen)));
        ground.set_if_neq(BackgroundColor(GROUND.with_alpha(GROUND.alpha() * seen)));
    } else if is_wanted {
        commands.queue(|world: &mut World| spawn(world, text));
    }
}

fn spawn(world: &mut World, text: String) {
    let panel = world
        .spawn((
            NoticePanel,
            Text(text),
            TextFont::from_font_size(FONT_SIZE),
            TextColor(TEXT),
            BackgroundColor(GROUND),
            Node {
                position_type: PositionType::Absolute,
                left: Val::Px(8.0),
                bottom: Val::Px(8.0),
                max_width: Val::Percent(95.0),
                padding: UiRect::axes(Val::Px(8.0), Val::Px(4.0)),
                ..Node::default()
            },
            // Above everything that the program draws, without blocking the mouse.
            GlobalZIndex(i32::MAX),
            FocusPolicy::Pass,
        ))
        .id();
    let_the_mouse_through(world, panel);
}

/// Lets the mouse through the panel.
///
/// With Bevy's picking, every UI node is clickable unless its `Pickable` is set otherwise. The component is looked up
/// by name, so that programs without picking need not build that crate.
fn let_the_mouse_through(world: &mut World, panel: Entity) {
    let Some(registry) = world.get_resource::<AppTypeRegistry>().cloned() else { return };
    let parts = registry.read().get_with_type_path("bevy_picking::Pickable").and_then(|pickable| {
        let default = pickable.data::<ReflectDefault>()?.clone();
        Some((default, pickable.data::<ReflectComponent>()?.clone()))
    });
    let Some((default, component)) = parts else { return };
    let mut ignored = default.default();
    if let Ok(fields) = ignored.reflect_mut().as_struct() {
        for name in ["should_block_lower", "is_hoverable"] {
            if let Some(field) =
                fields.field_mut(name).and_then(<dyn PartialReflect>::try_downcast_mut::<bool>)
            {
                *field = false;
            }
        }
    }
    component.insert(&mut world.entity_mut(panel), ignored.as_partial_reflect(), &registry.read());
}

use bevy::prelude::*;

use crate::app_systems::AppSystems;
use crate::input::mouse::Scrolls;
use crate::panels::panel::part;
use crate::panels::{details, footer, header, node_list, toast_stack};
use crate::theme;

pub(crate) fn plugin(app: &mut App) {
    app.add_systems(Startup, lay_out).add_systems(
        Update,
        (header::draw, node_list::draw, details::draw, toast_stack::draw, footer::draw)
            .in_set(AppSystems::Draw),
    );
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
                        Scrolls,
                        part::<node_list::ListView>(),
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

use bevy::prelude::*;

use crate::app_systems::AppSystems;
use crate::input::mouse::Scrollable;
use crate::panels::details::DetailsView;
use crate::panels::footer::FooterView;
use crate::panels::header::HeaderView;
use crate::panels::node_list::NodeListView;
use crate::panels::panel::Panel;
use crate::panels::toast_stack::ToastStackView;
use crate::panels::{details, footer, header, node_list, toast_stack};
use crate::theme;

pub(crate) fn plugin(app: &mut App) {
    app.add_systems(Startup, spawn_layout).add_systems(
        Update,
        (header::draw, node_list::draw, details::draw, toast_stack::draw, footer::draw)
            .in_set(AppSystems::Draw),
    );
}

fn spawn_layout(mut commands: Commands) {
    commands.spawn(Camera2d);
    let column = |grow: f32| Node {
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
            (header::layout(), Panel::<HeaderView>::empty()),
            (
                Node { flex_grow: 1.0, min_height: px(0), ..default() },
                children![
                    (
                        Node { overflow: Overflow::scroll_y(), ..column(1.45) },
                        ScrollPosition::default(),
                        Scrollable,
                        Panel::<NodeListView>::empty(),
                    ),
                    (
                        Node { overflow: Overflow::clip(), ..column(1.0) },
                        BackgroundColor(theme::PANEL),
                        Panel::<DetailsView>::empty(),
                    ),
                ],
            ),
            (footer::layout(), Panel::<FooterView>::empty()),
        ],
    ));
    commands.spawn((toast_stack::layout(), Panel::<ToastStackView>::empty()));
}

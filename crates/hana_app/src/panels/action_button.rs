use bevy::prelude::*;
use hana_console::OperatorAction;
use hana_engine::roster::NodeView;

use crate::input::mouse::Offers;
use crate::theme;

/// A button for a remedy, with its key.
pub(super) fn button(remedy: OperatorAction, view: &NodeView) -> impl Bundle {
    (
        Button,
        Offers(remedy, view.node.clone()),
        Node {
            padding: UiRect::axes(px(10), px(5)),
            border: UiRect::all(px(1)),
            border_radius: BorderRadius::all(px(4)),
            column_gap: px(8),
            ..default()
        },
        BorderColor::all(theme::LINE),
        BackgroundColor(theme::GROUND),
        children![
            theme::line(remedy.key().to_ascii_uppercase(), theme::MIDDLE, theme::CARE),
            theme::line(remedy.name(), theme::MIDDLE, theme::TEXT),
        ],
    )
}

use bevy::prelude::*;
use hana_console::OperatorAction;
use hana_protocol::id::NodeId;

use crate::input::mouse::OnClick;
use crate::theme;

/// A button for an action, with its key.
pub(super) fn action_button(action: OperatorAction, node: &NodeId) -> impl Bundle {
    (
        OnClick::Request(action, node.clone()),
        Node {
            padding: UiRect::axes(px(10), px(5)),
            border: UiRect::all(px(1)),
            border_radius: BorderRadius::all(px(4)),
            column_gap: px(8),
            ..default()
        },
        BorderColor::all(theme::BORDER),
        BackgroundColor(theme::BACKGROUND),
        children![
            theme::line(action.key().to_ascii_uppercase(), theme::MEDIUM, theme::WARNING),
            theme::line(action.name(), theme::MEDIUM, theme::TEXT),
        ],
    )
}

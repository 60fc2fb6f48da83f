//! Colours and sizes, chosen to be readable from two metres away, on a dark stage.

use bevy::prelude::*;
use hana_engine::roster::NodeView;
use hana_protocol::message::ProcessState;

pub(crate) const BACKGROUND: Color = Color::srgb(0.055, 0.063, 0.078);
pub(crate) const PANEL: Color = Color::srgb(0.094, 0.106, 0.133);
pub(crate) const SELECTED: Color = Color::srgb(0.16, 0.20, 0.28);
pub(crate) const BORDER: Color = Color::srgb(0.20, 0.22, 0.27);
pub(crate) const TEXT: Color = Color::srgb(0.91, 0.93, 0.96);
pub(crate) const MUTED: Color = Color::srgb(0.58, 0.62, 0.69);
pub(crate) const SUCCESS: Color = Color::srgb(0.32, 0.80, 0.56);
pub(crate) const WARNING: Color = Color::srgb(0.98, 0.77, 0.31);
pub(crate) const ERROR: Color = Color::srgb(1.0, 0.42, 0.43);
pub(crate) const ERROR_BACKGROUND: Color = Color::srgb(0.28, 0.09, 0.11);
pub(crate) const SUCCESS_BACKGROUND: Color = Color::srgb(0.08, 0.20, 0.15);
pub(crate) const SLIDER_FILL: Color = Color::srgb(0.40, 0.66, 1.0);

/// Font sizes, in logical pixels.
pub(crate) const TINY: f32 = 13.0;
pub(crate) const SMALL: f32 = 15.0;
pub(crate) const MEDIUM: f32 = 18.0;
pub(crate) const LARGE: f32 = 26.0;
/// The height of a line of the list.
pub(crate) const ROW_HEIGHT: f32 = 34.0;
pub(crate) const GAP: f32 = 12.0;

/// Returns the colour of a node's state.
pub(crate) const fn state_colour(view: &NodeView) -> Color {
    if view.acknowledged {
        return MUTED;
    }
    match view.state {
        ProcessState::Running => SUCCESS,
        ProcessState::Slow | ProcessState::Starting | ProcessState::Restarting => WARNING,
        ProcessState::Stopping | ProcessState::Stopped | ProcessState::Closed => MUTED,
        _ => ERROR,
    }
}

/// A text.
pub(crate) fn text(text: impl Into<String>, size: f32, colour: Color) -> impl Bundle {
    (
        Text::new(text),
        TextFont { font_size: size.into(), ..default() },
        TextColor(colour),
        TextLayout::new(Justify::Left, LineBreak::WordBoundary),
    )
}

/// A text on one line, cut off where there is no room.
pub(crate) fn line(text: impl Into<String>, size: f32, colour: Color) -> impl Bundle {
    (
        Text::new(text),
        TextFont { font_size: size.into(), ..default() },
        TextColor(colour),
        TextLayout::new(Justify::Left, LineBreak::NoWrap),
    )
}

/// An icon for a state, readable without colours.
///
/// Disc: running. Square: crashed or unreachable. Bar: unresponsive. Ring: stopped cleanly.
pub(crate) fn state_icon(view: &NodeView, size: f32) -> impl Bundle {
    let colour = state_colour(view);
    let (width, radius, is_filled) = match view.state {
        ProcessState::Running => (size, size, true),
        ProcessState::Slow | ProcessState::Unresponsive => (size / 2.5, 1.0, true),
        ProcessState::Crashed | ProcessState::CrashLoop | ProcessState::Unreachable => {
            (size, 1.0, true)
        },
        ProcessState::Starting | ProcessState::Restarting => (size, 1.0, false),
        ProcessState::Stopping | ProcessState::Stopped | ProcessState::Closed => {
            (size, size, false)
        },
    };
    (
        Node {
            width: px(width),
            height: px(size),
            margin: UiRect::horizontal(px((size - width) / 2.0)),
            border: UiRect::all(px(2)),
            border_radius: BorderRadius::all(px(radius)),
            flex_shrink: 0.0,
            ..default()
        },
        BorderColor::all(colour),
        BackgroundColor(if is_filled { colour } else { Color::NONE }),
    )
}

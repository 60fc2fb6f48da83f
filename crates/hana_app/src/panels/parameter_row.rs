use bevy::prelude::*;
use bevy::ui::RelativeCursorPosition;
use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::message::OwnershipKind;
use hana_protocol::parameter::format::{hex_of_rgb, word_of_value};
use hana_protocol::parameter::{ColourPart, Parameter, ParameterKind, Sharing};

use crate::input::mouse::Takes;
use crate::input::slider::{Slider, along};
use crate::theme;

/// The widths of the columns before and after a slider.
const NAME: f32 = 96.0;
const VALUE: f32 = 72.0;
const HOLDER: f32 = 96.0;

/// Returns the colour whose parts begin here, and its name.
pub(super) fn colour_at(sliders: &[(Parameter, f32)]) -> Option<(&str, [f32; 3])> {
    let [red, green, blue, ..] = sliders else { return None };
    let part = |(parameter, _): &'_ (Parameter, f32)| match &parameter.kind {
        ParameterKind::Colour { of, part } => Some((of.clone(), *part)),
        _ => None,
    };
    let ParameterKind::Colour { of, .. } = &red.0.kind else { return None };
    let wanted = ColourPart::ALL.map(|part| Some((of.clone(), part)));
    ([part(red), part(green), part(blue)] == wanted)
        .then_some((of.as_str(), [red.1, green.1, blue.1]))
}

fn row() -> Node {
    Node {
        height: px(30),
        flex_shrink: 0.0,
        align_items: AlignItems::Center,
        column_gap: px(10),
        ..default()
    }
}

fn cell(width: f32) -> Node {
    Node { width: px(width), flex_shrink: 0.0, overflow: Overflow::clip(), ..default() }
}

/// Spawns a swatch of a colour, above its three parts.
pub(super) fn spawn_swatch(parent: &mut ChildSpawnerCommands, name: &str, colour: [f32; 3]) {
    let [red, green, blue] = colour;
    parent.spawn((
        row(),
        children![
            (cell(NAME), children![theme::line(name, theme::MIDDLE, theme::TEXT)]),
            (
                Node {
                    height: px(20),
                    flex_grow: 1.0,
                    border_radius: BorderRadius::all(px(4)),
                    ..default()
                },
                BackgroundColor(Color::srgb(red, green, blue)),
            ),
            (
                cell(VALUE + 10.0 + HOLDER),
                children![theme::line(hex_of_rgb(colour), theme::SMALL, theme::TEXT)]
            ),
        ],
    ));
}

pub(super) fn spawn_slider(
    parent: &mut ChildSpawnerCommands,
    view: &NodeView,
    own: Option<&NodeId>,
    parameter: &Parameter,
    value: f32,
) {
    let (name, colour) = match &parameter.kind {
        ParameterKind::Colour { part, .. } => (format!("  {part}"), theme::FAINT),
        _ => (parameter.name.to_string(), theme::TEXT),
    };
    let (begins, ends) = played(parameter, value);
    parent.spawn((
        row(),
        children![
            (cell(NAME), children![theme::line(name, theme::MIDDLE, colour)]),
            (
                Slider { node: view.node.clone(), parameter: parameter.clone(), value },
                RelativeCursorPosition::default(),
                Node {
                    height: px(20),
                    flex_grow: 1.0,
                    border_radius: BorderRadius::all(px(4)),
                    overflow: Overflow::clip(),
                    ..default()
                },
                BackgroundColor(theme::LINE),
                children![(
                    Node {
                        margin: UiRect::left(percent(100.0 * begins)),
                        width: percent(100.0 * (ends - begins)),
                        height: percent(100),
                        ..default()
                    },
                    BackgroundColor(theme::PLAYED),
                )],
            ),
            (
                cell(VALUE),
                children![theme::line(word_of_value(parameter, value), theme::MIDDLE, theme::TEXT)]
            ),
            holder(view, own, parameter),
        ],
    ));
}

/// The owner of a parameter, beside its slider: a click claims or releases the parameter.
fn holder(view: &NodeView, own: Option<&NodeId>, parameter: &Parameter) -> impl Bundle {
    let name = &parameter.name;
    let is_own = own.is_some() && view.taken_by(name) == own;
    let (text, colour) = match (parameter.sharing, view.owner_of(name)) {
        (Sharing::Mix, _) => {
            let count = view.mixed.get(name).map_or(0, Vec::len);
            (format!("mixed, {count}"), theme::FAINT)
        },
        (Sharing::One, Some(_)) if is_own => ("yours".into(), theme::TEXT),
        (Sharing::One, Some(held)) if held.how == OwnershipKind::Claimed => {
            (held.by.to_string(), theme::CARE)
        },
        (Sharing::One, Some(held)) => (format!("({})", held.by), theme::FAINT),
        (Sharing::One, None) => ("take".into(), theme::LINE),
    };
    let (node, parameter) = (view.node.clone(), name.clone());
    (
        Button,
        Takes { node, parameter, is_own },
        cell(HOLDER),
        children![theme::line(text, theme::SMALL, colour)],
    )
}

/// Returns the filled part of a slider's track, 0 to 1; for a choice, the segment of the chosen value.
fn played(parameter: &Parameter, value: f32) -> (f32, f32) {
    match &parameter.kind {
        ParameterKind::Choice(_) => {
            let count = parameter.max - parameter.min + 1.0;
            let index = value.round() - parameter.min;
            (index / count, (index + 1.0) / count)
        },
        _ => (0.0, along(parameter, value)),
    }
}

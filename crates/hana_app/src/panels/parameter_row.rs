use bevy::prelude::*;
use bevy::ui::RelativeCursorPosition;
use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::message::OwnershipKind;
use hana_protocol::parameter::format::{hex_of_rgb, word_of_value};
use hana_protocol::parameter::{ColourPart, Parameter, ParameterKind, ParameterName, Sharing};

use crate::input::mouse::OnClick;
use crate::input::slider::{Slider, position_of};
use crate::model::effect::AppEffect;
use crate::theme;

/// The widths of the columns before and after a slider.
const NAME_WIDTH: f32 = 96.0;
const VALUE_WIDTH: f32 = 72.0;
const OWNER_WIDTH: f32 = 96.0;

/// Returns the name and the values of a colour, if the first three sliders are its parts.
pub(super) fn colour_at(sliders: &[(Parameter, f32)]) -> Option<(&str, [f32; 3])> {
    let [red, green, blue, ..] = sliders else { return None };
    let part_of = |(parameter, _): &'_ (Parameter, f32)| match &parameter.kind {
        ParameterKind::Colour { of, part } => Some((of.clone(), *part)),
        _ => None,
    };
    let ParameterKind::Colour { of, .. } = &red.0.kind else { return None };
    let wanted = ColourPart::ALL.map(|part| Some((of.clone(), part)));
    ([part_of(red), part_of(green), part_of(blue)] == wanted)
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
            (cell(NAME_WIDTH), children![theme::line(name, theme::MEDIUM, theme::TEXT)]),
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
                cell(VALUE_WIDTH + 10.0 + OWNER_WIDTH),
                children![theme::line(hex_of_rgb(colour), theme::SMALL, theme::TEXT)]
            ),
        ],
    ));
}

pub(super) fn spawn_slider(
    parent: &mut ChildSpawnerCommands,
    view: &NodeView,
    own_id: Option<&NodeId>,
    parameter: &Parameter,
    value: f32,
) {
    let (name, colour) = match &parameter.kind {
        ParameterKind::Colour { part, .. } => (format!("  {part}"), theme::MUTED),
        _ => (parameter.label().to_owned(), theme::TEXT),
    };
    let value_text = format!("{} {}", word_of_value(parameter, value), parameter.unit);
    let (start, end) = filled(parameter, value);
    parent.spawn((
        row(),
        children![
            (cell(NAME_WIDTH), children![theme::line(name, theme::MEDIUM, colour)]),
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
                BackgroundColor(theme::BORDER),
                children![(
                    Node {
                        margin: UiRect::left(percent(100.0 * start)),
                        width: percent(100.0 * (end - start)),
                        height: percent(100),
                        ..default()
                    },
                    BackgroundColor(theme::SLIDER_FILL),
                )],
            ),
            (
                cell(VALUE_WIDTH),
                children![theme::line(value_text.trim_end(), theme::MEDIUM, theme::TEXT)]
            ),
            owner_cell(view, own_id, parameter),
        ],
    ));
}

/// The owner of a parameter, beside the slider; a click claims or releases the parameter.
fn owner_cell(view: &NodeView, own_id: Option<&NodeId>, parameter: &Parameter) -> impl Bundle {
    let name = &parameter.name;
    let (text, colour) = owner_text(view, own_id, parameter);
    let (node, parameters) = (view.node.clone(), vec![name.clone()]);
    (
        OnClick::Apply(if is_own(view, own_id, name) {
            AppEffect::Release(node, parameters)
        } else {
            AppEffect::Claim(node, parameters)
        }),
        cell(OWNER_WIDTH),
        children![theme::line(text, theme::SMALL, colour)],
    )
}

/// Returns whether this app has claimed the parameter.
fn is_own(view: &NodeView, own_id: Option<&NodeId>, name: &ParameterName) -> bool {
    own_id.is_some() && view.taken_by(name) == own_id
}

/// Returns the owner of a parameter as text, with its colour; in parentheses if the owner only plays the parameter.
fn owner_text(view: &NodeView, own_id: Option<&NodeId>, parameter: &Parameter) -> (String, Color) {
    let name = &parameter.name;
    match (parameter.sharing, view.owner_of(name)) {
        (Sharing::Mix, _) => {
            let count = view.mixed.get(name).map_or(0, Vec::len);
            (format!("mixed, {count}"), theme::MUTED)
        },
        (Sharing::One, Some(_)) if is_own(view, own_id, name) => ("yours".into(), theme::TEXT),
        (Sharing::One, Some(owner)) if owner.how == OwnershipKind::Claimed => {
            (owner.by.to_string(), theme::WARNING)
        },
        (Sharing::One, Some(owner)) => (format!("({})", owner.by), theme::MUTED),
        (Sharing::One, None) => ("claim".into(), theme::BORDER),
    }
}

/// Returns the start and the end of the filled part of a track, 0 to 1; for a choice, of the chosen value's segment.
fn filled(parameter: &Parameter, value: f32) -> (f32, f32) {
    match &parameter.kind {
        ParameterKind::Choice(_) => {
            let count = parameter.max - parameter.min + 1.0;
            let index = value.round() - parameter.min;
            (index / count, (index + 1.0) / count)
        },
        _ => (0.0, position_of(parameter, value)),
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, clippy::unwrap_used)]
mod tests {
    use hana_protocol::message::{Ownership, Priority, ProcessState};

    use super::*;
    use crate::test_views::{id, view};

    fn parameter(name: &str) -> Parameter {
        Parameter::new(ParameterName::new(name).unwrap(), 0.0)
    }

    fn part(of: &str, part: ColourPart) -> Parameter {
        let kind = ParameterKind::Colour { of: of.into(), part };
        Parameter { kind, ..parameter(of) }
    }

    #[test]
    fn colour_starts_only_at_three_parts_in_order() {
        let [red, green, blue] = ColourPart::ALL.map(|of| (part("tint", of), 0.5));
        let all = [red.clone(), green.clone(), blue.clone()];
        assert_eq!(colour_at(&all), Some(("tint", [0.5; 3])));
        assert_eq!(colour_at(&all[1..]), None);
        assert_eq!(colour_at(&[green.clone(), red.clone(), blue.clone()]), None);
        let other = (part("glow", ColourPart::Blue), 0.5);
        assert_eq!(colour_at(&[red, green, other]), None);
        assert_eq!(colour_at(&[(parameter("a"), 0.0), (parameter("b"), 0.0), blue]), None);
    }

    #[test]
    fn choices_fill_their_segment_and_ranges_fill_up_to_the_value() {
        let name = ParameterName::new("mode").unwrap();
        let mode = Parameter::choice(name, ["a", "b"].map(String::from).into(), 0);
        assert_eq!([0.0, 1.0].map(|value| filled(&mode, value)), [(0.0, 0.5), (0.5, 1.0)]);
        let zoom = parameter("zoom");
        assert_eq!([-1.0, 0.0, 1.0].map(|value| filled(&zoom, value).1), [0.0, 0.5, 1.0]);
    }

    #[test]
    fn owner_text_distinguishes_claims_from_use() {
        let owned = |how| NodeView {
            owners: vec![Ownership {
                parameter: ParameterName::new("zoom").unwrap(),
                by: id("foh"),
                how,
                priority: Priority::default(),
                stamp: None,
            }],
            ..view("a", ProcessState::Running)
        };
        let text =
            |view: &NodeView, own: &str| owner_text(view, Some(&id(own)), &parameter("zoom")).0;
        let claimed = owned(OwnershipKind::Claimed);
        assert_eq!([text(&claimed, "foh"), text(&claimed, "osc")], ["yours", "foh"]);
        assert_eq!(text(&owned(OwnershipKind::Active), "osc"), "(foh)");
        assert_eq!(text(&view("a", ProcessState::Running), "osc"), "claim");
        let mixed = Parameter { sharing: Sharing::Mix, ..parameter("zoom") };
        assert_eq!(owner_text(&claimed, None, &mixed).0, "mixed, 0");
    }
}

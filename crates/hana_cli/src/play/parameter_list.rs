use hana_protocol::parameter::{ColourPart, Parameter, ParameterKind};
use hana_time::sanitize_line;

/// Maximum length of a text that the visualization announces.
const LONGEST: usize = 120;

/// Formats the parameters of a visualization for people: one line for each parameter, in groups.
pub(crate) fn of_parameters(parameters: &[Parameter]) -> String {
    let shown: Vec<&Parameter> = parameters.iter().filter(|one| !is_later_part(one)).collect();
    let mut groups: Vec<&str> = vec![""];
    for parameter in &shown {
        if !groups.contains(&parameter.group.as_str()) {
            groups.push(&parameter.group);
        }
    }
    let rows: Vec<(&str, [String; 3])> =
        shown.iter().map(|one| (one.group.as_str(), row(one))).collect();
    let width = |column: usize| {
        rows.iter().map(|(_, row)| row[column].chars().count()).max().unwrap_or_default()
    };
    let (names, values) = (width(0), width(1));
    let mut lines = vec![];
    for group in groups {
        if !group.is_empty() {
            lines.push(sanitize_line(group, LONGEST));
        }
        let indent = if group.is_empty() { "" } else { "    " };
        for (_, [name, value, text]) in rows.iter().filter(|(of, _)| *of == group) {
            let line = format!("{indent}{name:names$}  {value:values$}  {text}");
            lines.push(line.trim_end().to_owned());
        }
    }
    lines.join("\n")
}

/// Whether the parameter is the green or blue component of a colour, which is shown with the red component.
const fn is_later_part(parameter: &Parameter) -> bool {
    matches!(&parameter.kind, ParameterKind::Colour { part, .. } if !matches!(part, ColourPart::Red))
}

/// Returns the name, the valid values and the description of a parameter.
fn row(parameter: &Parameter) -> [String; 3] {
    let Parameter { name, min, max, kind, unit, label, description, .. } = parameter;
    let (name, values) = match kind {
        ParameterKind::Colour { of, .. } => (of.clone(), "#rrggbb".into()),
        ParameterKind::Toggle => (name.to_string(), "on, off".into()),
        ParameterKind::Choice(choices) => (name.to_string(), choices.join(", ")),
        ParameterKind::Range => (name.to_string(), format!("{min} to {max} {unit}")),
    };
    let meaning = [label, description].map(String::as_str);
    let meaning: Vec<&str> = meaning.into_iter().filter(|text| !text.is_empty()).collect();
    [name, values, meaning.join(": ")].map(|text| sanitize_line(text.trim_end(), LONGEST))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hana_protocol::parameter::ParameterName;

    use super::*;

    #[test]
    fn parameters_are_listed_by_groups_with_units_and_labels() {
        let name = |name| ParameterName::new(name).unwrap();
        let grouped = |parameter| Parameter { group: "ring".into(), ..parameter };
        let mut all = vec![
            grouped(Parameter {
                max: 10.0,
                unit: "Hz".into(),
                label: "Ring speed".into(),
                description: "rings a second".into(),
                ..Parameter::unipolar(name("speed"), 0.0)
            }),
            Parameter::new(name("zoom"), 0.0),
            grouped(Parameter::toggle(name("lit"), true)),
        ];
        all.extend(Parameter::colour(&name("tint"), [1.0; 3]).unwrap());
        assert_eq!(
            of_parameters(&all),
            "zoom   -1 to 1\n\
             tint   #rrggbb\n\
             ring\n    \
                 speed  0 to 10 Hz  Ring speed: rings a second\n    \
                 lit    on, off"
        );
    }
}

use std::collections::BTreeMap;

use anyhow::anyhow;
use hana_network::{CommandError, Node};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Set, SetReply};
use hana_protocol::parameter::{Modulator, Parameter, ParameterName, format};
use serde::Serialize;

use crate::arguments::SetArguments;
use crate::output::Format;
use crate::play::absent::while_absent;
use crate::play::parameter_list;
use crate::suggest::did_you_mean;
use crate::{mesh, output};

/// The result as JSON: the values that were set, with further details.
#[derive(Serialize)]
struct Done {
    #[serde(flatten)]
    values: BTreeMap<ParameterName, f32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    modulators: BTreeMap<ParameterName, Modulator>,
    #[serde(flatten)]
    report: SetReply,
}

pub(crate) fn run(arguments: &SetArguments, format: Format) -> anyhow::Result<()> {
    let (modulators, values) = modulators_and_words(&arguments.values)?;
    let node = mesh::join()?;
    if arguments.values.is_empty() {
        let declared = declared_by(&node, &arguments.node)?;
        return output::print(format, &declared, || parameter_list::of_parameters(&declared));
    }
    let parameters = values_of(&node, &arguments.node, &values)?;
    let set = Set { parameters, modulators, at: arguments.at, take: arguments.take };
    let report = while_absent(&node, &arguments.node, || {
        let pending =
            node.command::<role::Visualization, _>(&arguments.node, set.clone(), mesh::COMMAND);
        Ok(pending.wait(mesh::COMMAND * 2)?)
    })
    .map_err(|problem| with_hint(&node, arguments, problem))?;
    let done = Done { values: set.parameters, modulators: set.modulators, report };
    output::print(format, &done, || describe(arguments, report))
}

/// Adds the most similar parameter to the error, if a name is not declared.
fn with_hint(
    own: &Node<role::App>,
    arguments: &SetArguments,
    error: anyhow::Error,
) -> anyhow::Error {
    let Ok(Some(info)) = mesh::info_of(own, &arguments.node) else { return error };
    let declared = || info.parameters.iter().map(|parameter| parameter.name.as_str());
    let unknown =
        arguments.values.iter().find(|(name, _)| declared().all(|known| known != name.as_str()));
    match unknown.and_then(|(name, _)| did_you_mean(name.as_str(), declared())) {
        Some(hint) => anyhow!("{error:#}{hint}"),
        None => error,
    }
}

fn describe(arguments: &SetArguments, report: SetReply) -> String {
    let as_set = |(name, word): &(ParameterName, String)| {
        word.parse::<f32>()
            .map_or_else(|_| format!("{name} {word}"), |value| format!("{name} {value:+}"))
    };
    let values: Vec<String> = arguments.values.iter().map(as_set).collect();
    let values = format!("'{}' has {}", arguments.node, values.join(", "));
    match report {
        SetReply { waits_for: Some(beat), .. } => format!("{values} from beat {beat} on"),
        SetReply { late_for: Some(beat), .. } => {
            format!("{values}: at once, since beat {beat} had passed")
        },
        SetReply { .. } => values,
    }
}

type Modulators = BTreeMap<ParameterName, Modulator>;

/// Separates modulators from other values.
fn modulators_and_words(
    words: &[(ParameterName, String)],
) -> anyhow::Result<(Modulators, Vec<(ParameterName, String)>)> {
    let mut modulators = BTreeMap::new();
    let mut values = vec![];
    for (name, word) in words {
        if Modulator::looks_like_modulator(word) {
            let modulator = word.parse().map_err(|problem| anyhow!("{name}={word}: {problem}"))?;
            modulators.insert(name.clone(), modulator);
        } else {
            values.push((name.clone(), word.clone()));
        }
    }
    Ok((modulators, values))
}

/// Converts words to values. Numbers need no conversion; for other words, the visualization's declaration is queried.
fn values_of(
    own: &Node<role::App>,
    node: &NodeId,
    words: &[(ParameterName, String)],
) -> anyhow::Result<BTreeMap<ParameterName, f32>> {
    let numbers: Option<BTreeMap<ParameterName, f32>> =
        words.iter().map(|(name, word)| Some((name.clone(), word.parse().ok()?))).collect();
    if let Some(numbers) = numbers {
        return Ok(numbers);
    }
    let declared = declared_by(own, node)?;
    let mut values = BTreeMap::new();
    for (name, word) in words {
        values.extend(format::values_of_words(&declared, name.as_str(), word)?);
    }
    Ok(values)
}

/// Queries the parameters that a visualization announces.
fn declared_by(own: &Node<role::App>, node: &NodeId) -> anyhow::Result<Vec<Parameter>> {
    let info = while_absent(own, node, || {
        Ok(mesh::info_of(own, node)?.ok_or_else(|| CommandError::NoSuchNode { node: node.clone() }))
    })?;
    Ok(info.parameters)
}

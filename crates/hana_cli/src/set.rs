use std::collections::BTreeMap;

use anyhow::anyhow;
use hana_network::Node;
use hana_protocol::NodeId;
use hana_protocol::NodeInfo;
use hana_protocol::ParameterName;
use hana_protocol::Set;
use hana_protocol::Topic;
use hana_protocol::parameter_words;
use hana_protocol::role;

use crate::arguments::SetArguments;
use crate::mesh;
use crate::process::say;

pub(crate) fn run(arguments: &SetArguments, json: bool) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let parameters = values_of(&node, &arguments.node, &arguments.values)?;
    let set = Set { parameters: parameters.clone() };
    let pending = node.command::<role::Visualization, _>(&arguments.node, set, mesh::COMMAND);
    pending.wait(mesh::COMMAND * 2)??;
    say(json, &parameters, || {
        let as_set = |(name, word): &(ParameterName, String)| {
            word.parse::<f32>()
                .map_or_else(|_| format!("{name} {word}"), |value| format!("{name} {value:+}"))
        };
        let values: Vec<String> = arguments.values.iter().map(as_set).collect();
        format!("'{}' has {}", arguments.node, values.join(", "))
    })
}

/// What the words stand for. Numbers stand for themselves; for others the visualization is asked what it declares.
fn values_of(
    own: &Node<role::App>,
    of: &NodeId,
    words: &[(ParameterName, String)],
) -> anyhow::Result<BTreeMap<ParameterName, f32>> {
    let numbers: Option<BTreeMap<ParameterName, f32>> =
        words.iter().map(|(name, word)| Some((name.clone(), word.parse().ok()?))).collect();
    if let Some(numbers) = numbers {
        return Ok(numbers);
    }
    let info = own
        .ask(Topic::<NodeInfo>::info(of.clone()), mesh::ASK)
        .wait(mesh::ASK * 2)?
        .pop()
        .ok_or_else(|| {
        anyhow!("'{of}' does not say what can be set; `hana nodes` lists who is there")
    })?;
    let mut values = BTreeMap::new();
    for (name, word) in words {
        let declared = &info.message.parameters;
        values.extend(parameter_words::values_of_words(declared, name.as_str(), word)?);
    }
    Ok(values)
}

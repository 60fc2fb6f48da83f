use std::collections::BTreeMap;

use hana_protocol::Set;
use hana_protocol::role;

use crate::arguments::SetArguments;
use crate::mesh;
use crate::process::say;

pub(crate) fn run(arguments: &SetArguments, json: bool) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let parameters: BTreeMap<_, _> = arguments.values.iter().cloned().collect();
    let set = Set { parameters: parameters.clone() };
    let pending = node.command::<role::Visualization, _>(&arguments.node, set, mesh::COMMAND);
    pending.wait(mesh::COMMAND * 2)??;
    say(json, &parameters, || {
        let values: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name} {value:+}")).collect();
        format!("'{}' has {}", arguments.node, values.join(", "))
    })
}

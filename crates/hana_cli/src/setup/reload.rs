//! `hana reload`: makes a daemon read its catalogue and settings again.

use std::time::Duration;

use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Reload, Reloaded};

use crate::arguments::ReloadArguments;
use crate::output::Format;
use crate::{mesh, output};

/// Time limit for the reload, since a disk may be slow.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn run(arguments: &ReloadArguments, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let host = arguments.host.as_ref().unwrap_or_else(|| node.host());
    let reloaded = node
        .command::<role::Daemon, _>(host, Reload {}, RELOAD_TIMEOUT)
        .wait(RELOAD_TIMEOUT * 2)?;
    let reloaded = reloaded.map_err(|problem| mesh::explain(&node, problem))?;
    output::print(format, &reloaded, || describe(host, &reloaded))
}

fn describe(host: &NodeId, reloaded: &Reloaded) -> String {
    let Reloaded { added, removed, changed, later } = reloaded;
    let lists = [("added", added), ("removed", removed), ("changed", changed)];
    let lists = lists.iter().filter(|(_, names)| !names.is_empty());
    let mut parts: Vec<String> = lists
        .map(|(what, names)| {
            let names: Vec<&str> = names.iter().map(NodeId::as_str).collect();
            format!("{what}: {}", names.join(", "))
        })
        .collect();
    if parts.is_empty() {
        parts.push("the catalogue has not changed".into());
    }
    if !later.is_empty() {
        parts.push(format!("after a restart of hanad: {}", later.join(", ")));
    }
    format!("'{host}': {}", parts.join("; "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reply_names_changes_and_what_needs_a_restart() {
        let id = |name| NodeId::new(name).unwrap();
        let reloaded = Reloaded {
            added: vec![id("stars")],
            later: vec!["show".into()],
            ..Reloaded::default()
        };
        let text = describe(&id("wall"), &reloaded);
        assert_eq!(text, "'wall': added: stars; after a restart of hanad: show");
        let text = describe(&id("wall"), &Reloaded::default());
        assert_eq!(text, "'wall': the catalogue has not changed");
    }
}

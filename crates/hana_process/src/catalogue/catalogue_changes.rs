use std::fmt;

use hana_protocol::id::NodeId;

use crate::catalogue::catalogue::Catalogue;

/// The difference between a catalogue and its replacement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogueChanges {
    /// The entries that only the new catalogue has.
    pub added: Vec<NodeId>,
    /// The entries that only the old catalogue had.
    pub removed: Vec<NodeId>,
    /// The entries that differ.
    pub changed: Vec<NodeId>,
    /// Whether the launch limits differ.
    pub launch_limits: bool,
}

impl CatalogueChanges {
    /// Compares `old` with `new`.
    #[must_use]
    pub fn between(old: &Catalogue, new: &Catalogue) -> Self {
        let mut changes =
            Self { launch_limits: old.launch_limits() != new.launch_limits(), ..Self::default() };
        for entry in new.entries() {
            match old.get(entry.name.as_str()) {
                Err(_) => changes.added.push(entry.name.clone()),
                Ok(before) if before != entry => changes.changed.push(entry.name.clone()),
                Ok(_) => {},
            }
        }
        let is_gone = |name: &NodeId| new.get(name.as_str()).is_err();
        changes.removed = old.entries().map(|entry| entry.name.clone()).filter(is_gone).collect();
        changes
    }

    /// Returns whether the catalogues are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for CatalogueChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |names: &[NodeId]| {
            let names: Vec<&str> = names.iter().map(NodeId::as_str).collect();
            names.join(", ")
        };
        let lists =
            [("added", &self.added), ("removed", &self.removed), ("changed", &self.changed)];
        let lists = lists.iter().filter(|(_, list)| !list.is_empty());
        let mut parts: Vec<String> =
            lists.map(|(what, list)| format!("{what}: {}", names(list))).collect();
        if self.launch_limits {
            parts.push("launch limits changed".into());
        }
        if parts.is_empty() {
            return f.write_str("nothing changed");
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn entries_are_added_removed_or_changed() {
        let parse = |text: &str| Catalogue::parse(text, Path::new("v.toml")).unwrap();
        let old = parse(
            "visualizations.a.program = \"a\"\nvisualizations.b.program = \"b\"\nvisualizations.c.program = \"c\"",
        );
        let new = parse(
            "launch.at_once = 9\nvisualizations.b.program = \"b2\"\nvisualizations.c.program = \"c\"\nvisualizations.d.program = \"d\"",
        );
        let changes = CatalogueChanges::between(&old, &new);
        let text = "added: d; removed: a; changed: b; launch limits changed";
        assert_eq!(changes.to_string(), text);
        assert!(CatalogueChanges::between(&new, &new.clone()).is_empty());
    }
}

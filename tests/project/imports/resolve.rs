//! Resolution of a path in the code to modules and definitions.

use std::collections::BTreeSet;

use super::module_tree::ModuleTree;

/// The module or definition to which a path refers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// A module, by its index.
    Module(usize),
    /// A name and the module that defines it.
    Definition(usize, String),
}

/// The lookups in progress, so that `use a::a` does not recurse into itself.
type Open = BTreeSet<(usize, String)>;

impl ModuleTree {
    /// Resolves a path in this module. Returns an empty set if the path leads out of the crate.
    pub(crate) fn resolve(&self, module: usize, path: &[String]) -> BTreeSet<Target> {
        self.resolve_within(module, path, &mut Open::new())
    }

    fn resolve_within(&self, module: usize, path: &[String], open: &mut Open) -> BTreeSet<Target> {
        let Some((first, mut rest)) = path.split_first() else { return BTreeSet::new() };
        let mut found = match first.as_str() {
            "crate" => BTreeSet::from([Target::Module(0)]),
            "self" => BTreeSet::from([Target::Module(module)]),
            "super" => self.parent(module),
            name => self.look_up(module, name, open),
        };
        while let Some((next, after)) = rest.split_first() {
            found = found.into_iter().flat_map(|at| self.step(at, next, open)).collect();
            rest = after;
        }
        found
    }

    fn parent(&self, module: usize) -> BTreeSet<Target> {
        self.modules[module].parent.map(Target::Module).into_iter().collect()
    }

    fn step(&self, at: Target, next: &str, open: &mut Open) -> BTreeSet<Target> {
        match at {
            Target::Module(module) if next == "super" => self.parent(module),
            Target::Module(_) if next == "self" => BTreeSet::from([at]),
            Target::Module(module) => self.look_up(module, next, open),
            // The rest of the path is a variant or an associated item, which belongs to the file of its type.
            Target::Definition(..) => BTreeSet::from([at]),
        }
    }

    /// Looks up a name in a module: first its own names, then its globs.
    fn look_up(&self, number: usize, name: &str, open: &mut Open) -> BTreeSet<Target> {
        if !open.insert((number, name.to_owned())) {
            return BTreeSet::new();
        }
        let module = &self.modules[number];
        let children = module.children.get(name).into_iter().flatten();
        let mut found: BTreeSet<Target> = children.map(|child| Target::Module(*child)).collect();
        if module.names.contains(name) {
            found.insert(Target::Definition(number, name.to_owned()));
        }
        for import in module.imports.iter().filter(|import| import.name.as_deref() == Some(name)) {
            found.extend(self.resolve_within(number, &import.path, open));
        }
        if found.is_empty() {
            for glob in module.imports.iter().filter(|import| import.name.is_none()) {
                for target in self.resolve_within(number, &glob.path, open) {
                    if let Target::Module(other) = target {
                        found.extend(self.look_up(other, name, open));
                    }
                }
            }
        }
        open.remove(&(number, name.to_owned()));
        found
    }

    /// Returns whether a module is the module `above` or a descendant of it.
    pub(crate) fn is_within(&self, module: usize, above: usize) -> bool {
        self.modules[module].path.starts_with(&self.modules[above].path)
    }
}

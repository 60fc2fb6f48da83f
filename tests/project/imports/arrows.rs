//! The uses between files: which file uses a name that another file defines.

use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Attribute, ImplItem, Item, Macro, TraitItem};

use super::module_tree::ModuleTree;
use super::resolve::Target;
use super::syntax::PathUse;
use super::{Arrow, syntax};

/// Lists all uses of a name that another file defines.
pub(crate) fn arrows(tree: &ModuleTree) -> Vec<Arrow> {
    (0..tree.modules.len()).flat_map(|module| arrows_from(tree, module)).collect()
}

fn arrows_from(tree: &ModuleTree, number: usize) -> Vec<Arrow> {
    let module = &tree.modules[number];
    let mut found = vec![];
    let mut add = |definer: usize, name: &[String], line: usize| {
        let to = &tree.modules[definer];
        if to.file != module.file {
            let name = [&to.path[..], name].concat().join("::");
            found.push(Arrow { from: module.file.clone(), to: to.file.clone(), name, line });
        }
    };
    for import in module.imports.iter().filter(|import| import.line > 0) {
        for target in tree.resolve(number, &import.path) {
            // A module in a path only leads to names, and their uses are found separately.
            let Target::Definition(definer, name) = target else { continue };
            // A table of contents re-exports the definitions in its child modules, which does not count as a use.
            if !(import.is_reexport && tree.is_within(definer, number)) {
                add(definer, &[name], import.line);
            }
        }
    }
    let mut paths = PathFinder::default();
    for item in &module.items {
        paths.visit_item(item);
    }
    for PathUse { path, line, is_in_attribute } in paths.0 {
        for target in tree.resolve(number, &path) {
            match target {
                Target::Definition(definer, name) => add(definer, &[name], line),
                Target::Module(other) if is_in_attribute => add(other, &[], line),
                Target::Module(_) => {},
            }
        }
    }
    found
}

/// Finds each path outside of `use`.
#[derive(Default)]
struct PathFinder(Vec<PathUse>);

impl Visit<'_> for PathFinder {
    fn visit_item(&mut self, item: &Item) {
        if !syntax::is_test_only(syntax::item_attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &ImplItem) {
        if !syntax::is_test_only(syntax::impl_item_attributes(item)) {
            syn::visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &TraitItem) {
        if !syntax::is_test_only(syntax::trait_item_attributes(item)) {
            syn::visit::visit_trait_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &syn::Field) {
        if !syntax::is_test_only(&field.attrs) {
            syn::visit::visit_field(self, field);
        }
    }

    fn visit_local(&mut self, local: &syn::Local) {
        if !syntax::is_test_only(&local.attrs) {
            syn::visit::visit_local(self, local);
        }
    }

    // The names of a `use` are handled as imports.
    fn visit_item_use(&mut self, _: &syn::ItemUse) {}

    fn visit_path(&mut self, path: &syn::Path) {
        if path.leading_colon.is_none() {
            let line = path.span().start().line;
            self.0.push(PathUse { path: syntax::segments(path), line, is_in_attribute: false });
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &Macro) {
        self.visit_path(&called.path);
        syntax::paths_in_tokens(called.tokens.clone(), &mut self.0);
    }

    fn visit_attribute(&mut self, attribute: &Attribute) {
        if !attribute.path().is_ident("doc")
            && let syn::Meta::List(list) = &attribute.meta
        {
            syntax::paths_in_strings(list.tokens.clone(), &mut self.0);
        }
    }
}

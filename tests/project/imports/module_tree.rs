//! All modules of production code, from the root of a library or program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::Visit;
use syn::{Item, ItemMod};

use super::syntax::Import;
use super::{SourceError, Sources, syntax};

/// The modules of a crate; the first is the root.
pub(crate) struct ModuleTree {
    pub(crate) modules: Vec<Module>,
}

/// A module, which is a file or part of one.
pub(crate) struct Module {
    /// The path from the root, without `crate`.
    pub(crate) path: Vec<String>,
    pub(crate) file: PathBuf,
    pub(crate) parent: Option<usize>,
    /// The child modules by name. A name has several modules if it stands for another file on each platform.
    pub(crate) children: BTreeMap<String, Vec<usize>>,
    /// The names that the module defines.
    pub(crate) names: BTreeSet<String>,
    pub(crate) imports: Vec<Import>,
    /// All items except modules and tests.
    pub(crate) items: Vec<Item>,
}

struct Reader<'a> {
    sources: &'a Sources,
    modules: Vec<Module>,
}

/// The file of a module, and the folder with the files of its child modules.
#[derive(Clone)]
struct Place {
    file: PathBuf,
    folder: PathBuf,
}

impl ModuleTree {
    pub(crate) fn read(sources: &Sources, root: &Path) -> Result<Self, SourceError> {
        let mut reader = Reader { sources, modules: vec![] };
        let items = reader.parse(root)?;
        let folder = root.parent().unwrap_or_else(|| Path::new("")).to_owned();
        reader.add(None, vec![], &Place { file: root.to_owned(), folder }, items)?;
        Ok(Self { modules: reader.modules })
    }
}

impl Reader<'_> {
    fn parse(&self, file: &Path) -> Result<Vec<Item>, SourceError> {
        let error = |reason: &dyn std::fmt::Display| SourceError::new(file, reason);
        let text = self.sources.0.get(file).ok_or_else(|| error(&"there is no such file"))?;
        Ok(syn::parse_file(text).map_err(|reason| error(&reason))?.items)
    }

    fn add(
        &mut self,
        parent: Option<usize>,
        path: Vec<String>,
        place: &Place,
        items: Vec<Item>,
    ) -> Result<usize, SourceError> {
        let number = self.modules.len();
        self.modules.push(Module {
            path,
            file: place.file.clone(),
            parent,
            children: BTreeMap::new(),
            names: BTreeSet::new(),
            imports: vec![],
            items: vec![],
        });
        for item in items {
            if syntax::is_test_only(syntax::item_attributes(&item)) {
                continue;
            }
            match item {
                Item::Mod(child) => self.add_child(number, place, child)?,
                item => self.add_item(number, item),
            }
        }
        Ok(number)
    }

    fn add_item(&mut self, number: usize, item: Item) {
        if let Some(name) = syntax::defined_name(&item) {
            // `#[macro_export]` puts a macro into the root module, whichever module defines it.
            let is_exported = syntax::item_attributes(&item)
                .iter()
                .any(|attribute| attribute.path().is_ident("macro_export"));
            if is_exported && number != 0 {
                let mut path = self.modules[number].path.clone();
                path.insert(0, "crate".into());
                path.push(name.clone());
                let import = Import { path, name: Some(name.clone()), line: 0, is_reexport: true };
                self.modules[0].imports.push(import);
            }
            self.modules[number].names.insert(name);
        }
        let module = &mut self.modules[number];
        UseFinder(&mut module.imports).visit_item(&item);
        module.items.push(item);
    }

    fn add_child(
        &mut self,
        parent: usize,
        place: &Place,
        child: ItemMod,
    ) -> Result<(), SourceError> {
        let name = child.ident.to_string();
        let mut path = self.modules[parent].path.clone();
        path.push(name.clone());
        let (place, items) = if let Some((_, items)) = child.content {
            let folder = place.folder.join(&name);
            (Place { file: place.file.clone(), folder }, items)
        } else {
            let place = self.find(place, &name, path_attribute(&child.attrs))?;
            let items = self.parse(&place.file)?;
            (place, items)
        };
        let number = self.add(Some(parent), path, &place, items)?;
        self.modules[parent].children.entry(name).or_default().push(number);
        Ok(())
    }

    /// Finds the file of a module.
    fn find(&self, parent: &Place, name: &str, path: Option<String>) -> Result<Place, SourceError> {
        if let Some(path) = path {
            let file = parent.file.parent().unwrap_or_else(|| Path::new("")).join(path);
            let folder = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
            return Ok(Place { file, folder });
        }
        let folder = parent.folder.join(name);
        [parent.folder.join(format!("{name}.rs")), folder.join("mod.rs")]
            .into_iter()
            .find(|file| self.sources.0.contains_key(file))
            .map(|file| Place { file, folder })
            .ok_or_else(|| SourceError::new(&parent.file, format!("no file for `mod {name}`")))
    }
}

/// Returns the text of `#[path = "..."]`.
fn path_attribute(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find(|attribute| attribute.path().is_ident("path")).and_then(|attribute| {
        let syn::Expr::Lit(literal) = &attribute.meta.require_name_value().ok()?.value else {
            return None;
        };
        let syn::Lit::Str(text) = &literal.lit else { return None };
        Some(text.value())
    })
}

/// Collects every `use`, including those in functions, which count as imports of the module.
struct UseFinder<'a>(&'a mut Vec<Import>);

impl Visit<'_> for UseFinder<'_> {
    fn visit_item(&mut self, item: &Item) {
        if !syntax::is_test_only(syntax::item_attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        self.0.extend(syntax::imports(item));
    }
}

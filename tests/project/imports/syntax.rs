//! Small queries about Rust's syntax.

use proc_macro2::{TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::token::Comma;
use syn::{Attribute, ImplItem, Item, Meta, TraitItem, UseTree};

/// A name that a `use` brings into scope.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    /// The segments of the path, including the name; for a glob, the path of the module.
    pub(crate) path: Vec<String>,
    /// The name in scope, or `None` for a glob.
    pub(crate) name: Option<String>,
    pub(crate) line: usize,
    /// Whether other modules may use the name through this one.
    pub(crate) is_reexport: bool,
}

/// A path as written in the code, for example `crate::lanes::Inbox`.
#[derive(Debug)]
pub(crate) struct PathUse {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    /// Whether the path is in an attribute, whose generated code uses items of the named module.
    pub(crate) is_in_attribute: bool,
}

/// Returns whether the item with these attributes is compiled for tests only.
pub(crate) fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<Meta>().is_ok_and(|condition| needs_test(&condition))
    })
}

/// Returns whether the condition holds only in tests.
fn needs_test(condition: &Meta) -> bool {
    let Meta::List(list) = condition else { return condition.path().is_ident("test") };
    let Ok(parts) = list.parse_args_with(Punctuated::<Meta, Comma>::parse_terminated) else {
        return false;
    };
    if list.path.is_ident("all") {
        parts.iter().any(needs_test)
    } else {
        list.path.is_ident("any") && !parts.is_empty() && parts.iter().all(needs_test)
    }
}

/// Returns the attributes of an item of any kind.
pub(crate) fn item_attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Returns the attributes of an item of an `impl` block.
pub(crate) fn impl_item_attributes(item: &ImplItem) -> &[Attribute] {
    match item {
        ImplItem::Const(item) => &item.attrs,
        ImplItem::Fn(item) => &item.attrs,
        ImplItem::Type(item) => &item.attrs,
        ImplItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// Returns the attributes of an item of a trait.
pub(crate) fn trait_item_attributes(item: &TraitItem) -> &[Attribute] {
    match item {
        TraitItem::Const(item) => &item.attrs,
        TraitItem::Fn(item) => &item.attrs,
        TraitItem::Type(item) => &item.attrs,
        TraitItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// Returns the name that an item defines in its module, or `None` if it defines none.
pub(crate) fn defined_name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Lists the names that a `use` brings into scope. Returns none for a path to another crate with a leading `::`.
pub(crate) fn imports(item: &syn::ItemUse) -> Vec<Import> {
    let mut found = vec![];
    if item.leading_colon.is_none() {
        let is_reexport = match &item.vis {
            syn::Visibility::Inherited => false,
            syn::Visibility::Restricted(restricted) => !restricted.path.is_ident("self"),
            syn::Visibility::Public(_) => true,
        };
        collect_imports(&item.tree, &mut vec![], is_reexport, &mut found);
    }
    found
}

fn collect_imports(
    tree: &UseTree,
    before: &mut Vec<String>,
    is_reexport: bool,
    found: &mut Vec<Import>,
) {
    let line = tree.span().start().line;
    let mut add = |path: Vec<String>, name: Option<String>| {
        found.push(Import { path, name, line, is_reexport });
    };
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            collect_imports(&path.tree, before, is_reexport, found);
            before.pop();
        },
        UseTree::Group(group) => {
            for tree in &group.items {
                collect_imports(tree, before, is_reexport, found);
            }
        },
        UseTree::Glob(_) => add(before.clone(), None),
        UseTree::Name(name) => {
            let path = joined(before, &name.ident.to_string());
            let name = path.last().cloned();
            add(path, name);
        },
        // `as _` brings the methods of a trait into scope, but no name.
        UseTree::Rename(rename) => {
            add(joined(before, &rename.ident.to_string()), Some(rename.rename.to_string()));
        },
    }
}

/// Returns the whole path, in which `a::{self}` means `a`.
fn joined(before: &[String], last: &str) -> Vec<String> {
    let mut path = before.to_vec();
    if last != "self" || path.is_empty() {
        path.push(last.to_owned());
    }
    path
}

/// Finds paths in the tokens of a macro, because only the macro knows its own syntax.
pub(crate) fn paths_in_tokens(tokens: TokenStream, found: &mut Vec<PathUse>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < trees.len() {
        match &trees[at] {
            TokenTree::Group(group) => {
                paths_in_tokens(group.stream(), found);
                at += 1;
            },
            TokenTree::Ident(first) if !is_continued(&trees[..at]) => {
                let mut path = vec![first.to_string()];
                let line = first.span().start().line;
                at += 1;
                while let Some(TokenTree::Ident(next)) = after_colons(&trees, at) {
                    path.push(next.to_string());
                    at += 3;
                }
                found.push(PathUse { path, line, is_in_attribute: false });
            },
            _ => at += 1,
        }
    }
}

/// Returns whether the next token is a field, a method, or part of a path that began earlier.
fn is_continued(before: &[TokenTree]) -> bool {
    let is = |tree: Option<&TokenTree>, wanted: char| matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted);
    let mut back = before.iter().rev();
    let (last, second) = (back.next(), back.next());
    is(last, '.') && !is(second, '.') || is(last, ':') && is(second, ':')
}

/// Returns the token after a `::` at this index.
fn after_colons(trees: &[TokenTree], at: usize) -> Option<&TokenTree> {
    let is_colon = |at: usize| matches!(trees.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    (is_colon(at) && is_colon(at + 1)).then(|| trees.get(at + 2)).flatten()
}

/// Finds paths in strings of an attribute, as in `#[serde(with = "crate::micros")]`.
pub(crate) fn paths_in_strings(tokens: TokenStream, found: &mut Vec<PathUse>) {
    for tree in tokens {
        match tree {
            TokenTree::Group(group) => paths_in_strings(group.stream(), found),
            TokenTree::Literal(literal) => {
                let line = literal.span().start().line;
                let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) else {
                    continue;
                };
                if let Ok(path) = text.parse::<syn::Path>()
                    && path.segments.len() > 1
                {
                    found.push(PathUse { path: segments(&path), line, is_in_attribute: true });
                }
            },
            _ => {},
        }
    }
}

/// Returns the segments of a path, without generic arguments.
pub(crate) fn segments(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

//! The attributes `#[hana::message]` and `#[hana::data]`.
//!
//! The generated code uses only the crate `hana`, so a program needs neither `serde` nor `schemars` in its
//! `Cargo.toml`. The documentation of `hana` shows both.

mod message_args;

use proc_macro::TokenStream;

use crate::message_args::MessageArgs;

/// Makes a struct or an enum a type that messages and saved resources contain: `Serialize`, `Deserialize` and
/// `JsonSchema`.
#[proc_macro_attribute]
pub fn data(_: TokenStream, item: TokenStream) -> TokenStream {
    with_derives(item)
}

/// Makes a struct or an enum a custom message: does all that [`macro@data`] does, and adds a topic, a lane and a
/// version.
///
/// | argument | is | default |
/// |---|---|---|
/// | `topic = "big-spark"` | the last chunk of its keys | the name of the type in `kebab-case` |
/// | `lane = UnreliableUnordered` | the delivery guarantee, a variant of `Lane` | `ReliableOrdered` |
/// | `version = 2` | a version for people | 1 |
#[proc_macro_attribute]
pub fn message(args: TokenStream, item: TokenStream) -> TokenStream {
    match MessageArgs::parse(args, &item) {
        Ok(args) => {
            let mut tokens = with_derives(item);
            tokens.extend(args.into_impls());
            tokens
        },
        Err(error) => {
            let mut tokens = error.into_tokens();
            tokens.extend(item);
            tokens
        },
    }
}

fn with_derives(item: TokenStream) -> TokenStream {
    let derives = "#[derive(::hana::serde::Serialize, ::hana::serde::Deserialize, \
         ::hana::schemars::JsonSchema)]\
         #[serde(crate = \"::hana::serde\")]\
         #[schemars(crate = \"::hana::schemars\")]";
    let mut tokens: TokenStream = derives.parse().unwrap_or_default();
    tokens.extend(item);
    tokens
}

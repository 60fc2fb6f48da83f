use proc_macro::{Ident, Span, TokenStream, TokenTree};

/// The arguments of `#[hana::message]`, and the name of the type.
pub(crate) struct MessageArgs {
    name: Ident,
    topic: Option<TokenStream>,
    lane: Option<TokenStream>,
    version: Option<TokenStream>,
}

/// A mistake in the use of the attribute, with its location in the source.
pub(crate) struct ArgsError {
    at: Span,
    text: String,
}

impl MessageArgs {
    pub(crate) fn parse(args: TokenStream, item: &TokenStream) -> Result<Self, ArgsError> {
        let mut parsed = Self { name: name_of(item)?, topic: None, lane: None, version: None };
        let args: Vec<TokenTree> = args.into_iter().collect();
        for arg in args.split(|token| is_punct(token, ',')).filter(|arg| !arg.is_empty()) {
            let [TokenTree::Ident(key), equals, value @ ..] = arg else {
                return Err(ArgsError::expected(arg));
            };
            if !is_punct(equals, '=') || value.is_empty() {
                return Err(ArgsError::expected(arg));
            }
            let place = match key.to_string().as_str() {
                "topic" => &mut parsed.topic,
                "lane" => &mut parsed.lane,
                "version" => &mut parsed.version,
                _ => return Err(ArgsError::expected(arg)),
            };
            *place = Some(value.iter().cloned().collect());
        }
        Ok(parsed)
    }

    /// Returns the declaration of the message.
    pub(crate) fn into_impls(self) -> TokenStream {
        let Self { name, topic, lane, version } = self;
        let topic = topic.map_or_else(
            || format!("{:?}", kebab_case(&name.to_string())),
            |topic| topic.to_string(),
        );
        let lane = lane.map_or_else(|| "ReliableOrdered".into(), |lane| lane.to_string());
        let lane = if lane.contains("::") { lane } else { format!("::hana::Lane::{lane}") };
        let version = version.map(|version| format!(", version: {version}")).unwrap_or_default();
        let declaration =
            format!("::hana::custom_message!({name}, topic: {topic}, lane: {lane}{version});");
        declaration.parse().unwrap_or_default()
    }
}

impl ArgsError {
    fn expected(arg: &[TokenTree]) -> Self {
        let at = arg.first().map_or_else(Span::call_site, TokenTree::span);
        let text = "expected `topic = \"...\"`, `lane = ReliableOrdered` or `version = 1`".into();
        Self { at, text }
    }

    /// Returns a compile error at the location of the mistake.
    pub(crate) fn into_tokens(self) -> TokenStream {
        let error = format!("::core::compile_error!({:?});", self.text);
        let tokens: TokenStream = error.parse().unwrap_or_default();
        let at_mistake = |mut token: TokenTree| {
            token.set_span(self.at);
            token
        };
        tokens.into_iter().map(at_mistake).collect()
    }
}

/// Returns the name of a struct or an enum without generic parameters.
fn name_of(item: &TokenStream) -> Result<Ident, ArgsError> {
    let mut tokens = item.clone().into_iter();
    while let Some(token) = tokens.next() {
        let is_keyword = matches!(&token, TokenTree::Ident(word)
            if matches!(word.to_string().as_str(), "struct" | "enum"));
        if !is_keyword {
            continue;
        }
        let Some(TokenTree::Ident(name)) = tokens.next() else { break };
        if tokens.next().is_some_and(|next| is_punct(&next, '<')) {
            let text = "a message type has no generic parameters".into();
            return Err(ArgsError { at: name.span(), text });
        }
        return Ok(name);
    }
    Err(ArgsError { at: Span::call_site(), text: "a message is a struct or an enum".into() })
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// Converts `BigSpark` to `big-spark`.
fn kebab_case(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_without_a_name_is_the_type_in_kebab_case() {
        assert_eq!(kebab_case("Spark"), "spark");
        assert_eq!(kebab_case("BigSpark2"), "big-spark2");
    }
}

/// The minimum similarity of a suggestion, from 0 to 1; the same as clap uses for commands.
const LEAST_SIMILARITY: f64 = 0.7;

/// Returns the known name that is most similar to a misspelt one.
pub(crate) fn nearest<'a>(
    misspelt: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro(misspelt, name), name))
        .filter(|(similarity, _)| *similarity > LEAST_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

/// Returns the end of an error about an unknown name: the most similar known name, if there is one.
pub(crate) fn did_you_mean<'a>(
    misspelt: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(misspelt, known).map(|name| format!("; did you mean '{name}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_suggested() {
        let known = ["ripples", "ripples-2", "pulse"];
        assert_eq!(nearest("riples", known), Some("ripples"));
        assert_eq!(nearest("pulsee", known), Some("pulse"));
        assert_eq!(nearest("wall-left", known), None);
        assert_eq!(did_you_mean("zom", ["zoom", "hue"]).as_deref(), Some("; did you mean 'zoom'?"));
    }
}

use std::error::Error;

/// Formats an error with its causes as one line. A cause that the error's own text already contains is not repeated.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let words = deeper.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("it hurts")]
    struct Cause;

    #[derive(Debug, Error)]
    #[error("cannot go on{0}")]
    struct Effect(&'static str, #[source] Cause);

    #[test]
    fn each_cause_is_printed_once() {
        assert_eq!(error_chain(&Effect("", Cause)), "cannot go on: it hurts");
        assert_eq!(error_chain(&Effect(": it hurts", Cause)), "cannot go on: it hurts");
    }
}

/// Makes external text safe for an error or a log: one line, with control characters escaped.
///
/// The text is cut after `longest` characters.
#[must_use]
pub fn sanitize_line(text: &str, longest: usize) -> String {
    let mut line = String::new();
    for (place, character) in text.chars().enumerate() {
        if place >= longest {
            line.push('…');
            break;
        }
        if character.is_control() {
            line.extend(character.escape_debug());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_one_bounded_line() {
        assert_eq!(sanitize_line("zwölf", 80), "zwölf");
        assert_eq!(sanitize_line("zwölf", 4), "zwöl…");
        assert_eq!(sanitize_line("a\nb\u{1b}[2J\u{85}", 80), "a\\nb\\u{1b}[2J\\u{85}");
    }
}

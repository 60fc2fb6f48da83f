/// A key with a meaning in this window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppKey {
    /// The letter of an action, or the letter that confirms or declines one.
    Letter(char),
    /// A letter with Shift, for an action on all visualizations.
    ForAll(char),
    /// Moves the selection down by this number of lines; up if it is negative.
    Step(isize),
    /// Goes back, or dismisses a toast.
    Escape,
}

/// A key pressed while a note is being typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoteKey {
    /// Adds this text.
    Text(String),
    /// Deletes the last character.
    Backspace,
    /// Publishes the note.
    Enter,
    /// Discards the note.
    Escape,
}

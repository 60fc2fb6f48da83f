/// A key with a meaning in this window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppKey {
    /// The letter of an action, or yes and no.
    Letter(char),
    /// A letter with Shift: for all visualizations.
    ForAll(char),
    /// Moves the selection down by so many lines.
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

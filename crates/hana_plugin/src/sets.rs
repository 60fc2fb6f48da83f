use bevy_ecs::schedule::SystemSet;

/// When the plugins work.
#[derive(SystemSet, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HanaSystems {
    /// In `PreUpdate`: what arrived is drained; parameters have their new values after it.
    Receive,
    /// In `PostUpdate`: what the program said is handed to the network. What it changed in its parameters is, in `Last`.
    Send,
}

use bevy_ecs::schedule::SystemSet;

/// The system sets of the plugins.
#[derive(SystemSet, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HanaSystems {
    /// In `PreUpdate`: drains received data; parameters have their new values afterwards.
    Receive,
    /// In `PostUpdate`: hands outgoing messages to the network. Changed parameters follow in `Last`.
    Send,
}

/// The beginning and the end of a frame of a visualization.
#[derive(SystemSet, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FrameSystems {
    /// In `PreUpdate`: the time of the frame is known afterwards.
    Begin,
    /// In `Last`: counts the frame.
    End,
}

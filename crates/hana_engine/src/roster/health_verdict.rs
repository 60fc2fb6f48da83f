use std::time::Duration;

/// The condition of a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HealthVerdict {
    /// The node has sent no health yet, or drawn no frame.
    Starting,
    /// The node makes normal progress.
    Running,
    /// The node makes progress, but slowly.
    Slow {
        /// Frames per second.
        fps: f32,
    },
    /// The node makes progress, with repeated pauses longer than
    /// [`HealthLimits::unresponsive_after`](crate::roster::HealthLimits::unresponsive_after).
    Stalling,
    /// The node draws single frames with long pauses, as when a window system throttles a hidden window.
    Throttled {
        /// Time between two frames.
        every: Duration,
    },
    /// The network threads of the node are alive, but its loop makes no progress.
    Frozen {
        /// Time since the last progress.
        for_: Duration,
    },
    /// No message arrives from the node.
    Silent {
        /// Time since the last message.
        for_: Duration,
    },
}

impl HealthVerdict {
    /// Returns the verdict in plain words; empty for a running node.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Starting => "it has just joined and published no health yet".into(),
            Self::Running => String::new(),
            Self::Slow { fps } => format!("draws only {fps:.0} frames a second"),
            Self::Stalling => {
                "its main loop pauses repeatedly, for most of a second or longer".into()
            },
            Self::Throttled { every } => {
                let every = every.as_secs_f32();
                let pace = if every < 1.5 {
                    "once a second".into()
                } else {
                    format!("every {every:.0} s")
                };
                format!(
                    "draws about {pace}; the window may be covered, minimised or on a locked screen"
                )
            },
            Self::Frozen { for_ } => {
                format!("its main loop has made no progress for {:.1} s", for_.as_secs_f32())
            },
            Self::Silent { for_ } => format!("no sign of life for {:.1} s", for_.as_secs_f32()),
        }
    }

    /// Returns whether the node is unresponsive: its loop is frozen, or its messages have stopped.
    #[must_use]
    pub const fn is_unresponsive(&self) -> bool {
        matches!(self, Self::Frozen { .. } | Self::Silent { .. })
    }

    /// Returns how specific a verdict of slow progress is; 0 for all other verdicts.
    ///
    /// While a node stays slow, only a more specific verdict replaces the previous one.
    #[must_use]
    pub const fn slowness(&self) -> u8 {
        match self {
            Self::Slow { .. } => 1,
            Self::Stalling => 2,
            Self::Throttled { .. } => 3,
            Self::Starting | Self::Running | Self::Frozen { .. } | Self::Silent { .. } => 0,
        }
    }
}

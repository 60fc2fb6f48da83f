use std::sync::Arc;
use std::time::Duration;

use hana_protocol::id::role;
use hana_protocol::message::Override;

use super::parameter_handle::ParameterHandle;
use super::value_cursor::ValueCursor;
use super::visualization_error::VisualizationError;
use crate::node::node::Node;

/// A visualization on the mesh, for a program that draws without Bevy. Created by a [`VisualizationBuilder`].
///
/// [`VisualizationBuilder`]: crate::VisualizationBuilder
///
/// The frame loop of the program has four duties: draw the values of the parameters, draw black during a blackout,
/// call [`frame_drawn`](Self::frame_drawn) once per frame, and end when
/// [`is_shutdown_requested`](Self::is_shutdown_requested) returns true.
///
/// ```no_run
/// use std::time::Duration;
/// use hana_network::VisualizationBuilder;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wave = VisualizationBuilder::new("wave")
///     .parameter("zoom", -1.0..=1.0, 0.0)
///     .draws_blackout()
///     .join(Duration::from_secs(5))?;
/// let zoom = wave.parameter("zoom")?;
/// while !wave.is_shutdown_requested() {
///     let size = if wave.is_blacked_out() { 0.0 } else { zoom.get() };
///     println!("{size}");
///     wave.frame_drawn();
///     std::thread::sleep(Duration::from_millis(16));
/// }
/// wave.leave(Duration::from_millis(300));
/// # Ok(())
/// # }
/// ```
pub struct PlainVisualization {
    node: Node<role::Visualization>,
}

impl PlainVisualization {
    pub(super) const fn new(node: Node<role::Visualization>) -> Self {
        Self { node }
    }

    /// Returns a handle of a declared parameter.
    ///
    /// # Errors
    ///
    /// When no parameter with this name was declared.
    pub fn parameter(&self, name: &str) -> Result<ParameterHandle, VisualizationError> {
        let store = self.node.parameters();
        let declared = store.declared();
        let index = declared.iter().position(|parameter| parameter.name.as_str() == name);
        index.map(|index| ParameterHandle::new(Arc::clone(store), index)).ok_or_else(|| {
            VisualizationError::UnknownParameter {
                name: name.to_owned(),
                declared: declared.iter().map(|parameter| parameter.name.to_string()).collect(),
            }
        })
    }

    /// Returns a cursor that reads the values of all parameters and reports changes.
    #[must_use]
    pub fn cursor(&self) -> ValueCursor {
        ValueCursor::new(Arc::clone(self.node.parameters()))
    }

    /// Returns whether the program must draw black.
    #[must_use]
    pub fn is_blacked_out(&self) -> bool {
        self.node.parameters().override_mode() == Some(Override::Blackout)
    }

    /// Returns whether the program must exit, because an operator or a daemon requested it.
    #[must_use]
    pub fn is_shutdown_requested(&self) -> bool {
        self.node.is_shutdown_requested()
    }

    /// Counts a frame.
    ///
    /// Call this only from the loop that draws: a daemon detects from missing frames that the loop hangs.
    pub fn frame_drawn(&self) {
        self.node.frames().tick();
    }

    /// Leaves the mesh cleanly, so that the exit does not count as a crash. Blocks for `timeout` at most.
    pub fn leave(self, timeout: Duration) {
        // A timeout is not an error here, because a network failure must not delay the exit.
        self.node.close().wait(timeout).ok();
    }

    /// Returns the node, which provides custom messages, events, the timeline, and so on.
    #[must_use]
    pub const fn node(&self) -> &Node<role::Visualization> {
        &self.node
    }
}

use std::sync::Arc;
use std::time::Duration;

use hana_protocol::id::role;
use hana_protocol::message::Override;

use super::parameter_handle::ParameterHandle;
use super::value_cursor::ValueCursor;
use super::visualization_error::VisualizationError;
use crate::node::node::Node;

/// A visualization on the mesh, for a program that draws without Bevy. [`VisualizationBuilder`] declares it.
///
/// [`VisualizationBuilder`]: crate::VisualizationBuilder
///
/// Its frame loop has four duties: draw the values of its parameters, draw black during a blackout, call
/// [`frame_drawn`](Self::frame_drawn) once a frame, and end when [`is_shutdown_requested`](Self::is_shutdown_requested).
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
    /// If no parameter of this name was declared.
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

    /// Returns a reader of all values that reports changes.
    #[must_use]
    pub fn cursor(&self) -> ValueCursor {
        ValueCursor::new(Arc::clone(self.node.parameters()))
    }

    /// Returns whether the program is to draw black.
    #[must_use]
    pub fn is_blacked_out(&self) -> bool {
        self.node.parameters().override_mode() == Some(Override::Blackout)
    }

    /// Returns whether the program is to end: an operator or a daemon requested it.
    #[must_use]
    pub fn is_shutdown_requested(&self) -> bool {
        self.node.is_shutdown_requested()
    }

    /// Counts a frame. Call it from the loop that draws, and nowhere else: a daemon notices by it that the loop hangs.
    pub fn frame_drawn(&self) {
        self.node.frames().tick();
    }

    /// Leaves the mesh as a clean exit, not a crash. Blocks until it has left, at most for `timeout`.
    pub fn leave(self, timeout: Duration) {
        // A network that fails must not delay the exit.
        self.node.close().wait(timeout).ok();
    }

    /// Returns the node, for everything else: custom messages, events, the timeline, saved state.
    #[must_use]
    pub const fn node(&self) -> &Node<role::Visualization> {
        &self.node
    }
}

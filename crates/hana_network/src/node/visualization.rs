use std::path::Path;
use std::sync::Arc;

use hana_protocol::id::role::Visualization;
use hana_protocol::message::{Event, EventKind};

use crate::node::node::Node;
use crate::playback::parameter_store::ParameterStore;
use crate::presence::frame_counter::FrameCounter;
use crate::sync::pending::Pending;

/// The environment variable in which a daemon names the file that records that the visualization was closed.
const CLOSE_MARKER_ENV: &str = "HANA_GOODBYE";

impl Node<Visualization> {
    /// Returns the parameters with their current values.
    #[must_use]
    pub fn parameters(&self) -> &Arc<ParameterStore> {
        &self.shared.parameters
    }

    /// Returns the counter that the program must advance once per frame.
    #[must_use]
    pub fn frames(&self) -> &FrameCounter {
        &self.shared.frames
    }

    /// Reports the reason why the program has no window now, or `None` if it has one.
    ///
    /// Within a tenth of a second, the reason appears beside the state of the node in the list of nodes.
    pub fn set_headless(&self, cause: Option<String>) {
        *self.shared.headless.lock() = cause;
    }

    /// Reports that the operator closed the visualization, and leaves the mesh.
    ///
    /// The supervising daemon then marks the visualization as closed and does not restart it. This also works for a
    /// daemon that is not the parent process and cannot read the exit code. In case the daemon is not running at the
    /// moment, the visualization also writes a note to the file that `HANA_GOODBYE` names.
    ///
    /// Blocks only while it writes that file. The returned value resolves when the node has left. Wait for it before
    /// the process exits, but no longer than 0.3 s, since a link may be broken.
    #[must_use]
    pub fn close(self) -> Pending<()> {
        if let Some(note) = std::env::var_os(CLOSE_MARKER_ENV).filter(|note| !note.is_empty())
            && let Err(problem) = write_close_marker(Path::new(&note))
        {
            let note = note.display();
            tracing::warn!(
                "{note}: cannot record that this program was closed, so an absent daemon may restart it: {problem}"
            );
        }
        let id = self.id().clone();
        let text = if self.is_shutdown_requested() {
            "ended by a shutdown command"
        } else {
            "closed by a person"
        };
        let event = Event { kind: EventKind::Closed, about: id, text: text.into() };
        if let Err(problem) = self.events().publish(&event) {
            tracing::warn!("cannot publish that this program was closed: {problem}");
        }
        self.leave()
    }
}

/// Writes the note that the visualization was closed.
///
/// Creates the daemon's directory if it was deleted meanwhile.
fn write_close_marker(note: &Path) -> std::io::Result<()> {
    if let Some(directory) = note.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(note, "closed\n")
}

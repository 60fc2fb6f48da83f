use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    AtomEnum, ConnectionExt, ImageFormat, ImageOrder, MapState, Window as WindowId,
};
use x11rb::rust_connection::RustConnection;

use crate::Image;

/// A screen without a monitor, for real windows: an `Xvfb` on a free display number.
///
/// It ends when this value is dropped or the test process ends for any reason. Programs on hosts of a lab reach it
/// through its socket in the file system.
pub struct Screen {
    display: String,
    /// A shell that ends Xvfb when the shell's input ends.
    guard: Child,
    stdin: Option<ChildStdin>,
    connection: RustConnection,
    root: WindowId,
    width: u16,
    height: u16,
}

/// A visible window on a [`Screen`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The title of the window.
    pub title: String,
    /// The distance of its left edge from that of the screen.
    pub x: i16,
    /// The distance of its upper edge from that of the screen.
    pub y: i16,
    /// The width in pixels.
    pub width: u16,
    /// The height in pixels.
    pub height: u16,
}

impl Screen {
    /// Creates a screen of the given size in pixels.
    #[must_use]
    pub fn new(width: u16, height: u16) -> Self {
        let mut guard = Command::new("bash")
            .args([
                "-c",
                &format!(
                    "type -P Xvfb >/dev/null || exit
                Xvfb -displayfd 1 -screen 0 {width}x{height}x24 -nolisten tcp -noreset 2>/dev/null &
                exec >/dev/null
                read -r _
                kill $! && wait"
                ),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("there is a bash");
        let stdin = guard.stdin.take();
        let mut number = String::new();
        let stdout = guard.stdout.take().expect("a pipe was asked for");
        BufReader::new(stdout).read_line(&mut number).expect("a pipe can be read");
        assert!(
            number.ends_with('\n'),
            "Xvfb is missing or does not start: run `scripts/test.sh`, which installs it"
        );
        let display = format!(":{}", number.trim());
        let (connection, screen) = x11rb::connect(Some(&display))
            .unwrap_or_else(|error| panic!("cannot open the display {display}: {error}"));
        let root = connection.setup().roots[screen].root;
        Self { display, guard, stdin, connection, root, width, height }
    }

    /// Returns the value of `DISPLAY` for programs that draw on this screen.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// Takes a screenshot.
    #[must_use]
    pub fn screenshot(&self) -> Image {
        let setup = self.connection.setup();
        let bits = setup
            .pixmap_formats
            .iter()
            .find(|format| format.depth == 24)
            .map(|format| format.bits_per_pixel);
        assert!(
            bits == Some(32) && setup.image_byte_order == ImageOrder::LSB_FIRST,
            "this X server packs pixels in a way unknown here"
        );
        let picture = self
            .connection
            .get_image(ImageFormat::Z_PIXMAP, self.root, 0, 0, self.width, self.height, u32::MAX)
            .expect("the X server listens")
            .reply()
            .expect("the X server shows its screen");
        let pixels =
            picture.data.chunks_exact(4).map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect();
        Image::new(self.width.into(), pixels)
    }

    /// Returns the visible windows, from the bottom of the stack to the top.
    #[must_use]
    pub fn windows(&self) -> Vec<Window> {
        let tree = self.connection.query_tree(self.root).expect("the X server listens").reply();
        let children = tree.expect("the X server lists its windows").children;
        children.into_iter().filter_map(|id| self.window(id)).collect()
    }

    /// Returns a window, or `None` if it is hidden or no longer exists.
    fn window(&self, id: WindowId) -> Option<Window> {
        let attributes = self.connection.get_window_attributes(id).ok()?.reply().ok()?;
        if attributes.map_state != MapState::VIEWABLE {
            return None;
        }
        let place = self.connection.get_geometry(id).ok()?.reply().ok()?;
        let title = self
            .connection
            .get_property(false, id, AtomEnum::WM_NAME, AtomEnum::ANY, 0, 1024)
            .ok()?
            .reply()
            .ok()?
            .value;
        let title = String::from_utf8_lossy(&title).into_owned();
        Some(Window { title, x: place.x, y: place.y, width: place.width, height: place.height })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.guard.wait();
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the screen {}", self.display)
    }
}

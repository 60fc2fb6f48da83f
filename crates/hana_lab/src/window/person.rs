use std::fmt;
use std::time::Duration;

use x11rb::connection::Connection;
use x11rb::protocol::xproto;
use x11rb::protocol::xproto::{
    AtomEnum, ClientMessageEvent, ConnectionExt, EventMask, InputFocus, Window as WindowId,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;

use crate::Screen;

/// A simulated person at a [`Screen`], with a keyboard and with a mouse to close windows.
pub struct Person {
    connection: RustConnection,
    root: WindowId,
}

/// A key, by its X keysym.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Key {
    /// The left arrow.
    Left = 0xff51,
    /// The up arrow.
    Up = 0xff52,
    /// The right arrow.
    Right = 0xff53,
    /// The down arrow.
    Down = 0xff54,
    /// The shift key.
    Shift = 0xffe1,
    /// The letter B.
    B = 0x62,
    /// The letter F.
    F = 0x66,
    /// The letter H.
    H = 0x68,
    /// The letter J.
    J = 0x6a,
    /// The letter L.
    L = 0x6c,
    /// The letter N.
    N = 0x6e,
    /// The letter O.
    O = 0x6f,
    /// The letter R.
    R = 0x72,
    /// The letter S.
    S = 0x73,
    /// The letter U.
    U = 0x75,
    /// The letter Y.
    Y = 0x79,
}

/// The time between two movements of the mouse.
const HAND: Duration = Duration::from_millis(200);

impl Person {
    /// Connects to the screen.
    #[must_use]
    pub fn at(screen: &Screen) -> Self {
        let (connection, number) =
            x11rb::connect(Some(screen.display())).expect("the X server listens");
        let root = connection.setup().roots[number].root;
        Self { connection, root }
    }

    /// Requests that the window with this title close, as its close button does.
    #[track_caller]
    pub fn close(&self, title: &str) {
        let [protocols, delete] = ["WM_PROTOCOLS", "WM_DELETE_WINDOW"].map(|name| {
            let atom = self.connection.intern_atom(false, name.as_bytes());
            atom.expect("the X server listens").reply().expect("the X server names atoms").atom
        });
        let window = self.window(title);
        let message =
            ClientMessageEvent::new(32, window, protocols, [delete, x11rb::CURRENT_TIME, 0, 0, 0]);
        self.connection
            .send_event(false, window, EventMask::NO_EVENT, message)
            .expect("the X server listens")
            .check()
            .unwrap_or_else(|error| panic!("the window '{title}' cannot be closed: {error}"));
    }

    /// Gives the keyboard focus to the window with this title, as a click does under a window manager.
    #[track_caller]
    pub fn choose(&self, title: &str) {
        self.connection
            .set_input_focus(InputFocus::PARENT, self.window(title), x11rb::CURRENT_TIME)
            .expect("the X server listens")
            .check()
            .unwrap_or_else(|error| panic!("the window '{title}' takes no keys: {error}"));
    }

    /// Presses a key and holds it down.
    pub fn press(&self, key: Key) {
        self.touch(xproto::KEY_PRESS_EVENT, key);
    }

    /// Releases a key.
    pub fn release(&self, key: Key) {
        self.touch(xproto::KEY_RELEASE_EVENT, key);
    }

    /// Presses the left mouse button at one point of the screen, and releases it at another.
    pub fn drag(&self, from: (i16, i16), to: (i16, i16)) {
        const LEFT: u8 = 1;
        let point = |(x, y)| {
            self.connection
                .xtest_fake_input(
                    xproto::MOTION_NOTIFY_EVENT,
                    0,
                    x11rb::CURRENT_TIME,
                    self.root,
                    x,
                    y,
                    0,
                )
                .expect("the X server listens")
                .check()
                .expect("the X server takes a mouse");
        };
        let button = |kind| {
            self.connection
                .xtest_fake_input(kind, LEFT, x11rb::CURRENT_TIME, self.root, 0, 0, 0)
                .expect("the X server listens")
                .check()
                .expect("the X server takes a mouse");
        };
        point(from);
        // A hand is slow, and a program that renders in software reads the mouse only a few times a second.
        std::thread::sleep(HAND);
        button(xproto::BUTTON_PRESS_EVENT);
        std::thread::sleep(HAND);
        for part in 1..=4 {
            let along = |from: i16, to: i16| from + (to - from) / 4 * part;
            point((along(from.0, to.0), along(from.1, to.1)));
            std::thread::sleep(HAND);
        }
        button(xproto::BUTTON_RELEASE_EVENT);
    }

    fn touch(&self, kind: u8, key: Key) {
        let setup = self.connection.setup();
        let (first, last) = (setup.min_keycode, setup.max_keycode);
        let mapping = self
            .connection
            .get_keyboard_mapping(first, last - first + 1)
            .expect("the X server listens")
            .reply()
            .expect("the X server has a keyboard");
        let columns = usize::from(mapping.keysyms_per_keycode);
        let code = (first..=last)
            .zip(mapping.keysyms.chunks(columns))
            .find_map(|(code, symbols)| symbols.contains(&(key as u32)).then_some(code))
            .unwrap_or_else(|| panic!("the keyboard has no {key:?}"));
        self.connection
            .xtest_fake_input(kind, code, x11rb::CURRENT_TIME, self.root, 0, 0, 0)
            .expect("the X server listens")
            .check()
            .expect("the X server takes keys");
    }

    #[track_caller]
    fn window(&self, title: &str) -> WindowId {
        let tree = self.connection.query_tree(self.root).expect("the X server listens").reply();
        let children = tree.expect("the X server lists its windows").children;
        let has_title = |&id: &WindowId| {
            let name =
                self.connection.get_property(false, id, AtomEnum::WM_NAME, AtomEnum::ANY, 0, 1024);
            name.ok()
                .and_then(|name| name.reply().ok())
                .is_some_and(|n| n.value == title.as_bytes())
        };
        children
            .into_iter()
            .find(has_title)
            .unwrap_or_else(|| panic!("there is no window '{title}'"))
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").field("root", &self.root).finish_non_exhaustive()
    }
}

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Host, Image, Lab, Running, Screen, eventually, show};

/// The time limit from the launch of a program to its first picture, since it compiles shaders for a software GPU.
const OPENING: Duration = Duration::from_mins(1);
/// The time limit for changes on a stage that renders in software while other tests run.
const CHANGE: Duration = Duration::from_secs(20);

/// Three hosts with a daemon each, and a screen at the second host.
///
/// Programs that are launched on the second host open windows, each exactly as large as the screen.
pub struct Stage {
    /// The host of the operator.
    pub h1: Host,
    /// The host with the screen.
    pub h2: Host,
    /// The third host.
    pub h3: Host,
    /// The screen of the second host.
    pub screen: Screen,
    _daemons: [Running; 3],
}

/// A visualization in a window on a [`Stage`], with the times that its start took.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The id of the visualization.
    pub id: String,
    /// The pid on the second host.
    pub pid: i32,
    /// The time from the command to the window.
    pub until_window: Duration,
    /// The time from the command to the state `running` in the list of nodes on the first host.
    pub until_running: Duration,
}

impl Stage {
    /// The size of the screen, and of the windows on it.
    pub const SIZE: (u16, u16) = (640, 360);

    /// Creates the hosts `h1`, `h2` and `h3`, all on the mesh.
    #[must_use]
    pub fn new(lab: &Lab) -> Self {
        let (width, height) = Self::SIZE;
        let screen = Screen::new(width, height);
        let [h1, h2, h3] = ["h1", "h2", "h3"].map(|name| lab.host(name));
        let mut command = h2.command("hanad");
        command.env("DISPLAY", screen.display()).env("HANA_WINDOW", format!("{width}x{height}"));
        let with_screen = h2.spawn(command);
        let daemons = [show::start_daemon(&h1), with_screen, show::start_daemon(&h3)];
        eventually(CHANGE, "three daemons, listed on each host", || {
            let seen = [&h1, &h2, &h3].map(show::nodes);
            let is_whole = |nodes: &Vec<Value>| {
                ["h1", "h2", "h3"].iter().all(|id| show::is(nodes, id, "running"))
            };
            if seen.iter().all(is_whole) { Ok(()) } else { Err(seen) }
        });
        Self { h1, h2, h3, screen, _daemons: daemons }
    }

    /// Starts a visualization on the second host with a command on the first one.
    ///
    /// Waits until its window is open, it has the state `running`, and it has drawn a picture.
    #[track_caller]
    #[must_use]
    pub fn open(&self, name: &str) -> Opened {
        let begun = Instant::now();
        let (id, pid) = show::start(&self.h1, &self.h2, name);
        eventually(OPENING, "the window", || match &*self.screen.windows() {
            [window] if window.title == name => Ok(()),
            others => Err(others.to_vec()),
        });
        let until_window = begun.elapsed();
        eventually(OPENING, "the visualization to run", || {
            let nodes = show::nodes(&self.h1);
            let moves = show::node(&nodes, &id).is_some_and(|node| node["frame"].is_u64());
            if moves && show::is(&nodes, &id, "running") { Ok(()) } else { Err(nodes) }
        });
        let until_running = begun.elapsed();
        // The program may count frames before the shaders are ready.
        eventually(OPENING, "a first picture", || {
            let picture = self.screen.screenshot();
            if picture.mean_brightness() > 0.01 { Ok(()) } else { Err(picture) }
        });
        Opened { id, pid, until_window, until_running }
    }

    /// Waits until a node has drawn `count` more frames, as listed on `host`.
    #[track_caller]
    pub fn wait_for_frames(&self, host: &Host, id: &str, count: u64) {
        let frame = || {
            let nodes = show::nodes(host);
            show::node(&nodes, id).and_then(|node| node["frame"].as_u64()).ok_or(nodes)
        };
        let begun = eventually(CHANGE, "a node that counts frames", frame);
        eventually(CHANGE, "more frames", || match frame() {
            Ok(now) if now >= begun + count => Ok(()),
            other => Err((other, begun, count)),
        });
    }

    /// Returns the picture of a node that stands still, after checking that it stays the same while frames are drawn.
    #[track_caller]
    #[must_use]
    pub fn still_picture(&self, id: &str) -> Image {
        let mut picture = self.screen.screenshot();
        eventually(CHANGE, "a picture that stands still", || {
            self.wait_for_frames(&self.h1, id, 3);
            let before = std::mem::replace(&mut picture, self.screen.screenshot());
            if before == picture { Ok(()) } else { Err((before, picture.clone())) }
        });
        picture
    }
}

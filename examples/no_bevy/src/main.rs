//! A visualization without Bevy: a wave of letters in a terminal. A model for programs that draw with another
//! library.
//!
//! All duties of a visualization are in [`run`]: it joins, counts its frames, draws the played values, draws black
//! during a blackout, ends on request, and leaves cleanly. The drawing is in [`Wave`], which does not depend on the
//! mesh.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, thread};

use hana_network::VisualizationBuilder;

/// Frame interval.
const FRAME: Duration = Duration::from_millis(50);
/// Time limit for joining.
const JOIN: Duration = Duration::from_secs(10);
/// Time limit for leaving, so that a failed network does not delay the exit.
const GOODBYE: Duration = Duration::from_millis(300);
/// Number of letters in a row.
const WIDTH: u16 = 64;

fn main() -> anyhow::Result<()> {
    // Ctrl-C means that a person closes the program.
    let closed = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&closed))?;
    run(&closed)
}

fn run(closed: &AtomicBool) -> anyhow::Result<()> {
    let visualization = VisualizationBuilder::new("no_bevy")
        .parameter("zoom", -1.0..=1.0, 0.0)
        .parameter("speed", -1.0..=1.0, 0.3)
        .draws_blackout()
        .join(JOIN)?;
    let (zoom, speed) = (visualization.parameter("zoom")?, visualization.parameter("speed")?);
    let mut changes = visualization.cursor();
    let mut wave = Wave::default();
    while !visualization.is_shutdown_requested() && !closed.load(Ordering::Acquire) {
        if let Some([zoom, speed]) = changes.changed() {
            log(format_args!("zoom {zoom:+.3}  speed {speed:+.3}"));
        }
        wave.go_on(zoom.get(), speed.get());
        if visualization.is_blacked_out() {
            show("");
        } else {
            show(&wave.row());
        }
        visualization.frame_drawn();
        thread::sleep(FRAME);
    }
    visualization.leave(GOODBYE);
    Ok(())
}

/// The picture.
#[derive(Default)]
struct Wave {
    phase: f32,
    width: f32,
}

impl Wave {
    /// Advances by one frame.
    fn go_on(&mut self, zoom: f32, speed: f32) {
        self.phase = speed.mul_add(FRAME.as_secs_f32(), self.phase).rem_euclid(1.0);
        self.width = (zoom + 1.5).max(0.1);
    }

    fn row(&self) -> String {
        let brightness = |at: u16| {
            let across = f32::from(at) / f32::from(WIDTH);
            let around = across.mul_add(self.width, self.phase);
            (around * std::f32::consts::TAU).sin()
        };
        (0..WIDTH)
            .map(|at| match brightness(at) {
                bright if bright > 0.7 => '#',
                bright if bright > 0.0 => '+',
                bright if bright > -0.7 => '.',
                _ => ' ',
            })
            .collect()
    }
}

/// Draws a row if the output is a terminal. In a log, rows would be clutter.
fn show(row: &str) {
    let mut out = io::stdout();
    if out.is_terminal() {
        write!(out, "\r{row:width$}", width = usize::from(WIDTH)).and_then(|()| out.flush()).ok();
    }
}

/// Writes a line if the output is not a terminal. Unlike `println`, this does not end the program if the disk is
/// full.
fn log(line: std::fmt::Arguments) {
    let mut out = io::stdout();
    if !out.is_terminal() {
        writeln!(out, "{line}").ok();
    }
}

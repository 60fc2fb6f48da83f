//! A visualization without Bevy: a wave of letters in a terminal. A model for programs that draw with another
//! library.
//!
//! All duties of a visualization are in [`run`]: it joins, counts its frames, draws the played values, draws
//! black during a blackout, ends on request, and leaves cleanly. The drawing is in [`Wave`], which knows
//! nothing of the mesh.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, thread};

use hana_network::VisualizationBuilder;

/// Frame interval.
const FRAME: Duration = Duration::from_millis(50);
/// How long joining may take.
const JOIN: Duration = Duration::from_secs(10);
/// How long leaving may take: a failed network must not delay the exit.
const GOODBYE: Duration = Duration::from_millis(300);
/// Letters in a row.
const WIDTH: u16 = 64;

fn main() -> anyhow::Result<()> {
    // Ctrl-C means that a person closes it.
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

/// Draws a row, but only at a terminal: it would clutter a log.
fn show(row: &str) {
    let mut out = io::stdout();
    if out.is_terminal() {
        write!(out, "\r{row:width$}", width = usize::from(WIDTH)).and_then(|()| out.flush()).ok();
    }
}

/// Writes a line; unlike `println`, does not end the program when the disk of its output is full.
fn log(line: std::fmt::Arguments) {
    let mut out = io::stdout();
    if !out.is_terminal() {
        writeln!(out, "{line}").ok();
    }
}

//! Pictures of the screen, compared with those in `snapshots/`.
//!
//! After a change, `INSTA_UPDATE=always cargo nextest run --workspace --bin hana pictures` writes them again; look at
//! the difference before you commit it.

use std::time::Instant;

use hana_engine::roster::NodeView;
use hana_protocol::message::{LogLine, ProcessState, Stream};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::draw::{ViewContext, draw};
use super::fixture::{show, view};
use super::model::{KeyPress, Model};

/// The time of the pictures, in Unix milliseconds.
const NOW_MS: u64 = 75_000;

/// Compares a picture with the one in `snapshots/`.
fn assert_picture(name: &str, picture: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(name, picture));
}

/// Draws the screen after these keys.
fn draw_at(size: (u16, u16), views: Vec<NodeView>, keys: &[KeyPress], colours: bool) -> Buffer {
    let now = Instant::now();
    let mut model = Model::default();
    model.see(views, now);
    for key in keys {
        model.press(*key, now);
    }
    let line =
        |number: u64, text: &str| LogLine { number, stream: Stream::Output, text: text.into() };
    let log = [line(0, "window opened"), line(1, "frame 100"), line(2, "frame 200")];
    let context = ViewContext {
        show: Some("main"),
        time: Some(("128.00 bpm  beat 3/4".into(), "from h1".into())),
        log: &log,
        now_ms: NOW_MS,
        colours,
    };
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal.draw(|frame| draw(frame, &model, &context)).unwrap();
    terminal.backend().buffer().clone()
}

/// Returns the cells line by line.
fn lines(buffer: &Buffer) -> Vec<&[Cell]> {
    buffer.content().chunks(usize::from(buffer.area.width)).collect()
}

fn text(buffer: &Buffer) -> String {
    let line =
        |cells: &&[Cell]| cells.iter().map(Cell::symbol).collect::<String>().trim_end().to_owned();
    lines(buffer).iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Lists the coloured texts.
fn colours(buffer: &Buffer) -> String {
    let mut found = vec![];
    for (row, cells) in lines(buffer).iter().enumerate() {
        for run in cells.chunk_by(|one, other| (one.fg, one.bg) == (other.fg, other.bg)) {
            let text: String = run.iter().map(Cell::symbol).collect();
            let (fg, bg) = (run[0].fg, run[0].bg);
            if (fg, bg) != (Color::Reset, Color::Reset) {
                found.push(format!("line {row}: '{}' {fg} on {bg}", text.trim()));
            }
        }
    }
    found.join("\n")
}

fn typed(keys: &str) -> Vec<KeyPress> {
    keys.chars().map(KeyPress::Char).collect()
}

#[test]
fn list_shows_faults_first() {
    let buffer = draw_at((120, 16), show(), &[], true);
    assert_picture("list", &format!("{}\n\ncolours:\n{}", text(&buffer), colours(&buffer)));
}

#[test]
fn details_show_advice_values_and_log() {
    let mut views = show();
    views[1].playing = vec![("zoom".into(), "lfo:sine:4beats".into())];
    views[1].restarts = 2;
    let keys = [KeyPress::End];
    assert_picture("details", &text(&draw_at((120, 24), views, &keys, true)));
}

#[test]
fn alarm_of_a_crash_asks_for_confirmation_of_a_stop() {
    let mut crashed = view("d", "h1", ProcessState::Crashed);
    crashed.reason = "signal 11".into();
    crashed.since_ms = 70_000;
    let views = [show(), vec![crashed]].concat();
    assert_picture("alarm", &text(&draw_at((120, 16), views.clone(), &[], true)));
    let keys = [&[KeyPress::End][..], &typed("s")].concat();
    assert_picture("confirmation", &text(&draw_at((120, 16), views, &keys, true)));
}

#[test]
fn help_lists_all_keys() {
    assert_picture("help", &text(&draw_at((120, 20), show(), &typed("?"), true)));
}

#[test]
fn narrow_terminal_shows_the_first_columns() {
    assert_picture("narrow", &text(&draw_at((40, 12), show(), &[], true)));
}

#[test]
fn log_fills_the_screen() {
    assert_picture("log", &text(&draw_at((80, 10), show(), &[KeyPress::Enter], true)));
}

#[test]
fn no_colour_draws_the_same_text_without_colours() {
    let (plain, coloured) =
        (draw_at((120, 16), show(), &[], false), draw_at((120, 16), show(), &[], true));
    assert_eq!(text(&plain), text(&coloured));
    assert_eq!(colours(&plain), "");
    assert_ne!(colours(&coloured), "");
    let bold = plain.content().iter().any(|cell| cell.modifier.contains(Modifier::BOLD));
    assert!(bold, "an alarm stands out without colours");
}

#[test]
fn empty_mesh_is_drawn_in_the_smallest_terminal() {
    for size in [(1, 1), (2, 5), (80, 3)] {
        draw_at(size, vec![], &typed("?"), true);
    }
}

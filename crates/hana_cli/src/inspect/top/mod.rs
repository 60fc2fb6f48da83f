//! The operator's screen: nodes and their health, faults, and one key for each remedy.

mod draw;
mod model;

use std::time::{Duration, Instant};

use anyhow::bail;
use hana_console::OperatorAction;
use hana_engine::roster::NodeView;
use hana_network::{CommandError, LogTail, Node, TimelineHandle, local_us, unix_ms};
use hana_output::Stream;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{
    Acknowledge, Blackout, Freeze, HostTimeline, Restart, Resume, Shutdown, Stop,
};
use hana_protocol::wire::error_chain;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind};

use self::draw::{ViewContext, draw};
use self::model::{Effect, Key, Model};
use crate::screen::{Screen, is_ctrl};
use crate::{mesh, output};

/// Redraw interval while no key is pressed.
const PICTURE: Duration = Duration::from_millis(100);
/// Log lines kept.
const LINES: usize = 500;
/// Ending a process may take three deadlines in a row.
const COMMAND: Duration = Duration::from_secs(12);

/// A pending command: its description, and a function that returns its outcome.
type PendingCommand = (String, Box<dyn Fn() -> Option<Result<(), CommandError>>>);

pub(crate) fn run() -> anyhow::Result<()> {
    if !Screen::is_possible() {
        bail!("`hana top` needs a terminal; for a pipe or a file there is `hana nodes --watch`");
    }
    let node = mesh::join()?;
    let mut screen = Screen::open()?;
    look_on(&node, &mut screen)
}

/// Returns the beat and its source.
fn time_in_words(timeline: &TimelineHandle) -> Option<(String, String)> {
    let now = local_us();
    let (timeline, said) = (timeline.at(now)?, timeline.said()?);
    Some((HostTimeline::beat_in_words(&timeline, now), said.source_in_words()))
}

fn look_on(node: &Node<role::App>, screen: &mut Screen) -> anyhow::Result<()> {
    let mut watch = node.watch_mesh();
    let mut model = Model::default();
    let mut log: Option<LogTail> = None;
    let mut under_way: Vec<PendingCommand> = vec![];
    let show = node.network().show.as_ref().map(ToString::to_string);
    let colours = output::has_colours(Stream::Stdout);
    while screen.goes_on()? {
        watch.poll();
        let now = Instant::now();
        model.see(watch.roster().views(unix_ms()), now);
        follow(node, &mut log, model.selected());
        under_way.retain(|(what, outcome)| {
            let Some(outcome) = outcome() else { return true };
            let said = outcome.map_or_else(
                |problem| format!("{what}: {}", error_chain(&problem)),
                |()| format!("{what}: done"),
            );
            model.notice(said, now);
            false
        });
        let lines = log.as_mut().map(LogTail::lines).unwrap_or_default();
        let show = show.as_deref();
        let time = time_in_words(node.timeline());
        let around = ViewContext { show, time, log: lines, now_ms: unix_ms(), colours };
        screen.draw(|frame| draw(frame, &model, &around))?;
        let mut patience = PICTURE;
        while let Some(pressed) = screen.key(patience) {
            patience = Duration::ZERO;
            if is_ctrl(&pressed, 'c') {
                return Ok(());
            }
            let Some(key) = key(&pressed) else { continue };
            match model.press(key, Instant::now()) {
                None => {},
                Some(Effect::Quit) => return Ok(()),
                Some(Effect::Do(remedy, id)) => {
                    let host = host_of(&model, &id);
                    under_way.push((
                        format!("{} {id}", remedy.name()),
                        give(node, remedy, host.as_ref(), &id),
                    ));
                },
            }
        }
    }
    Ok(())
}

fn key(pressed: &KeyEvent) -> Option<Key> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    Some(match pressed.code {
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

/// Returns the host whose daemon launched the node, if one did.
fn host_of(model: &Model, id: &NodeId) -> Option<NodeId> {
    let view = model.selected().filter(|view| view.node == *id)?;
    view.host.clone().filter(|_| view.launched)
}

/// Starts to carry out a remedy; its outcome is known later.
fn give(
    node: &Node<role::App>,
    remedy: OperatorAction,
    host: Option<&NodeId>,
    id: &NodeId,
) -> Box<dyn Fn() -> Option<Result<(), CommandError>>> {
    let of = id.clone();
    macro_rules! tell {
        ($role:ty, $whom:expr, $command:expr) => {{
            let pending = node.command::<$role, _>($whom, $command, COMMAND);
            Box::new(move || {
                let answer = pending.take().map(|answer| answer.map(|_| ()));
                answer.or_else(|| pending.is_abandoned().then(|| Ok(())))
            })
        }};
    }
    match (remedy, host) {
        (OperatorAction::Restart, Some(host)) => tell!(role::Daemon, host, Restart { node: of }),
        (OperatorAction::Stop, Some(host)) => tell!(role::Daemon, host, Stop { node: of }),
        (OperatorAction::Acknowledge, Some(host)) => {
            tell!(role::Daemon, host, Acknowledge { node: of })
        },
        (OperatorAction::Freeze, _) => tell!(role::Visualization, id, Freeze {}),
        (OperatorAction::Blackout, _) => tell!(role::Visualization, id, Blackout {}),
        (OperatorAction::Resume, _) => tell!(role::Visualization, id, Resume {}),
        (OperatorAction::Stop, None) => tell!(role::Visualization, id, Shutdown {}),
        // No daemon launched the node, so none can restart it or watch over it; a log is shown.
        (OperatorAction::Restart | OperatorAction::Acknowledge, None)
        | (OperatorAction::Log, _) => Box::new(|| Some(Ok(()))),
    }
}

/// Follows the log of the selected node.
fn follow(node: &Node<role::App>, log: &mut Option<LogTail>, selected: Option<&NodeView>) {
    let wanted = selected.map(|view| &view.node);
    if log.as_ref().map(LogTail::of) != wanted {
        *log = wanted.map(|id| node.tail_log(id, LINES));
    }
}

//! The operator's screen: nodes and their health, faults, and one key for each action.

mod draw;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fixture;
mod model;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod pictures;

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
const DRAW_INTERVAL: Duration = Duration::from_millis(100);
/// Log lines kept.
const LOG_LINES: usize = 500;
/// Ending a process may take three deadlines in a row.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(12);

/// A pending command: its description, and a function that returns its outcome.
type PendingCommand = (String, Box<dyn Fn() -> Option<Result<(), CommandError>>>);

pub(crate) fn run() -> anyhow::Result<()> {
    if !Screen::is_possible() {
        bail!("`hana top` needs a terminal; for a pipe or a file, use `hana nodes --watch`");
    }
    let node = mesh::join()?;
    let mut screen = Screen::open()?;
    run_loop(&node, &mut screen)
}

/// Returns the beat and its source.
fn describe_time(timeline: &TimelineHandle) -> Option<(String, String)> {
    let now = local_us();
    let (timeline, published) = (timeline.at(now)?, timeline.said()?);
    Some((HostTimeline::beat_in_words(&timeline, now), published.source_in_words()))
}

fn run_loop(node: &Node<role::App>, screen: &mut Screen) -> anyhow::Result<()> {
    let mut watch = node.watch_mesh();
    let mut model = Model::default();
    let mut log: Option<LogTail> = None;
    let mut pending: Vec<PendingCommand> = vec![];
    let show = node.network().show.as_ref().map(ToString::to_string);
    let colours = output::has_colours(Stream::Stdout);
    while screen.goes_on()? {
        watch.poll();
        let now = Instant::now();
        model.see(watch.roster().views(unix_ms()), now);
        follow(node, &mut log, model.selected());
        pending.retain(|(what, outcome)| {
            let Some(outcome) = outcome() else { return true };
            let text = outcome.map_or_else(
                |problem| format!("{what}: {}", error_chain(&problem)),
                |()| format!("{what}: done"),
            );
            model.notice(text, now);
            false
        });
        let lines = log.as_mut().map(LogTail::lines).unwrap_or_default();
        let show = show.as_deref();
        let time = describe_time(node.timeline());
        let context = ViewContext { show, time, log: lines, now_ms: unix_ms(), colours };
        screen.draw(|frame| draw(frame, &model, &context))?;
        let mut timeout = DRAW_INTERVAL;
        while let Some(pressed) = screen.key(timeout) {
            timeout = Duration::ZERO;
            if is_ctrl(&pressed, 'c') {
                return Ok(());
            }
            let Some(key) = key(&pressed) else { continue };
            match model.press(key, Instant::now()) {
                None => {},
                Some(Effect::Quit) => return Ok(()),
                Some(Effect::Do(action, id)) => {
                    let host = host_of(&model, &id);
                    pending.push((
                        format!("{} {id}", action.name()),
                        send(node, action, host.as_ref(), &id),
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

/// Starts to carry out a action; its outcome is known later.
fn send(
    node: &Node<role::App>,
    action: OperatorAction,
    host: Option<&NodeId>,
    id: &NodeId,
) -> Box<dyn Fn() -> Option<Result<(), CommandError>>> {
    let node_id = id.clone();
    macro_rules! command {
        ($role:ty, $to:expr, $command:expr) => {{
            let pending = node.command::<$role, _>($to, $command, COMMAND_TIMEOUT);
            Box::new(move || {
                let answer = pending.take().map(|answer| answer.map(|_| ()));
                answer.or_else(|| pending.is_abandoned().then(|| Ok(())))
            })
        }};
    }
    match (action, host) {
        (OperatorAction::Restart, Some(host)) => {
            command!(role::Daemon, host, Restart { node: node_id })
        },
        (OperatorAction::Stop, Some(host)) => command!(role::Daemon, host, Stop { node: node_id }),
        (OperatorAction::Acknowledge, Some(host)) => {
            command!(role::Daemon, host, Acknowledge { node: node_id })
        },
        (OperatorAction::Freeze, _) => command!(role::Visualization, id, Freeze {}),
        (OperatorAction::Blackout, _) => command!(role::Visualization, id, Blackout {}),
        (OperatorAction::Resume, _) => command!(role::Visualization, id, Resume {}),
        (OperatorAction::Stop, None) => command!(role::Visualization, id, Shutdown {}),
        // No daemon launched the node, so none can restart it or watch over it; a log is shown.
        (OperatorAction::Restart | OperatorAction::Acknowledge, None)
        | (OperatorAction::Log, _) => Box::new(|| Some(Ok(()))),
    }
}

/// Follows the log of the selected node.
fn follow(node: &Node<role::App>, log: &mut Option<LogTail>, selected: Option<&NodeView>) {
    let wanted = selected.map(|view| &view.node);
    if log.as_ref().map(LogTail::of) != wanted {
        *log = wanted.map(|id| node.tail_log(id, LOG_LINES));
    }
}

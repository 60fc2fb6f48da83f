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
use hana_console::{CommandSender, OperatorAction, describe_outcome};
use hana_engine::roster::NodeView;
use hana_network::{CommandError, LogTail, Node, TimelineHandle, local_us, unix_ms};
use hana_output::Stream;
use hana_protocol::contract::routes::Route;
use hana_protocol::id::role::NodeRole;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Command, HostTimeline};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind};

use self::draw::{ViewContext, draw};
use self::model::{Effect, KeyPress, Model};
use crate::screen::{Screen, is_ctrl};
use crate::{mesh, output};

/// Redraw interval while no key is pressed.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of log lines kept.
const LOG_LINES: usize = 500;
/// Time limit for a command. Ending a process may take three deadlines of the daemon in a row.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(12);

/// A function that returns the outcome of a command, once it is known.
type OutcomePoll = Box<dyn Fn() -> Option<Result<(), CommandError>>>;

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
    let (timeline, published) = (timeline.at(now)?, timeline.last_published()?);
    Some((HostTimeline::beat_in_words(&timeline, now), published.source_in_words()))
}

fn run_loop(node: &Node<role::App>, screen: &mut Screen) -> anyhow::Result<()> {
    let mut watch = node.watch_mesh();
    let mut model = Model::default();
    let mut log: Option<LogTail> = None;
    let mut pending: Vec<(OperatorAction, NodeId, OutcomePoll)> = vec![];
    let show = node.network().show.as_ref().map(ToString::to_string);
    let colours = output::has_colours(Stream::Stdout);
    while screen.goes_on()? {
        watch.poll();
        let now = Instant::now();
        model.see(watch.roster().views(unix_ms()), now);
        follow(node, &mut log, model.selected());
        pending.retain(|(action, id, outcome)| {
            let Some(outcome) = outcome() else { return true };
            model.notice(describe_outcome(action.name(), id, &outcome), now);
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
                    let view = model.dashboard.view(&id);
                    let sent = view.and_then(|view| action.dispatch(view, &mut ActionSender(node)));
                    pending.extend(sent.map(|outcome| (action, id, outcome)));
                },
            }
        }
    }
    Ok(())
}

fn key(pressed: &KeyEvent) -> Option<KeyPress> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    Some(match pressed.code {
        KeyCode::Char(letter) => KeyPress::Char(letter),
        KeyCode::Up => KeyPress::Up,
        KeyCode::Down => KeyPress::Down,
        KeyCode::Home => KeyPress::Home,
        KeyCode::End => KeyPress::End,
        KeyCode::Enter => KeyPress::Enter,
        KeyCode::Esc => KeyPress::Escape,
        KeyCode::Backspace => KeyPress::Backspace,
        _ => return None,
    })
}

/// Sends the commands of operator actions. If the reply is cancelled, the command counts as carried out.
struct ActionSender<'a>(&'a Node<role::App>);

impl CommandSender for ActionSender<'_> {
    type Sent = OutcomePoll;

    fn send<To: NodeRole, C: Command + Route<role::App, To> + Clone>(
        &mut self,
        node: &NodeId,
        command: C,
    ) -> OutcomePoll {
        let pending = self.0.command::<To, C>(node, command, COMMAND_TIMEOUT);
        Box::new(move || {
            let reply = pending.try_recv().map(|reply| reply.map(|_| ()));
            reply.or_else(|| pending.is_cancelled().then_some(Ok(())))
        })
    }
}

/// Follows the log of the selected node.
fn follow(node: &Node<role::App>, log: &mut Option<LogTail>, selected: Option<&NodeView>) {
    let wanted = selected.map(|view| &view.node);
    if log.as_ref().map(LogTail::node) != wanted {
        *log = wanted.map(|id| node.tail_log(id, LOG_LINES));
    }
}

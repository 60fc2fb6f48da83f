use hana_console::{DashboardRow, OperatorAction, time_since};
use hana_engine::roster::NodeView;
use hana_protocol::id::role::Role;
use hana_protocol::message::{LogLine, OwnershipKind, ProcessState};
use hana_protocol::parameter::ParameterName;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Block, Borders, Clear, Paragraph, Row as TableRow, Table, TableState, Wrap,
};

use super::model::{Mode, Model};

/// The data that the screen shows in addition to the model.
pub(crate) struct ViewContext<'a> {
    /// The show's name, if it has one.
    pub(crate) show: Option<&'a str>,
    /// The beat and its source, once they are known.
    pub(crate) time: Option<(String, String)>,
    /// Log lines of the selected node, the newest last.
    pub(crate) log: &'a [LogLine],
    /// The current time in Unix milliseconds.
    pub(crate) now_ms: u64,
    /// Whether to use colours.
    pub(crate) colours: bool,
}

/// Eighths of a line's height, one character for each frame time.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The frame time whose bar fills the line's height: that of 20 frames a second.
const FULL_BAR_US: u64 = 50_000;
/// Frame times shown in the list.
const BARS_SHOWN: usize = 12;

/// A column of the list.
struct Column {
    title: &'static str,
    width: Constraint,
    /// The minimum terminal width at which the column is shown.
    from: u16,
}

const FRAME_TIMES: Column =
    Column { title: "FRAME TIME", width: Constraint::Length(18), from: 100 };
const COLUMNS: [Column; 8] = [
    Column { title: "NODE", width: Constraint::Length(20), from: 0 },
    Column { title: "STATE", width: Constraint::Length(14), from: 36 },
    Column { title: "SINCE", width: Constraint::Length(6), from: 60 },
    Column { title: "FPS", width: Constraint::Length(4), from: 50 },
    FRAME_TIMES,
    Column { title: "RESTARTS", width: Constraint::Length(8), from: 70 },
    Column { title: "LOST", width: Constraint::Length(6), from: 110 },
    Column { title: "", width: Constraint::Fill(1), from: 70 },
];

/// The cells of a line of the list, one for each column.
type Cells<'a> = [Span<'a>; COLUMNS.len()];

/// Draws the whole screen.
pub(crate) fn draw(frame: &mut Frame, model: &Model, context: &ViewContext) {
    let [head, alert, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, head, model, context);
    draw_alert(frame, alert, model, context);
    if model.mode == Mode::Log {
        draw_log(frame, body, model, context);
    } else {
        let details = if body.height >= 14 { 8 } else { body.height.saturating_sub(5).min(5) };
        let [list, below] =
            Layout::vertical([Constraint::Min(3), Constraint::Length(details)]).areas(body);
        draw_list(frame, list, model, context);
        draw_details(frame, below, model, context);
    }
    draw_foot(frame, foot, model, context);
    if model.mode == Mode::Help {
        draw_help(frame, body);
    }
}

impl ViewContext<'_> {
    const fn style(&self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    const fn of_state(&self, view: &NodeView) -> Style {
        let style = match view.state {
            ProcessState::Running => self.style(Color::Green),
            _ if view.acknowledged => self.style(Color::DarkGray),
            ProcessState::Slow | ProcessState::Starting | ProcessState::Restarting => {
                self.style(Color::Yellow)
            },
            ProcessState::Stopping | ProcessState::Stopped | ProcessState::Closed => {
                self.style(Color::DarkGray)
            },
            _ => self.style(Color::LightRed),
        };
        if view.is_alarm() { style.add_modifier(Modifier::BOLD) } else { style }
    }
}

fn draw_head(frame: &mut Frame, area: Rect, model: &Model, context: &ViewContext) {
    let (nodes, trouble) = model.count();
    let mut spans = vec![" hana top ".bold(), Span::raw(format!(" {nodes} nodes"))];
    if let Some(show) = context.show {
        spans.push(Span::raw(format!("  show '{show}'")));
    }
    if !model.filter().is_empty() || model.mode == Mode::Filter {
        spans.push(Span::raw(format!("  filter '{}'", model.filter())).bold());
    }
    let summary = format!("  {}", model.dashboard.summary());
    spans.push(if trouble == 0 {
        Span::styled(summary, context.style(Color::Green))
    } else {
        Span::styled(summary, context.style(Color::LightRed)).bold()
    });
    let line = Line::from(spans);
    // The right end of the line shows the beat and its source, or only the beat if there is less room.
    let room = usize::from(area.width).saturating_sub(line.width() + 2);
    let time = context.time.as_ref().and_then(|(beat, source)| {
        let whole = format!("{beat}  {source} ");
        [whole, format!("{beat} ")].into_iter().find(|text| text.chars().count() <= room)
    });
    frame.render_widget(line.style(Style::new().add_modifier(Modifier::REVERSED)), area);
    if let Some(time) = time {
        let width = u16::try_from(time.chars().count()).unwrap_or(area.width).min(area.width);
        let right = Rect { x: area.right() - width, width, ..area };
        frame.render_widget(Line::from(time.reversed()), right);
    }
}

fn draw_alert(frame: &mut Frame, area: Rect, model: &Model, context: &ViewContext) {
    let line = match (&model.mode, model.noticed(), model.alert()) {
        (Mode::Confirm(action, node), ..) => {
            let text = format!(" {} y/n", action.question(node));
            Line::styled(text, context.style(Color::Yellow).add_modifier(Modifier::BOLD))
        },
        (_, Some(notice), _) => Line::raw(format!(" {notice}")),
        (_, None, Some((view, text))) => {
            Line::styled(format!(" {} {text}", view.state.sign()), context.of_state(view).bold())
        },
        (_, None, None) => Line::default(),
    };
    frame.render_widget(line, area);
}

fn draw_list(frame: &mut Frame, area: Rect, model: &Model, context: &ViewContext) {
    let rows = model.rows();
    let selected = model.selected().map(|view| &view.node);
    let at = rows.iter().position(|row| selected.is_some() && row.node() == selected);
    let columns: Vec<usize> =
        (0..COLUMNS.len()).filter(|&column| area.width >= COLUMNS[column].from).collect();
    let table_rows = rows.iter().map(|row| {
        let mut cells = match row {
            DashboardRow::Host(host, daemon) => host_row(host.as_str(), *daemon, context),
            DashboardRow::Node(view) => node_row(view, model, context),
        };
        TableRow::new(columns.iter().map(|&column| std::mem::take(&mut cells[column])))
    });
    let head = columns.iter().map(|&column| COLUMNS[column].title);
    let table = Table::new(table_rows, columns.iter().map(|&column| COLUMNS[column].width))
        .header(TableRow::new(head).style(Style::new().add_modifier(Modifier::DIM)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(at);
    frame.render_stateful_widget(table, area, &mut state);
}

fn host_row<'a>(host: &'a str, daemon: Option<&'a NodeView>, context: &ViewContext) -> Cells<'a> {
    let mut cells = Cells::default();
    cells[0] = Span::raw(host).bold();
    if let Some(view) = daemon {
        let state = format!("{} {}", view.state.sign(), view.state);
        cells[1] = Span::styled(state, context.of_state(view));
        cells[2] = Span::raw(time_since(view.since_ms, context.now_ms));
        cells[7] = Span::raw(view.reason.as_str());
    } else {
        cells[1] = Span::raw("no daemon").dim();
    }
    cells
}

fn node_row<'a>(view: &'a NodeView, model: &Model, context: &ViewContext) -> Cells<'a> {
    let mut remarks = vec![];
    if let Some(what) = view.in_force {
        remarks.push(format!("[{what}]"));
    }
    if view.acknowledged {
        remarks.push("[ignored]".into());
    }
    if view.role != Role::Visualization {
        remarks.push(view.role.to_string());
    }
    remarks.extend(view.note.iter().map(|note| format!("\u{201c}{note}\u{201d}")));
    remarks.push(view.reason.clone());
    remarks.push(view.owners_in_words());
    remarks.retain(|remark| !remark.is_empty());
    let draws = view.is_drawing();
    [
        Span::raw(format!("  {}", view.node)),
        Span::styled(format!("{} {}", view.state.sign(), view.state), context.of_state(view)),
        Span::raw(time_since(view.since_ms, context.now_ms)),
        Span::raw(view.fps.filter(|_| draws).map(|fps| format!("{fps:>3.0}")).unwrap_or_default()),
        Span::raw(if draws { frame_times(view, model, BARS_SHOWN) } else { String::new() }),
        Span::raw(if view.restarts > 0 { format!("{}x", view.restarts) } else { String::new() }),
        Span::raw(match view.lost_messages() {
            0 => String::new(),
            lost => lost.to_string(),
        }),
        Span::raw(remarks.join(" ")),
    ]
}

/// Returns a bar for each recent maximum frame time, and the latest maximum in milliseconds.
fn frame_times(view: &NodeView, model: &Model, shown: usize) -> String {
    let times: Vec<u64> = model.dashboard.frame_times(&view.node).collect();
    let bars: String = times
        .iter()
        .skip(times.len().saturating_sub(shown))
        .map(|time| {
            let eighths = time.saturating_mul(8) / FULL_BAR_US;
            BARS[usize::try_from(eighths).unwrap_or(7).min(7)]
        })
        .collect();
    let last = view.frame_max_us.map(|us| format!(" {}ms", us / 1000)).unwrap_or_default();
    format!("{bars}{last}")
}

/// Maximum number of play sessions listed one by one.
const SESSIONS: usize = 3;

fn draw_details(frame: &mut Frame, area: Rect, model: &Model, context: &ViewContext) {
    let Some(view) = model.selected() else { return };
    let block = Block::new().borders(Borders::TOP).title(format!(" {} ", view.node).bold());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let advice = view.state.advice();
    // Lines are broken between words, the longest of which has a dozen letters.
    let lines = advice.len().div_ceil(usize::from(inner.width).saturating_sub(12).max(1));
    let advised = u16::try_from(lines).unwrap_or(1);
    let advice =
        Paragraph::new(Line::styled(advice, context.of_state(view))).wrap(Wrap { trim: true });
    let [advice_area, said, log] =
        Layout::vertical([Constraint::Length(advised), Constraint::Length(1), Constraint::Min(0)])
            .areas(inner);
    let held = |name: &str| {
        let name = ParameterName::new(name).ok()?;
        let held = view.owner_of(&name)?;
        let verb = if held.how == OwnershipKind::Claimed { "" } else { "plays " };
        Some(format!(" ({verb}{})", held.by))
    };
    let playing = view.playing.iter().map(|(name, word)| {
        let held = held(name).unwrap_or_default();
        format!("{name} {word}{held}")
    });
    let playing: Vec<String> = playing.collect();
    let pid = view.pid.map(|pid| format!("process {pid}  ")).unwrap_or_default();
    frame.render_widget(advice, advice_area);
    let times = if view.is_drawing() && frame.area().width < FRAME_TIMES.from {
        format!("{}  ", frame_times(view, model, BARS_SHOWN))
    } else {
        String::new()
    };
    let troubles: Vec<String> = view.troubles_in_words().collect();
    let troubles = if troubles.is_empty() {
        String::new()
    } else {
        format!("  messages: {}", troubles.join(", "))
    };
    let sessions = view.sessions_in_words(SESSIONS);
    let sessions = if sessions.is_empty() { sessions } else { format!("  {sessions}") };
    let line = format!("{times}{pid}{}{sessions}{troubles}", playing.join("  "));
    frame.render_widget(Line::raw(line), said);
    draw_lines(frame, log, context.log);
}

fn draw_log(frame: &mut Frame, area: Rect, model: &Model, context: &ViewContext) {
    let name = model.selected().map_or("no node", |view| view.node.as_str());
    let block = Block::new().borders(Borders::TOP).title(format!(" log of {name} ").bold());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    draw_lines(frame, inner, context.log);
}

/// Draws the last lines that fit.
fn draw_lines(frame: &mut Frame, area: Rect, log: &[LogLine]) {
    let fit = log.len().saturating_sub(usize::from(area.height));
    let lines: Vec<Line> = log[fit..].iter().map(|line| Line::raw(line.text.as_str())).collect();
    frame.render_widget(Paragraph::new(lines).dim(), area);
}

fn draw_foot(frame: &mut Frame, area: Rect, model: &Model, context: &ViewContext) {
    let mut spans = vec![];
    let mut offer = |key: &str, name: &str, hot: bool| {
        let style = if hot { context.style(Color::Yellow) } else { Style::new() };
        spans.push(Span::styled(format!(" {key}"), style.bold()));
        spans.push(Span::raw(format!(" {name} ")));
    };
    match &model.mode {
        Mode::Confirm(..) => {
            offer("y", "yes", true);
            offer("n", "no", true);
        },
        Mode::Filter => {
            offer("enter", "keep", true);
            offer("esc", "all", true);
        },
        mode => {
            for action in OperatorAction::ALL {
                if let Some(view) = model.selected().filter(|view| action.is_available(view)) {
                    offer(&action.key().to_string(), action.name(), view.is_alarm());
                }
            }
            if *mode == Mode::Log {
                offer("esc", "back", false);
            } else {
                offer("/", "filter", false);
                offer("?", "help", false);
                offer("q", "quit", false);
            }
        },
    }
    frame.render_widget(Line::from(spans), area);
}

fn draw_help(frame: &mut Frame, area: Rect) {
    let lines: Vec<Line> = [
        "up, down, j, k    select a node; home, end: the first, the last",
        "r                 restart with the same look",
        "s                 stop: request, then terminate, then kill",
        "i                 acknowledge: silence its alarm until its state changes",
        "l, enter          show its log; again: back",
        "h, b, u           freeze its look, black out, resume",
        "/                 filter by a text in the name; esc: all",
        "q, esc            quit; nodes keep running",
        "",
        "Actions that interrupt a show ask for confirmation: y does it.",
        "For all visualizations at once: hana freeze --all, hana blackout --all, hana resume --all.",
    ]
    .into_iter()
    .map(Line::raw)
    .collect();
    let height = u16::try_from(lines.len()).unwrap_or(0) + 2;
    let area = Rect { height: height.min(area.height), ..area };
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(" keys ".bold());
    frame.render_widget(Paragraph::new(lines).block(block).wrap(Wrap { trim: false }), area);
}

//! `hana-link` in Ableton Link sessions with independent programs on other hosts, both alone and under a daemon.

use std::time::Duration;

use hana_lab::link::{Foreign, LinkMember, Look};
use hana_lab::show::figure;
use hana_lab::{Host, Lab, Process, Running, Signal, Terminal, eventually, link, show};

const SOON: Duration = Duration::from_secs(30);
/// The largest accepted distance between two members. Link's own test plan tolerates 3 ms; on a busy machine,
/// programs read their clocks late.
const TOGETHER_US: f64 = 1000.0;
/// The largest accepted shift of the beat of a member that is not disturbed.
const NO_JUMP_US: f64 = 2000.0;

/// Creates a lab with these hosts, or returns `None` where labs are impossible or `hana-link` is not built.
fn lab<const N: usize>(name: &str, hosts: [&str; N]) -> Option<(Lab, [Host; N])> {
    if !link::is_built() {
        return None;
    }
    let lab = Lab::new(name)?;
    let hosts = hosts.map(|name| lab.host(name));
    Some((lab, hosts))
}

fn is_tempo(report: &Look, bpm: f64) -> bool {
    (report.bpm - bpm).abs() < 0.01
}

/// Starts hana's `hana-link` and sends it a timeline to continue, as the daemon does.
fn ours_from(host: &Host, bpm: f64, beat: f64, quantum: f64) -> LinkMember {
    let mut ours = LinkMember::ours(host, |_| {});
    let now = link::now_us().round();
    ours.send_line(&format!(
        r#"{{"adopt": {{"bpm": {bpm}, "beat": {beat}, "at_us": {now}, "quantum": {quantum}, "playing": false}}}}"#
    ));
    ours
}

/// Returns the distance of two members in microseconds.
///
/// It is the median over the next reports of `one`, each compared with the nearest report of `other`.
fn apart_us(one: &LinkMember, other: &LinkMember) -> f64 {
    apart_with_clock_us(one, |report| report, other)
}

/// Does the same for a member with a different clock. `back` converts its time to that of the kernel's clock.
fn apart_with_clock_us(one: &LinkMember, back: impl Fn(Look) -> Look, other: &LinkMember) -> f64 {
    let begun = (one.count(), other.count());
    eventually(SOON, "more reports of both", || {
        one.count() >= begun.0 + 7 && other.count() >= begun.1 + 7
    });
    let others = other.reports_since(begun.1);
    let mut apart: Vec<f64> = one
        .reports_since(begun.0)
        .into_iter()
        .map(|report| {
            let report = back(report);
            let away = |other: &&Look| (other.at_us - report.at_us).abs();
            let nearest = others.iter().min_by(|a, b| away(a).total_cmp(&away(b)));
            report.apart_us(nearest.expect("there is a report"))
        })
        .collect();
    apart.sort_by(f64::total_cmp);
    apart[apart.len() / 2]
}

/// Returns the largest shift of the beat of a member, relative to the prediction of its earlier reports.
///
/// A real jump persists over several reports. A single outlier is caused by a clock that was read late.
fn most_jumped_us(looks: &[Look]) -> f64 {
    let jumps = looks.windows(4).map(|of| {
        let pairs = [(0, 2), (0, 3), (1, 2), (1, 3)];
        pairs
            .map(|(before, after)| of[after].jumped_us(&of[before]))
            .into_iter()
            .fold(f64::MAX, f64::min)
    });
    jumps.fold(0.0, f64::max)
}

#[test]
fn tempo_and_transport_go_both_ways_and_a_joiner_adopts_tempo() {
    let Some((_lab, [h1, h2])) = lab("link-ways", ["h1", "h2"]) else { return };
    for kind in [Foreign::LinkPython, Foreign::Aalink] {
        let mut theirs = LinkMember::foreign(&h2, kind, 133.0, 4.0);
        theirs.wait_for("the other program to be there", |report| is_tempo(report, 133.0));
        let mut ours = ours_from(&h1, 120.0, 0.0, 4.0);
        ours.wait_for("a session of two", |report| report.peers == 1);
        assert!(ours.looks().iter().all(|report| is_tempo(report, 133.0)), "{:?}", ours.looks());
        assert!(theirs.looks().iter().all(|report| is_tempo(report, 133.0)), "{:?}", theirs.last());
        let apart = apart_us(&ours, &theirs);
        figure(&format!("{kind:?}: beats {apart:.0} us apart"));
        assert!(apart < TOGETHER_US, "{apart} us apart");

        // The times for changes in each direction, in milliseconds.
        let mut took_ms: [Vec<f64>; 2] = [vec![], vec![]];
        for bpm in [90.0, 141.3, 20.0, 999.0, 120.0] {
            for (way, bpm) in [bpm, bpm + 0.5_f64.copysign(500.0 - bpm)].into_iter().enumerate() {
                let (from, to) = if way == 0 { (&mut theirs, &ours) } else { (&mut ours, &theirs) };
                let (before, asked) = (to.count(), link::now_us());
                from.send_line(&format!("tempo {bpm}"));
                let seen =
                    to.wait_for_since(before, "another tempo", |report| is_tempo(report, bpm));
                took_ms[way].push((seen.at_us - asked) / 1000.0);
            }
        }
        for (way, words) in ["theirs reached ours", "ours reached theirs"].into_iter().enumerate() {
            let took = &mut took_ms[way];
            took.sort_by(f64::total_cmp);
            let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
            figure(&format!(
                "{kind:?}: a tempo of {words} in {median:.0} ms, at most {most:.0} ms"
            ));
            assert!(median < 500.0, "{took:?}");
        }

        for (is_theirs, word) in
            [(true, "play"), (false, "pause"), (false, "play"), (true, "pause")]
        {
            let (from, to) = if is_theirs { (&mut theirs, &ours) } else { (&mut ours, &theirs) };
            from.send_line(word);
            to.wait_for_since(to.count(), word, |report| report.playing == (word == "play"));
        }
        let apart = apart_us(&ours, &theirs);
        assert!(apart < TOGETHER_US, "{apart} us apart in the end");
        theirs.leave();
        ours.leave();
    }
}

#[test]
fn joins_and_leaves_keep_tempo_and_beat_of_the_others() {
    const JOINS: usize = 100;
    let Some((_lab, [h1, h2, h3])) = lab("link-joins", ["h1", "h2", "h3"]) else { return };
    let first = LinkMember::foreign(&h2, Foreign::LinkPython, 133.0, 4.0);
    first.wait_for("the first one", |report| is_tempo(report, 133.0));
    // The remaining member starts a new session each time, which is no older than that of the next guest.
    for _ in 0..3 {
        let guest = ours_from(&h1, 120.0, -3.25, 4.0);
        guest.wait_for("a guest to have joined", |report| report.peers == 1);
        guest.leave();
        first.wait_for_since(first.count(), "to be alone again", |report| report.peers == 0);
    }
    let stays = [first, LinkMember::foreign(&h3, Foreign::Aalink, 133.0, 4.0)];
    for member in &stays {
        member.wait_for_since(member.count(), "two that stay", |report| report.peers == 1);
    }
    let begun = stays[1].count();
    let mut done = 3;
    while done < JOINS {
        let at_once = (JOINS - done).min(10);
        // Some guests leave, others are killed.
        let guests: Vec<LinkMember> =
            (0..at_once).map(|_| ours_from(&h1, 120.0, -3.25, 4.0)).collect();
        for guest in &guests {
            // Guests may join each other first.
            guest.wait_for("a guest to have joined", |report| {
                report.peers >= 2 && is_tempo(report, 133.0)
            });
        }
        for (number, guest) in guests.into_iter().enumerate() {
            if number % 4 == 3 {
                guest.kill(Signal::KILL);
            } else {
                guest.leave();
            }
        }
        done += at_once;
    }
    for (member, begun) in stays.iter().zip([0, begun]) {
        assert!(member.looks().iter().all(|report| is_tempo(report, 133.0)), "{:?}", member.last());
        let jumped = most_jumped_us(&member.reports_since(begun));
        figure(&format!(
            "{JOINS} joins and leaves moved a beat of another by at most {jumped:.0} us"
        ));
        assert!(jumped < NO_JUMP_US, "{jumped} us");
    }
    let apart = apart_us(&stays[0], &stays[1]);
    assert!(apart < TOGETHER_US, "{apart} us apart");
}

#[test]
fn crashed_or_suspended_member_leaves_the_others_unchanged() {
    let Some((_lab, [h1, h2, h3])) = lab("link-crash", ["h1", "h2", "h3"]) else { return };
    let first = LinkMember::foreign(&h2, Foreign::LinkPython, 133.0, 4.0);
    first.wait_for("the first", |report| is_tempo(report, 133.0));
    let mut second = LinkMember::foreign(&h3, Foreign::Aalink, 120.0, 4.0);
    let ours = ours_from(&h1, 120.0, 0.0, 4.0);
    ours.wait_for("a session of three", |report| report.peers == 2);
    second.send_line("play");
    ours.wait_for("it to play", |report| report.playing);
    let begun = ours.count();

    // This is the member that started the session.
    first.kill(Signal::KILL);
    ours.wait_for_since(begun, "the crashed one to be counted no more", |report| report.peers == 1);
    // `hana-link` is suspended, as the system may do to any process.
    ours.kill(Signal::STOP);
    let before = second.count();
    second.wait_for_since(before + 60, "a second or more", |_| true);
    ours.kill(Signal::CONT);
    let before = ours.count();
    ours.wait_for_since(before + 4, "ours to go on", |_| true);
    // This is the last of the other members.
    second.kill(Signal::KILL);
    let before = ours.count();
    ours.wait_for_since(before, "ours to be alone", |report| report.peers == 0);
    ours.wait_for_since(before + 4, "ours to go on alone", |_| true);

    let looks = ours.reports_since(begun);
    let jumped = most_jumped_us(&looks);
    figure(&format!("crashes of others moved a beat of ours by at most {jumped:.0} us"));
    assert!(jumped < NO_JUMP_US, "{jumped} us");
    assert!(looks.iter().all(|report| is_tempo(report, 133.0) && report.playing));

    // Now `hana-link` is killed, and returns while another member is in the session.
    let third = LinkMember::foreign(&h2, Foreign::Aalink, 90.0, 4.0);
    third.wait_for("the third to have joined", |report| {
        report.peers == 1 && is_tempo(report, 133.0)
    });
    let begun = third.count();
    ours.kill(Signal::KILL);
    let again = ours_from(&h1, 133.0, 0.5, 4.0);
    again.wait_for("ours to be back", |report| report.peers == 1);
    let apart = apart_us(&again, &third);
    assert!(apart < TOGETHER_US, "{apart} us apart");
    let jumped = most_jumped_us(&third.reports_since(begun));
    assert!(jumped < NO_JUMP_US, "{jumped} us");
}

#[test]
fn extreme_tempos_odd_bars_and_negative_beats_stay_in_sync() {
    let Some((_lab, [h1, h2])) = lab("link-odd", ["h1", "h2"]) else { return };
    for (bpm, quantum, beat) in [(20.0, 3.0, -1000.5), (999.0, 7.0, -3.0)] {
        // `hana-link` is the first member, and continues the timeline that it has received.
        let begun = link::now_us();
        let ours = ours_from(&h1, bpm, beat, quantum);
        let alone = ours.wait_for("ours to be settled", |_| true);
        assert!(is_tempo(&alone, bpm) && alone.peers == 0, "{alone:?}");
        let passed = (alone.at_us - begun) * bpm / 60e6;
        let off_us = (alone.beat - beat - passed).abs() * 60e6 / bpm;
        // The difference is the time until the command arrived.
        assert!(alone.beat < beat + passed + 0.001 && off_us < 2e6, "{alone:?}");
        // Other members adopt its timeline.
        let theirs = LinkMember::foreign(&h2, Foreign::LinkPython, 120.0, quantum);
        theirs
            .wait_for("the other one to join", |report| report.peers == 1 && is_tempo(report, bpm));
        ours.wait_for("the other one to be seen", |report| report.peers == 1);
        let apart = apart_us(&ours, &theirs);
        figure(&format!("{bpm} beats a minute, bars of {quantum}: {apart:.0} us apart"));
        assert!(apart < TOGETHER_US, "{apart} us apart at {bpm}");
        let jumped = most_jumped_us(&ours.looks());
        assert!(jumped < NO_JUMP_US, "{jumped} us at {bpm}");
    }
}

#[test]
fn members_with_shifted_or_drifting_clocks_stay_in_sync() {
    const HOUR_US: f64 = 3600e6;
    let Some((_lab, [h1, h2, h3])) = lab("link-clocks", ["h1", "h2", "h3"]) else { return };
    let theirs = LinkMember::foreign(&h3, Foreign::LinkPython, 133.0, 4.0);
    theirs.wait_for("the other program to be there", |report| is_tempo(report, 133.0));
    // This member is configured with another clock.
    let believes = LinkMember::ours(&h1, |command| {
        command.env("HANA_CLOCK", "offset_us=3600000000,drift_ppm=100");
    });
    // The other member really has another clock: that of a machine that was started an hour earlier.
    let mut command = h2.command("unshare");
    command.args(["--time", "--fork", "--monotonic", "3600", "--boottime", "3600"]);
    command.args(["hana-link", "--json"]);
    let has = LinkMember::of(h2.spawn_with_input(command));
    for member in [&believes, &has] {
        member.wait_for("a session of three", |report| report.peers == 2);
    }
    let an_hour_and_a_drift =
        |report: Look| Look { at_us: (report.at_us - HOUR_US) / 1.0001, ..report };
    let apart = apart_with_clock_us(&believes, an_hour_and_a_drift, &theirs);
    figure(&format!("a clock with an hour and a drift: {apart:.0} us apart"));
    assert!(apart < TOGETHER_US, "{apart} us apart");
    let an_hour = |report: Look| Look { at_us: report.at_us - HOUR_US, ..report };
    let apart = apart_with_clock_us(&has, an_hour, &theirs);
    figure(&format!("the clock of a machine that began an hour earlier: {apart:.0} us apart"));
    assert!(apart < TOGETHER_US, "{apart} us apart");
}

#[test]
fn link_at_a_terminal_accepts_commands_and_prints_text() {
    let Some((_lab, [h1])) = lab("link-terminal", ["h1"]) else { return };
    let mut terminal = Terminal::with(&h1, (100, 20), "hana-link", [""; 0]);
    let await_text = |terminal: &Terminal, words: &str| {
        terminal.wait_for(SOON, words, |text| text.contains(words));
    };
    await_text(&terminal, "120.00 bpm, 4 beats per bar, paused, no other peers");
    terminal.type_in("tempo 133\n");
    await_text(&terminal, "133.00 bpm, 4 beats per bar, paused, no other peers");
    terminal.type_in("faster\n");
    await_text(&terminal, "unknown command; use `tempo BPM`, `play`, `pause`");
    terminal.type_in("quit\n");
    let status = terminal.wait(SOON);
    assert!(status.success(), "{status}");
}

/// Starts a daemon that takes part in Link, and follows its timeline with `hana`.
fn daemon_with_link(host: &Host) -> (Running, LinkMember) {
    let daemon = show::start_daemon_with(host, |command| {
        command.env("HANA_LINK", "on");
    });
    let timeline = LinkMember::timeline_of(host);
    timeline.wait_for("a timeline", |_| true);
    (daemon, timeline)
}

/// Returns the pid of `hana-link` on a host, or `None` if it does not run.
fn pid_of_hana_link(host: &Host) -> Option<i32> {
    let is_ours = |process: &Process| process.command.contains("hana-link") && process.state != 'Z';
    host.processes().into_iter().find(is_ours).map(|process| process.pid)
}

#[test]
fn daemon_follows_link_and_its_commands_reach_the_session() {
    let Some((_lab, [h1, h2])) = lab("link-daemon", ["h1", "h2"]) else { return };
    let mut theirs = LinkMember::foreign(&h2, Foreign::LinkPython, 133.0, 4.0);
    theirs.wait_for("the other program to be there", |report| is_tempo(report, 133.0));
    let (_daemon, timeline) = daemon_with_link(&h1);
    timeline.wait_for("the session's tempo", |report| is_tempo(report, 133.0) && report.peers == 1);
    assert!(theirs.looks().iter().all(|report| is_tempo(report, 133.0)), "{:?}", theirs.last());
    let printed = show::hana(&h1, ["tempo", "--json"]).ok().json();
    assert_eq!((&printed["source"], &printed["peers"]), (&"link".into(), &1.into()), "{printed}");
    // At first, the daemon may still be slewing towards the beat.
    let apart = eventually(SOON, "beats together", || {
        let apart = apart_us(&timeline, &theirs);
        if apart < TOGETHER_US { Ok(apart) } else { Err(apart) }
    });
    figure(&format!("the timeline of a host and another Link program are {apart:.0} us apart"));

    show::hana(&h1, ["tempo", "90"]).ok();
    theirs.wait_for("90 from hana", |report| is_tempo(report, 90.0));
    theirs.send_line("tempo 141.3");
    timeline.wait_for("141.3 from the other one", |report| is_tempo(report, 141.3));
    for (is_theirs, word) in [(true, "play"), (false, "pause"), (false, "play"), (true, "pause")] {
        let is_so = |report: &Look| report.playing == (word == "play");
        if is_theirs {
            theirs.send_line(word);
            timeline.wait_for_since(timeline.count(), word, is_so);
        } else {
            show::hana(&h1, [word]).ok();
            theirs.wait_for_since(theirs.count(), word, is_so);
        }
    }
}

#[test]
fn killed_hana_link_returns_without_a_jump_of_the_beats() {
    let Some((_lab, [h1, h2])) = lab("link-killed", ["h1", "h2"]) else { return };
    let theirs = LinkMember::foreign(&h2, Foreign::LinkPython, 133.0, 4.0);
    theirs.wait_for("the other program to be there", |report| is_tempo(report, 133.0));
    let (daemon, timeline) = daemon_with_link(&h1);
    timeline.wait_for("a session of two", |report| is_tempo(report, 133.0) && report.peers == 1);
    eventually(SOON, "beats together", || apart_us(&timeline, &theirs) < TOGETHER_US);
    let (begun, begun_theirs) = (timeline.count(), theirs.count());
    let jump = timeline.field("jump");
    let mut before = pid_of_hana_link(&h1).expect("the daemon has started hana-link");
    for _ in 0..2 {
        h1.kill(Signal::KILL, before);
        before = eventually(SOON, "another hana-link", || {
            pid_of_hana_link(&h1).filter(|pid| *pid != before)
        });
        let since = timeline.count();
        timeline.wait_for_since(since, "the session to be left", |report| report.peers == 0);
        timeline.wait_for_since(since, "a session of two again", |report| report.peers == 1);
    }
    let apart = eventually(SOON, "beats together again", || {
        let apart = apart_us(&timeline, &theirs);
        if apart < TOGETHER_US { Ok(apart) } else { Err(apart) }
    });
    figure(&format!("after hana-link was killed and came back: {apart:.0} us apart"));
    for (member, begun) in [(&timeline, begun), (&theirs, begun_theirs)] {
        let looks = member.reports_since(begun);
        assert!(looks.iter().all(|report| is_tempo(report, 133.0)), "{:?}", member.last());
        let jumped = most_jumped_us(&looks);
        figure(&format!("hana-link killed twice moved a beat by at most {jumped:.0} us"));
        assert!(jumped < NO_JUMP_US, "{jumped} us");
    }

    // After the other member has left, `hana-link` continues the daemon's timeline.
    theirs.leave();
    timeline.wait_for_since(timeline.count(), "nobody else", |report| report.peers == 0);
    let begun = timeline.count();
    h1.kill(Signal::KILL, before);
    let last =
        eventually(SOON, "a new hana-link", || pid_of_hana_link(&h1).filter(|pid| *pid != before));
    // If another program joins before `hana-link` has returned to a session, that program owns the older session.
    for is_link in [false, true] {
        eventually(SOON, "the source to lose Link and to find it again", || {
            (timeline.field("source") == "link") == is_link
        });
    }
    let late = LinkMember::foreign(&h2, Foreign::Aalink, 60.0, 4.0);
    late.wait_for("another program to come", |report| report.peers == 1 && is_tempo(report, 133.0));
    timeline.wait_for_since(begun, "it to be seen", |report| report.peers == 1);
    eventually(SOON, "beats together", || apart_us(&timeline, &late) < TOGETHER_US);
    let jumped = most_jumped_us(&timeline.reports_since(begun));
    assert!(jumped < NO_JUMP_US, "{jumped} us");

    assert_eq!(timeline.field("jump"), jump, "no jump is reported");

    // When a daemon is killed, no `hana-link` remains.
    assert_eq!(pid_of_hana_link(&h1), Some(last));
    daemon.kill(Signal::KILL);
    eventually(SOON, "no hana-link without its daemon", || pid_of_hana_link(&h1).is_none());
}

#[test]
fn daemon_with_link_off_stays_out_of_link() {
    let Some((_lab, [h1])) = lab("link-off", ["h1"]) else { return };
    let daemon = show::start_daemon(&h1);
    show::hana(&h1, ["tempo", "99"]).ok();
    let told = show::hana(&h1, ["tempo", "--json"]).ok().json();
    assert_eq!(told["source"], "internal", "{told}");
    assert_eq!(pid_of_hana_link(&h1), None);
    assert!(!daemon.stderr().contains("hana-link"), "{}", daemon.stderr());
}

//! `ripples` in a real window. A command on one host starts it on another, and it is closed as a person closes it.

use std::collections::HashSet;
use std::time::Duration;

use hana_lab::show::{figure, hana, is, node, nodes};
use hana_lab::{Image, Lab, Person, Stage, eventually, show};

/// The time limit for immediate effects, on a machine where other programs render in software.
const SOON: Duration = Duration::from_secs(15);

#[test]
fn ripples_started_remotely_opens_a_window_and_draws() {
    let Some(lab) = Lab::new("window") else { return };
    let stage = Stage::new(&lab);
    let opened = stage.open("ripples");
    figure(&format!(
        "ripples on another host: a window {:.2} s after the command, running after {:.2} s",
        opened.until_window.as_secs_f64(),
        opened.until_running.as_secs_f64()
    ));
    assert_eq!(opened.id, "ripples");
    let window = &stage.screen.windows()[0];
    assert_eq!((window.title.as_str(), window.width, window.height), ("ripples", 640, 360));

    for host in [&stage.h1, &stage.h2, &stage.h3] {
        eventually(SOON, "every host to list ripples as running", || {
            let nodes = nodes(host);
            if is(&nodes, "ripples", "running") { Ok(()) } else { Err(nodes) }
        });
        stage.wait_for_frames(host, "ripples", 5);
        let nodes = nodes(host);
        let ripples = node(&nodes, "ripples").unwrap();
        assert_eq!(
            (ripples["role"].as_str(), ripples["host"].as_str(), ripples["pid"].as_i64()),
            (Some("visualization"), Some("h2"), Some(opened.pid.into()))
        );
        if host.name() == "h1" {
            figure(&format!(
                "ripples at 640x360 draws {:.0} frames a second",
                ripples["fps"].as_f64().unwrap()
            ));
        }
    }

    let picture = eventually(SOON, "a picture that is neither black nor of one colour", || {
        let picture = stage.screen.screenshot();
        if colours(&picture) > 1000 && picture.mean_brightness() > 0.02 {
            Ok(picture)
        } else {
            Err(picture)
        }
    });
    // No controller plays `ripples`, and `zoom` 0 means twelve rings in the height of the window.
    let spacing = picture.ring_spacing().unwrap();
    assert!((spacing / 30.0 - 1.0).abs() < 0.05, "rings every {spacing:.2} pixels instead of 30");
    let moved = || stage.screen.screenshot() != picture;
    eventually(SOON, "the rings to move", moved);
}

#[test]
fn closed_window_stays_closed_and_a_stop_closes_the_window() {
    let Some(lab) = Lab::new("close") else { return };
    let stage = Stage::new(&lab);
    let opened = stage.open("ripples");

    Person::at(&stage.screen).close("ripples");
    eventually(SOON, "the window and its process to be gone", || {
        let left = (stage.screen.windows(), visualizations_on(&stage));
        if left.0.is_empty() && left.1.is_empty() { Ok(()) } else { Err(left) }
    });
    for host in [&stage.h1, &stage.h2, &stage.h3] {
        eventually(SOON, "every host to list ripples as closed", || {
            let nodes = nodes(host);
            if is(&nodes, "ripples", "closed") { Ok(()) } else { Err(nodes) }
        });
    }

    // A restart would be immediate, and thus come long before a visualization that is started now has the state
    // `running`.
    let (pulse, _) = show::start(&stage.h1, &stage.h2, "pulse");
    eventually(SOON, "the other one to run", || {
        let nodes = nodes(&stage.h1);
        if is(&nodes, &pulse, "running") { Ok(()) } else { Err(nodes) }
    });
    hana(&stage.h1, ["stop", &pulse]).ok();
    let nodes_now = nodes(&stage.h1);
    let closed = node(&nodes_now, "ripples").unwrap();
    assert_eq!(
        (closed["state"].as_str(), closed["restarts"].as_u64(), closed["pid"].as_i64()),
        (Some("closed"), Some(0), None),
        "{closed}"
    );
    assert_eq!((stage.screen.windows(), visualizations_on(&stage)), (vec![], vec![]));

    // The id can be used again.
    let again = stage.open("ripples");
    assert_eq!(again.id, "ripples");
    assert_ne!(again.pid, opened.pid);
    let stopped = hana(&stage.h1, ["stop", "ripples"]).ok();
    figure(&format!(
        "hana stop of a window on another host took {:.2} s",
        stopped.took.as_secs_f64()
    ));
    // `hana stop` returns when the program has ended. Only the bookkeeping of the X server may lag.
    assert_eq!(visualizations_on(&stage), Vec::<String>::new());
    eventually(SOON, "no window", || stage.screen.windows().is_empty());
    eventually(SOON, "ripples to be listed as stopped", || {
        let nodes = nodes(&stage.h3);
        if is(&nodes, "ripples", "stopped") { Ok(()) } else { Err(nodes) }
    });
}

/// Lists the processes on the host with the screen, including zombies, except its daemon.
fn visualizations_on(stage: &Stage) -> Vec<String> {
    let processes = stage.h2.processes().into_iter().map(|process| process.command);
    processes.filter(|command| !command.ends_with("hanad")).collect()
}

/// Counts the colours of a picture.
fn colours(picture: &Image) -> usize {
    let rows = (0..picture.height()).flat_map(|y| picture.row(y));
    rows.collect::<HashSet<_>>().len()
}

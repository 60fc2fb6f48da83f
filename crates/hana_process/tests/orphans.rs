//! Tests that adopted orphans are reaped, and no other processes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use hana_process::{LaunchSpec, Process};
use hana_protocol::message::Exit;

const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn adopted_orphan_is_reaped_and_leader_is_left_to_its_owner() {
    hana_process::become_subreaper().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let spec = LaunchSpec {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), "sleep 61 & echo $!; exit 7".into()],
        env: BTreeMap::new(),
        dir: None,
        output: dir.path().join("output.log"),
        fallback_output: None,
        launch_id: hana_process::new_launch_id(),
    };
    let (sender, exits) = mpsc::channel();
    let process = Process::launch(&spec, move |exit| sender.send(exit).unwrap()).unwrap();
    assert_eq!(exits.recv_timeout(DEADLINE), Ok(Exit::Code(7)));
    let orphan = fs::read_to_string(&spec.output).unwrap().trim().to_owned();
    let orphan = Path::new("/proc").join(orphan);
    assert!(orphan.exists());

    assert_eq!(hana_process::reap_orphans(), 0);
    assert_eq!(process.try_wait(), Some(Exit::Code(7)));
    process.kill_remaining().unwrap();
    let began = Instant::now();
    while hana_process::reap_orphans() == 0 {
        assert!(began.elapsed() < DEADLINE);
        thread::sleep(Duration::from_millis(2));
    }
    assert!(!orphan.exists());
}

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;

use super::*;

fn numbers(lines: &[Line]) -> Vec<u64> {
    lines.iter().map(|line| line.number).collect()
}

#[test]
fn lines_appear_once_complete_and_the_last_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let mut follower = LogFollower::new(&path, LogLimits::default());
    assert!(follower.poll().unwrap().is_empty());
    let mut writer = output_file::open_for_new_run(&path).unwrap();
    assert!(follower.poll().unwrap().is_empty());
    writer.write_all(b"one\ntw").unwrap();
    assert_eq!(follower.poll().unwrap(), [Line { number: 0, text: "one".into() }]);
    assert!(follower.poll().unwrap().is_empty());
    writer.write_all(b"o\nthree").unwrap();
    assert_eq!(follower.poll().unwrap(), [Line { number: 1, text: "two".into() }]);
    assert_eq!(follower.finish().unwrap(), [Line { number: 2, text: "three".into() }]);
    assert!(follower.finish().unwrap().is_empty());
    assert_eq!(numbers(&follower.tail(2)), [1, 2]);
    assert_eq!(follower.skipped(), 0);
}

#[test]
fn last_lines_of_a_flood_are_reported_and_the_rest_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flood.log");
    let mut writer = output_file::open_for_new_run(&path).unwrap();
    let limits = LogLimits { lines_per_poll: 10, tail: 4, ..LogLimits::default() };
    let mut follower = LogFollower::new(&path, limits);
    for _ in 0..3 {
        writer.write_all("0123456789abcde\n".repeat(65_536).as_bytes()).unwrap();
        assert_eq!(follower.poll().unwrap().len(), 10);
    }
    assert_eq!(follower.skipped(), 3 * (65_536 - 10));
    let last = 3 * 65_536 - 1;
    assert_eq!(numbers(&follower.tail(100)), [last - 3, last - 2, last - 1, last]);
}

#[test]
fn file_over_its_limit_is_rotated_without_losing_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.log");
    let mut writer = output_file::open_for_new_run(&path).unwrap();
    let limits = LogLimits { file: 1000, ..LogLimits::default() };
    let mut follower = LogFollower::new(&path, limits);
    let mut seen = vec![];
    for number in 0..500 {
        writeln!(writer, "line {number}").unwrap();
        if number % 7 == 0 {
            seen.extend(follower.poll().unwrap());
        }
    }
    seen.extend(follower.finish().unwrap());
    assert_eq!(seen.len(), 500);
    assert!(seen.iter().all(|line| line.text == format!("line {}", line.number)));
    assert!(fs::metadata(&path).unwrap().len() < 1200);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
}

#[test]
fn failed_rotation_is_retried_once_the_file_has_grown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stuck.log");
    let mut writer = output_file::open_for_new_run(&path).unwrap();
    let limits = LogLimits { file: 100, ..LogLimits::default() };
    let mut follower = LogFollower::new(&path, limits);
    // This directory blocks the copy, as a full disk would.
    let in_the_way = dir.path().join("stuck.log.part");
    fs::create_dir(&in_the_way).unwrap();
    let mut seen = vec![];
    let mut write = |count| {
        for _ in 0..count {
            writer.write_all(b"0123456789\n").unwrap();
        }
    };
    for count in [10, 5] {
        write(count);
        follower.poll().unwrap_err();
        seen.extend(follower.poll().unwrap());
        seen.extend(follower.poll().unwrap());
    }
    fs::remove_dir(&in_the_way).unwrap();
    write(5);
    seen.extend(follower.poll().unwrap());
    seen.extend(follower.poll().unwrap());
    assert_eq!(numbers(&seen), (0..20).collect::<Vec<_>>());
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn resumed_follower_has_history_and_reports_only_new_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resumed.log");
    let mut writer = output_file::open_for_new_run(&path).unwrap();
    writer.write_all(b"one\ntwo\nthr").unwrap();
    let limits = LogLimits { tail: 2, ..LogLimits::default() };
    let mut follower = LogFollower::resume(&path, None, limits, 0).unwrap();
    assert_eq!(numbers(&follower.tail(9)), [0, 1]);
    assert!(follower.poll().unwrap().is_empty());
    writer.write_all(b"ee\nfour\n").unwrap();
    let three = Line { number: 2, text: "three".into() };
    assert_eq!(follower.poll().unwrap(), [three, Line { number: 3, text: "four".into() }]);
    assert_eq!((numbers(&follower.tail(9)), follower.skipped()), (vec![2, 3], 0));

    let nowhere = LogFollower::resume(dir.path().join("none.log"), None, limits, 7).unwrap();
    assert!(nowhere.tail(9).is_empty());
}

#[test]
fn line_numbers_and_history_continue_across_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.log");
    let mut writer = output_file::open_for_new_run(&path).unwrap();
    let limits = LogLimits { file: 1000, tail: 50, ..LogLimits::default() };
    let mut follower = LogFollower::new(&path, limits);
    for number in 0..500 {
        write!(writer, "line {number}").unwrap();
        if number % 7 == 0 {
            // The file is read in the middle of a line.
            follower.poll().unwrap();
        }
        writeln!(writer).unwrap();
    }
    follower.poll().unwrap();
    let first_line = follower.first_line();
    assert!(first_line > 0);
    let mut resumed = LogFollower::resume(&path, None, limits, first_line).unwrap();
    assert_eq!(resumed.tail(50), follower.tail(50));
    writeln!(writer, "line 500").unwrap();
    assert_eq!(resumed.poll().unwrap(), [Line { number: 500, text: "line 500".into() }]);
}

#[test]
fn follower_reads_its_instance_to_the_end_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.log");
    let mut first = output_file::open_for_new_run(&path).unwrap();
    first.write_all(b"first\n").unwrap();
    let mut follower = LogFollower::new(&path, LogLimits::default());
    assert_eq!(follower.poll().unwrap().len(), 1);
    let mut second = output_file::open_for_new_run(&path).unwrap();
    second.write_all(b"second\n").unwrap();
    first.write_all(b"last words\n").unwrap();
    assert_eq!(follower.finish().unwrap()[0].text, "last words");
    let mut follower = LogFollower::new(&path, LogLimits::default());
    assert_eq!(follower.poll().unwrap()[0].text, "second");
}

/// Checks that every byte is in a file or counted as dropped, and that the files are bounded.
///
/// This holds at any speed and line length.
mod any_writer {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 64 * 1024;

    proptest! {
        #![proptest_config(hana_random::cases(48))]
        #[test]
        fn file_is_bounded_and_every_byte_is_kept_or_counted(
            bursts in prop::collection::vec((0_usize..400_000, 0_usize..5000, 0_u64..3000), 1..20),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("any.log");
            let mut writer = output_file::open_for_new_run(&path).unwrap();
            let limits = LogLimits { file: LIMIT, ..LogLimits::default() };
            let mut follower = LogFollower::of_file(&path, writer.try_clone().unwrap(), limits);
            let mut now = Instant::now();
            let mut written = 0_u64;
            for (length, line, pause) in bursts {
                let mut burst = vec![b'x'; length];
                burst.iter_mut().skip(line).step_by(line + 1).for_each(|byte| *byte = b'\n');
                writer.write_all(&burst).unwrap();
                written += length as u64;
                now += Duration::from_millis(pause);
                let lines = follower.poll_at(now).unwrap();
                prop_assert!(lines.len() <= limits.lines_per_poll);
                prop_assert!(fs::metadata(&path).unwrap().len() <= LIMIT);
            }
            follower.finish().unwrap();
            let files: Vec<u64> = fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().metadata().unwrap().len())
                .collect();
            prop_assert!(files.len() <= 4);
            prop_assert!(files.iter().all(|length| *length <= LIMIT + 100), "{files:?}");
            let kept: u64 = files.iter().sum();
            // Output older than the copies is intentionally gone too, so `kept + dropped` can be less than `written`.
            prop_assert!(follower.dropped() <= written);
            prop_assert!(kept <= written + 300);
            prop_assert_eq!(follower.came(), written);
        }
    }
}

#[test]
fn copy_of_a_flood_counts_the_missing_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flood.log");
    let mut writer = output_file::open_for_new_run(&path).unwrap();
    let limits = LogLimits { file: 1_000_000, ..LogLimits::default() };
    let mut follower = LogFollower::new(&path, limits);
    writer.write_all("0123456789abcde\n".repeat(400_000).as_bytes()).unwrap();
    follower.poll().unwrap();
    assert_eq!(follower.dropped(), 5_400_000);
    let kept = fs::read_to_string(dir.path().join("flood.log.1")).unwrap();
    assert!(kept.starts_with("(5 MB of output are missing here)\n"), "{}", &kept[..40]);
    assert!(kept.ends_with("0123456789abcde\n") && kept.len() < 1_000_100);
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn uncopyable_file_is_emptied_at_twice_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stuck.log");
    let mut writer = output_file::open_for_new_run(&path).unwrap();
    let limits = LogLimits { file: 1000, ..LogLimits::default() };
    let mut follower = LogFollower::new(&path, limits);
    fs::create_dir(dir.path().join("stuck.log.part")).unwrap();
    writer.write_all(&[b'x'; 1500]).unwrap();
    follower.poll().unwrap_err();
    assert_eq!(fs::metadata(&path).unwrap().len(), 1500);
    writer.write_all(&[b'x'; 1500]).unwrap();
    follower.poll().unwrap_err();
    assert_eq!((fs::metadata(&path).unwrap().len(), follower.dropped()), (0, 3000));
    writer.write_all(b"\nnow\n").unwrap();
    assert_eq!(follower.poll().unwrap().last().unwrap().text, "now");
}

#[cfg(unix)]
#[test]
fn deleted_file_is_recreated_with_its_content_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log/gone.log");
    let mut writer = output_file::open_for_new_run(&path).unwrap();
    let limits = LogLimits { file: 200_000, ..LogLimits::default() };
    let mut follower = LogFollower::of_file(&path, writer.try_clone().unwrap(), limits);
    writer.write_all(b"one\n").unwrap();
    let mut now = Instant::now();
    assert_eq!(follower.poll_at(now).unwrap().len(), 1);
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    writer.write_all(b"two\n").unwrap();
    now += CHECK_INTERVAL;
    assert_eq!(follower.poll_at(now).unwrap()[0].text, "two");
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");

    // A deleted file stays bounded too, however long the process writes to it.
    for _ in 0..100 {
        writer.write_all("0123456789abcde\n".repeat(6250).as_bytes()).unwrap();
        now += Duration::from_millis(20);
        follower.poll_at(now).unwrap();
        assert!(writer.metadata().unwrap().len() <= 100_000);
    }
    let names = fs::read_dir(dir.path().join("log")).unwrap();
    let kept: u64 = names.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(kept <= 800_000, "{kept}");

    // The file is deleted again.
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    std::thread::sleep(CHECK_INTERVAL);
    now += CHECK_INTERVAL;
    follower.poll_at(now).unwrap();
    writer.write_all(b"three\n").unwrap();
    assert_eq!(follower.poll_at(now).unwrap()[0].text, "three");
    assert!(fs::read_to_string(&path).unwrap().ends_with("three\n"));
}

#[cfg(unix)]
#[test]
fn moved_file_is_followed_under_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("moved.log");
    let mut writer = output_file::open_for_new_run(&path).unwrap();
    let mut follower = LogFollower::new(&path, LogLimits::default());
    writer.write_all(b"one\n").unwrap();
    let now = Instant::now();
    follower.poll_at(now).unwrap();
    fs::rename(&path, dir.path().join("taken")).unwrap();
    follower.poll_at(now + CHECK_INTERVAL).unwrap();
    writer.write_all(b"two\n").unwrap();
    assert_eq!(follower.poll_at(now + CHECK_INTERVAL).unwrap()[0].text, "two");
    assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
}

#[cfg(target_os = "linux")]
#[test]
fn deleted_file_is_followed_by_the_next_program() {
    use std::os::fd::AsRawFd;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gone.log");
    let mut writer = output_file::open_for_new_run(&path).unwrap();
    let nameless = PathBuf::from(format!("/proc/self/fd/{}", writer.as_raw_fd()));
    let limits = LogLimits::default();
    let mut first = LogFollower::of_file(&path, writer.try_clone().unwrap(), limits);
    writer.write_all(b"one\n").unwrap();
    let now = Instant::now();
    first.poll_at(now).unwrap();
    fs::remove_file(&path).unwrap();
    first.poll_at(now + CHECK_INTERVAL).unwrap();
    writer.write_all(b"two\n").unwrap();
    first.poll_at(now + CHECK_INTERVAL).unwrap();
    drop(first);
    writer.write_all(b"three\n").unwrap();
    let mut next = LogFollower::resume(&path, Some(&nameless), limits, 0).unwrap();
    assert_eq!(numbers(&next.tail(9)), [0, 1]);
    assert_eq!(next.poll().unwrap(), [Line { number: 2, text: "three".into() }]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");

    // The file is deleted while no program follows it. No output is lost.
    drop(next);
    fs::remove_file(&path).unwrap();
    let mut last = LogFollower::resume(&path, Some(&nameless), limits, 0).unwrap();
    assert_eq!(last.poll().unwrap().len(), 3);
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
}

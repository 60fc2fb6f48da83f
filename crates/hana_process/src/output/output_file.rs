use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The number of earlier output files that are kept.
pub(crate) const MAX_BACKUPS: u32 = 3;
/// The largest output file, in bytes.
pub(crate) const LIMIT: u64 = 10 * 1024 * 1024;
/// The number of times that a copy is extended by bytes written in the meantime.
const CHASES: u32 = 3;

/// The bytes written to check for room on the disk before a launch. A file can be opened even on a full disk.
const WRITE_PROBE: [u8; 4096] = [b'\n'; 4096];

/// Opens the output file of a new instance for appending. Fails if nothing can be written to it.
///
/// The output of earlier instances is moved to `<path>.1` and so on, and the oldest file is removed. An empty file is
/// not kept. If a file grew beyond the limit while no daemon ran, only its end is kept.
pub(crate) fn open_for_new_run(path: &Path) -> io::Result<File> {
    make_dir_of(path)?;
    match fs::metadata(path).map_or(0, |metadata| metadata.len()) {
        0 => {},
        length if length > 2 * LIMIT => {
            let mut file = File::options().read(true).open(path)?;
            let kept = copy_end(path, &mut file, LIMIT, 0).and_then(|_| rotate(path));
            if let Err(problem) = kept {
                tracing::warn!("{}: the end of it is not kept: {problem}", path.display());
            }
            fs::remove_file(path)?;
        },
        _ => move_aside(path)?,
    }
    // Opened for reading too: the daemon follows the file through the same handle, even if its name changes.
    let mut file = File::options().read(true).append(true).create(true).open(path)?;
    let has_room = file.write_all(&WRITE_PROBE);
    let emptied = file.set_len(0);
    has_room.and(emptied).map(|()| file)
}

pub(crate) fn make_dir_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Moves the file at `path` to `<path>.1`, and each older one to the next number.
pub(crate) fn move_aside(path: &Path) -> io::Result<()> {
    make_room(path)?;
    fs::rename(path, backup_path(path, 1))
}

/// Returns whether `path` names the open file that has the metadata `opened`.
#[cfg(unix)]
pub(crate) fn is_at(path: &Path, opened: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    fs::metadata(path).is_ok_and(|there| there.dev() == opened.dev() && there.ino() == opened.ino())
}

#[cfg(not(unix))]
pub(crate) fn is_at(path: &Path, _opened: &Metadata) -> bool {
    path.exists()
}

/// Returns whether the file was deleted.
#[cfg(unix)]
pub(crate) fn is_deleted(opened: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(opened) == 0
}

#[cfg(not(unix))]
pub(crate) const fn is_deleted(_opened: &Metadata) -> bool {
    false
}

/// A copy of the end of an output file, made while its writer continues.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) file: File,
    /// The offset in the output at which the copy begins.
    pub(crate) from: u64,
    /// The offset in the output at which the copy ends.
    pub(crate) to: u64,
    /// The length, in bytes, of the first line, which reports the missing output.
    pub(crate) note: u64,
}

/// Copies the last `most` bytes of `file` into `<path>.part`. If there is no room for the copy, no file changes.
///
/// Only a little of the output that a fast writer adds in the meantime is copied. If output is missing, the first
/// line of the copy states the amount: the bytes that are not copied, and the `lost` bytes before them.
pub(crate) fn copy_end(path: &Path, file: &mut File, most: u64, lost: u64) -> io::Result<Copy> {
    make_dir_of(path)?;
    let part = with_suffix(path, PART);
    copy_to(&part, file, most, lost).inspect_err(|_| {
        fs::remove_file(&part).ok();
    })
}

/// Renames the finished copy to `<path>.1`, replacing the latest one.
pub(crate) fn replace_last(path: &Path) -> io::Result<()> {
    fs::rename(with_suffix(path, PART), backup_path(path, 1))
}

/// Renames the finished copy to `<path>.1`, and each older one to the next number.
pub(crate) fn rotate(path: &Path) -> io::Result<()> {
    make_room(path)?;
    replace_last(path)
}

const PART: &str = "part";

fn copy_to(part: &Path, file: &mut File, most: u64, lost: u64) -> io::Result<Copy> {
    /// The number of bytes: a writer that adds more during a copy is too fast to catch up with.
    const LITTLE: u64 = 256 * 1024;
    let mut copy = File::options().read(true).write(true).create(true).truncate(true).open(part)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(most);
    let missing = from + lost;
    let line = match missing {
        0 => String::new(),
        _ => format!("({} of output are missing here)\n", in_megabytes(missing)),
    };
    copy.write_all(line.as_bytes())?;
    let note = u64::try_from(line.len()).unwrap_or(0);
    file.seek(SeekFrom::Start(from))?;
    let mut to = from + io::copy(&mut file.take(length - from), &mut copy)?;
    for _ in 0..CHASES {
        let came = file.metadata()?.len().saturating_sub(to);
        if came == 0 || came > LITTLE {
            break;
        }
        to += io::copy(&mut file.take(came), &mut copy)?;
    }
    Ok(Copy { file: copy, from, to, note })
}

/// Formats a number of bytes as megabytes.
#[must_use]
pub fn in_megabytes(bytes: u64) -> String {
    if bytes < 1_000_000 { format!("{bytes} bytes") } else { format!("{} MB", bytes / 1_000_000) }
}

/// Moves `<path>.1` to `<path>.2` and so on.
fn make_room(path: &Path) -> io::Result<()> {
    for number in (1..MAX_BACKUPS).rev() {
        match fs::rename(backup_path(path, number), backup_path(path, number + 1)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {},
        }
    }
    Ok(())
}

pub(crate) fn backup_path(path: &Path, number: u32) -> PathBuf {
    with_suffix(path, &number.to_string())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    name.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn output_of_the_last_instances_is_kept_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/ripples.log");
        for run in 0..6 {
            writeln!(open_for_new_run(&path).unwrap(), "run {run}").unwrap();
        }
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&path), "run 5\n");
        assert_eq!(read(&backup_path(&path, 1)), "run 4\n");
        assert_eq!(read(&backup_path(&path, 3)), "run 2\n");
        assert!(!backup_path(&path, 4).exists());
    }

    #[test]
    fn writer_continues_at_the_start_of_an_emptied_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pulse.log");
        let mut writer = open_for_new_run(&path).unwrap();
        writer.write_all(b"before\n").unwrap();
        let mut file = File::options().read(true).write(true).open(&path).unwrap();
        let copy = copy_end(&path, &mut file, LIMIT, 0).unwrap();
        assert_eq!((copy.from, copy.to, copy.note), (0, 7, 0));
        file.set_len(0).unwrap();
        rotate(&path).unwrap();
        writer.write_all(b"after\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
        assert_eq!(fs::read_to_string(backup_path(&path, 1)).unwrap(), "before\n");
    }

    #[test]
    fn failed_copy_leaves_all_output_files_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pulse.log");
        fs::write(backup_path(&path, 1), "older\n").unwrap();
        fs::write(&path, "now\n").unwrap();
        // This directory blocks the copy, as a full disk would.
        fs::create_dir(with_suffix(&path, "part")).unwrap();
        let mut file = File::options().read(true).write(true).open(&path).unwrap();
        copy_end(&path, &mut file, LIMIT, 0).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "now\n");
        assert_eq!(fs::read_to_string(backup_path(&path, 1)).unwrap(), "older\n");
    }

    #[test]
    fn copy_has_the_end_and_counts_the_missing_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pulse.log");
        fs::write(&path, "0123456789".repeat(300_000)).unwrap();
        let mut file = File::open(&path).unwrap();
        let copy = copy_end(&path, &mut file, 10, 0).unwrap();
        assert_eq!((copy.from, copy.to), (2_999_990, 3_000_000));
        rotate(&path).unwrap();
        let kept = fs::read_to_string(backup_path(&path, 1)).unwrap();
        assert_eq!(kept, "(2 MB of output are missing here)\n0123456789");
        assert_eq!(usize::try_from(copy.note).unwrap(), kept.len() - 10);
    }

    #[test]
    fn output_grown_without_a_daemon_is_cut_at_the_next_launch() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pulse.log");
        File::create(&path).unwrap().set_len(20 * LIMIT).unwrap();
        open_for_new_run(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        let kept = fs::metadata(backup_path(&path, 1)).unwrap().len();
        assert!(kept < LIMIT + 100, "{kept}");
    }

    /// Uses `/dev/full`, to which every write fails as on a full disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn file_that_accepts_no_byte_is_not_opened() {
        let error = open_for_new_run(Path::new("/dev/full")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}

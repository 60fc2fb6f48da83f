use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::io::Seek;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

/// How many earlier output files are kept beside the one that is written.
pub(crate) const KEPT: u32 = 3;

/// What a new run must be able to write. A disk that is full lets a file be opened all the same.
const ROOM: [u8; 4096] = [b'\n'; 4096];

/// Opens the output file of a new run for appending, after moving what earlier runs left to `<path>.1` and
/// so on; the oldest is removed. An empty file is not kept. Fails too where nothing can be written to it.
pub(crate) fn open_for_new_run(path: &Path) -> io::Result<File> {
    make_dir_of(path)?;
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
        move_aside(path)?;
    }
    let mut file = File::options().append(true).create(true).open(path)?;
    let has_room = file.write_all(&ROOM);
    let emptied = file.set_len(0);
    has_room.and(emptied).map(|()| file)
}

pub(crate) fn make_dir_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Moves the file at `path` to `<path>.1`, what was there to `<path>.2`, and so on.
pub(crate) fn move_aside(path: &Path) -> io::Result<()> {
    make_room(path)?;
    fs::rename(path, earlier(path, 1))
}

/// Copies what `file` at `path` holds to `<path>.1` and empties it, while its writer goes on. Only for a
/// writer that appends (`O_APPEND`): it goes on at the start. What it writes between the last byte copied
/// and the emptying, microseconds later, is lost. Returns the copy. Where there is no room for one, nothing
/// changes.
pub(crate) fn copy_and_empty(path: &Path, file: &mut File) -> io::Result<File> {
    let part = with_suffix(path, "part");
    let copy = copy_to(&part, file).inspect_err(|_| {
        fs::remove_file(&part).ok();
    })?;
    file.set_len(0)?;
    make_room(path)?;
    fs::rename(&part, earlier(path, 1))?;
    Ok(copy)
}

fn copy_to(part: &Path, file: &mut File) -> io::Result<File> {
    let mut copy = File::options().read(true).write(true).create(true).truncate(true).open(part)?;
    file.rewind()?;
    io::copy(file, &mut copy)?;
    Ok(copy)
}

/// Moves `<path>.1` to `<path>.2` and so on.
fn make_room(path: &Path) -> io::Result<()> {
    for number in (1..KEPT).rev() {
        match fs::rename(earlier(path, number), earlier(path, number + 1)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {},
        }
    }
    Ok(())
}

pub(crate) fn earlier(path: &Path, number: u32) -> PathBuf {
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
    fn the_output_of_the_last_runs_is_kept_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/ripples.log");
        for run in 0..6 {
            writeln!(open_for_new_run(&path).unwrap(), "run {run}").unwrap();
        }
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&path), "run 5\n");
        assert_eq!(read(&earlier(&path, 1)), "run 4\n");
        assert_eq!(read(&earlier(&path, 3)), "run 2\n");
        assert!(!earlier(&path, 4).exists());
    }

    #[test]
    fn a_writer_goes_on_at_the_start_of_an_emptied_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pulse.log");
        let mut writer = open_for_new_run(&path).unwrap();
        writer.write_all(b"before\n").unwrap();
        let mut file = File::options().read(true).write(true).open(&path).unwrap();
        copy_and_empty(&path, &mut file).unwrap();
        writer.write_all(b"after\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
        assert_eq!(fs::read_to_string(earlier(&path, 1)).unwrap(), "before\n");
    }

    #[test]
    fn a_copy_that_fails_leaves_the_output_and_the_earlier_ones_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pulse.log");
        fs::write(earlier(&path, 1), "older\n").unwrap();
        fs::write(&path, "now\n").unwrap();
        // In the way of the copy, as a full disk would be.
        fs::create_dir(with_suffix(&path, "part")).unwrap();
        let mut file = File::options().read(true).write(true).open(&path).unwrap();
        assert!(copy_and_empty(&path, &mut file).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "now\n");
        assert_eq!(fs::read_to_string(earlier(&path, 1)).unwrap(), "older\n");
    }

    /// Every write to it fails as on a full disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_takes_no_byte_is_not_opened() {
        let error = open_for_new_run(Path::new("/dev/full")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}

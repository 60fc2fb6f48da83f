use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::io::Seek;
use std::path::Path;
use std::path::PathBuf;

/// How many earlier output files are kept beside the one that is written.
pub(crate) const KEPT: u32 = 3;

/// Opens the output file of a new run for appending, after moving what earlier runs left to `<path>.1` and
/// so on; the oldest is removed. An empty file is not kept.
pub(crate) fn open_for_new_run(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
        make_room(path)?;
        fs::rename(path, earlier(path, 1))?;
    }
    File::options().append(true).create(true).open(path)
}

/// Copies what `file` at `path` holds to `<path>.1` and empties it, while its writer goes on. Only for a
/// writer that appends (`O_APPEND`): it goes on at the start. What it writes between the last byte copied
/// and the emptying, microseconds later, is lost. Returns the copy.
pub(crate) fn copy_and_empty(path: &Path, file: &mut File) -> io::Result<File> {
    make_room(path)?;
    let mut copy = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(earlier(path, 1))?;
    file.rewind()?;
    io::copy(file, &mut copy)?;
    file.set_len(0)?;
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

fn earlier(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

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
}

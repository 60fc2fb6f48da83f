use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hana_process::{ProcessRecord, SupervisorSnapshot};
use hana_protocol::id::NodeId;
use serde::{Deserialize, Serialize};

use crate::state::clock_anchor::Boot;
use crate::state::state_files::{FLUSH_TIMEOUT, Purpose, StateFiles};

/// The persistent record of a visualization, from which a later daemon continues.
///
/// It contains the process and the supervisor's state. Every field that is not needed to identify the process has
/// a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    /// The node id on the mesh, which is also the name of the record's file.
    pub(crate) node: NodeId,
    /// The process, until it has ended and its remaining processes have been killed.
    #[serde(default)]
    pub(crate) process: Option<ProcessRecord>,
    /// The id of a launch that is about to be made, or whose outcome is unknown.
    #[serde(default)]
    pub(crate) launching: Option<String>,
    /// The output file.
    #[serde(default)]
    pub(crate) output: Option<PathBuf>,
    /// The name in the catalogue.
    #[serde(default)]
    pub(crate) name: String,
    /// Whether the program joins the mesh, which must be known even if the catalogue no longer has the program.
    #[serde(default = "yes")]
    pub(crate) joins: bool,
    /// The time of the launch, in Unix milliseconds.
    #[serde(default)]
    pub(crate) launched_ms: u64,
    /// The number of the visualization's last instance on the mesh. The next instance must have a larger number.
    #[serde(default)]
    pub(crate) instance: u64,
    /// The boot time according to the wall clock that was used for all times in this record.
    #[serde(default)]
    pub(crate) boot: Option<Boot>,
    /// The number of the first line in the output file.
    #[serde(default)]
    pub(crate) first_line: u64,
    /// The supervisor's state: status and reason, the person's request, the spent budget. Times are in Unix
    /// milliseconds.
    #[serde(default)]
    pub(crate) snapshot: SupervisorSnapshot<u64>,
}

const fn yes() -> bool {
    true
}

/// The directory of the records, with a small file for each listed visualization.
#[derive(Debug, Clone)]
pub(crate) struct RunRecords {
    directory: PathBuf,
    files: StateFiles,
}

/// The suffixes of the files in the directory.
const RECORD: &str = "json";
const UNREADABLE: &str = "json.unreadable";
const CLOSE_NOTE: &str = "closed";

impl RunRecords {
    pub(crate) const fn new(directory: PathBuf, files: StateFiles) -> Self {
        Self { directory, files }
    }

    fn file(&self, node: &str, end: &str) -> PathBuf {
        self.directory.join(format!("{node}.{end}"))
    }

    /// Writes a record atomically, and writes it again whenever the file is deleted.
    ///
    /// This waits briefly, since a decision must be on disk before it is carried out.
    pub(crate) fn write(&self, record: &RunRecord) -> serde_json::Result<()> {
        let node = record.node.as_str();
        let purpose = Purpose {
            failure: format!("cannot record '{node}'"),
            consequence: "it runs, but a restarted daemon might not adopt it",
        };
        self.files.put(self.file(node, RECORD), serde_json::to_vec_pretty(record)?, purpose);
        self.files.flush(FLUSH_TIMEOUT);
        Ok(())
    }

    /// Removes the record of a visualization that is no longer listed.
    pub(crate) fn remove(&self, node: &NodeId) {
        self.forget_close_note(node);
        let failure = format!("cannot remove the record of '{node}'");
        self.files.remove(self.file(node.as_str(), RECORD), failure);
    }

    /// Returns the path of the note with which a program reports to a later daemon that a person closed it.
    pub(crate) fn close_note_of(&self, node: &NodeId) -> PathBuf {
        self.file(node.as_str(), CLOSE_NOTE)
    }

    /// Removes the note, which an earlier instance may have left.
    pub(crate) fn forget_close_note(&self, node: &NodeId) {
        let failure = format!("cannot remove stale state of '{node}'");
        self.files.remove(self.close_note_of(node), failure);
    }

    /// Reads all records of an earlier daemon. An unreadable record is logged and moved aside, so that it is logged
    /// only once.
    pub(crate) fn read(&self) -> Vec<RunRecord> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(problem) if problem.kind() == ErrorKind::NotFound => return vec![],
            Err(problem) => {
                tracing::warn!(
                    "{}: cannot read the records of an earlier daemon: {problem}",
                    self.directory.display()
                );
                return vec![];
            },
        };
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == RECORD))
            .collect();
        files.sort_by(|one, other| one.file_stem().cmp(&other.file_stem()));
        files.iter().filter_map(|file| self.read_one(file)).collect()
    }

    fn read_one(&self, file: &Path) -> Option<RunRecord> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let read = fs::read_to_string(file).map_err(|problem| problem.to_string());
        match read.and_then(|text| parse(&text, &name)) {
            Ok(record) => Some(record),
            Err(problem) => {
                let aside = self.file(&name, UNREADABLE);
                tracing::warn!(
                    "{}: cannot read this record ({problem}); moved to {}. If '{name}' still runs, it is unsupervised: end it by hand",
                    file.display(),
                    aside.display()
                );
                if fs::rename(file, &aside).is_err() {
                    fs::remove_file(file).ok();
                }
                None
            },
        }
    }
}

/// Parses a record. A damaged record is salvaged if its id and its process are readable.
fn parse(text: &str, name: &str) -> Result<RunRecord, String> {
    let node = NodeId::new(name).map_err(|problem| problem.to_string())?;
    match serde_json::from_str::<RunRecord>(text) {
        Ok(record) if record.node == node => Ok(record),
        Ok(record) => Err(format!("it is of '{}'", record.node)),
        Err(problem) => {
            #[derive(Deserialize)]
            struct Least {
                process: ProcessRecord,
            }
            let Least { process } = serde_json::from_str(text).map_err(|_| problem.to_string())?;
            tracing::warn!("the record of '{name}' is damaged ({problem})");
            Ok(RunRecord {
                node,
                output: process.output.clone(),
                process: Some(process),
                launching: None,
                name: String::new(),
                joins: true,
                launched_ms: 0,
                instance: 0,
                boot: None,
                first_line: 0,
                snapshot: SupervisorSnapshot::default(),
            })
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use hana_process::PidFingerprint;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn record(node: &str) -> RunRecord {
        let fingerprint = PidFingerprint { pid: 4711, started: "boot/1".into() };
        RunRecord {
            node: NodeId::new(node).unwrap(),
            process: Some(ProcessRecord { fingerprint, launch_id: "1-2-3".into(), output: None }),
            launching: None,
            output: None,
            name: "ripples".into(),
            joins: true,
            launched_ms: 5,
            instance: 6,
            boot: Some(Boot { id: "b".into(), unix_ms: 7 }),
            first_line: 7,
            snapshot: SupervisorSnapshot::default(),
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn record_is_read_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let records = RunRecords::new(dir.path().join("run"), StateFiles::start());
        assert!(records.read().is_empty());
        let (first, second) = (record("ripples"), record("ripples-2"));
        records.write(&second).unwrap();
        records.write(&first).unwrap();
        records.write(&first).unwrap();
        assert_eq!(records.read(), [first.clone(), second]);
        assert_eq!(names(&dir.path().join("run")), ["ripples-2.json", "ripples.json"]);
        fs::write(records.close_note_of(&first.node), "").unwrap();
        records.remove(&first.node);
        records.remove(&first.node);
        assert!(records.files.flush(SOON));
        assert_eq!(names(&dir.path().join("run")), ["ripples-2.json"]);
    }

    #[test]
    fn unreadable_record_is_moved_and_salvageable_one_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let records = RunRecords::new(dir.path().into(), StateFiles::start());
        let text = serde_json::to_string(&record("ripples")).unwrap();
        fs::write(dir.path().join("ripples.json"), &text[..text.len() / 2]).unwrap();
        fs::write(dir.path().join("empty.json"), "").unwrap();
        fs::write(dir.path().join("binary.json"), [0xff, 0xfe, 0]).unwrap();
        fs::write(dir.path().join("other.json"), &text).unwrap();
        fs::write(dir.path().join("No Id.json"), &text).unwrap();
        fs::create_dir(dir.path().join("directory.json")).unwrap();
        let damaged = text.replace("\"restarts\":0", "\"restarts\":\"two\"");
        fs::write(dir.path().join("damaged.json"), damaged).unwrap();
        fs::write(dir.path().join("notes.txt"), "not ours").unwrap();

        let read = records.read();
        let [saved] = read.as_slice() else { unreachable!("{read:?}") };
        assert_eq!((saved.node.as_str(), saved.name.as_str()), ("damaged", ""));
        assert_eq!(saved.process, record("ripples").process);
        records.remove(&saved.node);
        assert!(records.files.flush(SOON));
        assert!(records.read().is_empty());
        assert_eq!(
            names(dir.path()),
            [
                "No Id.json.unreadable",
                "binary.json.unreadable",
                "directory.json.unreadable",
                "empty.json.unreadable",
                "notes.txt",
                "other.json.unreadable",
                "ripples.json.unreadable",
            ]
        );
    }

    /// Checks that a damaged file neither ends the daemon nor makes it take another process for the recorded one.
    #[test]
    fn damaged_record_yields_the_same_process_or_none() {
        let whole = record("ripples");
        let text = serde_json::to_string(&whole).unwrap();
        for end in 0..text.len() {
            assert!(parse(&text[..end], "ripples").is_err(), "cut off at {end}");
        }
        let mut saved = 0;
        for at in 0..text.len() {
            for with in ["", "0", "\"", "}", "null", "[]"] {
                let damaged = format!("{}{with}{}", &text[..at], &text[at + 1..]);
                let Ok(read) = parse(&damaged, "ripples") else { continue };
                saved += 1;
                let (Some(read), Some(written)) = (read.process, &whole.process) else { continue };
                let same = read.fingerprint.started == written.fingerprint.started
                    && read.fingerprint.pid == written.fingerprint.pid;
                // A damaged number or text results in a different fingerprint, which later matches no process.
                let inside = text.find("fingerprint").unwrap()..text.find("launch_id").unwrap();
                assert!(same || inside.contains(&at), "{damaged}");
            }
        }
        assert!(saved > 0);
        let odd = text.replace("\"instance\":1", "\"instance\":\"first\"");
        assert_ne!(odd, text);
        let read = parse(&odd, "ripples").unwrap();
        assert_eq!((read.process, read.snapshot), (whole.process, SupervisorSnapshot::default()));
    }

    #[test]
    fn record_of_a_later_version_or_with_few_fields_is_read() {
        let text = r#"{"node": "a", "process": {"fingerprint": {"pid": 1, "started": "b/2"}, "launch_id": "m", "x": 1}, "y": []}"#;
        let record = parse(text, "a").unwrap();
        assert_eq!((record.snapshot.instance().number(), record.joins), (1, true));
        assert!(record.snapshot.has_process() && record.process.is_some());
    }
}

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, thread};

use zenoh::sample::SampleKind;
use zenoh::{Config, Session, Wait};

use crate::error::BenchError;
use crate::fixture::child_guard::{ChildGuard, Signal, signal};
use crate::worker::role::WorkerRole;

const TOKEN: &str = "raw/token";
/// The time limit for operations that take milliseconds.
const SOON: Duration = Duration::from_secs(10);

/// Runs the router, which corresponds to hana's daemon, until the process is killed.
///
/// # Errors
///
/// Fails if Zenoh does not open a session.
pub(crate) fn run_router(endpoint: &str) -> Result<(), BenchError> {
    let _session = open(true, endpoint)?;
    loop {
        thread::park();
    }
}

/// Runs a client with a token, which corresponds to a visualization, until the process is killed.
///
/// # Errors
///
/// Fails if Zenoh does not open a session or declare the token.
pub(crate) fn run_holder(endpoint: &str) -> Result<(), BenchError> {
    let session = open(false, endpoint)?;
    let token = session.liveliness().declare_token(TOKEN).wait();
    let _token = token.map_err(BenchError::baseline("declaring a token"))?;
    loop {
        thread::park();
    }
}

/// A liveliness token in plain Zenoh and its observer.
///
/// The observer is a client behind a router, as hana's nodes are behind a daemon.
pub(crate) struct BaselineToken {
    endpoint: String,
    session: Session,
    _router: ChildGuard,
}

impl BaselineToken {
    pub(crate) fn start() -> Result<Self, BenchError> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(BenchError::system("finding a free port"))?
            .port();
        let endpoint = format!("tcp/127.0.0.1:{port}");
        let router = spawn(WorkerRole::BaselineRouter, &endpoint)?;
        let deadline = Instant::now() + SOON;
        // The router takes a moment until it listens.
        let session = loop {
            match open(false, &endpoint) {
                Ok(session) => break session,
                Err(problem) if Instant::now() > deadline => return Err(problem),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        Ok(Self { endpoint, session, _router: router })
    }

    /// Measures the time from killing a token's process until the observer sees the token disappear.
    pub(crate) fn crash_noticed(&self) -> Result<Duration, BenchError> {
        let (notice_tx, notice_rx) = mpsc::channel();
        let watch = self
            .session
            .liveliness()
            .declare_subscriber(TOKEN)
            .callback(move |sample| {
                notice_tx.send((sample.kind(), Instant::now())).ok();
            })
            .wait()
            .map_err(BenchError::baseline("watching a token"))?;
        let wait_for = |wanted: SampleKind| {
            let deadline = Instant::now() + SOON;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                match notice_rx.recv_timeout(left) {
                    Ok((kind, at)) if kind == wanted => return Ok(at),
                    Ok(_) => {},
                    Err(_) => {
                        return Err(BenchError::NotWithin {
                            awaited: format!("{wanted:?} of a raw token"),
                            seen: "nothing".into(),
                            waited: SOON,
                        });
                    },
                }
            }
        };
        let holder = spawn(WorkerRole::BaselineToken, &self.endpoint)?;
        wait_for(SampleKind::Put)?;
        let killed = Instant::now();
        signal(holder.pid(), Signal::Kill)?;
        let gone = wait_for(SampleKind::Delete)?;
        watch
            .undeclare()
            .wait()
            .map_err(BenchError::baseline("undeclaring the token subscriber"))?;
        Ok(gone.saturating_duration_since(killed))
    }
}

/// Starts this program as a separate process, in a role of the reference.
fn spawn(role: WorkerRole, endpoint: &str) -> Result<ChildGuard, BenchError> {
    let this =
        env::current_exe().map_err(BenchError::system("finding the path of this program"))?;
    let mut command = Command::new(this);
    command.args(["worker", &role.name(), endpoint]);
    ChildGuard::spawn(command, false)
}

fn open(is_router: bool, endpoint: &str) -> Result<Session, BenchError> {
    let mut config = Config::default();
    let (mode, ends) = if is_router {
        ("\"router\"", "listen/endpoints")
    } else {
        ("\"client\"", "connect/endpoints")
    };
    for (key, value) in [
        ("mode", mode),
        (ends, format!("[\"{endpoint}\"]").as_str()),
        ("scouting/multicast/enabled", "false"),
        ("connect/timeout_ms", "500"),
    ] {
        config.insert_json5(key, value).map_err(BenchError::baseline("configuring Zenoh"))?;
    }
    zenoh::open(config).wait().map_err(BenchError::baseline("opening a session"))
}

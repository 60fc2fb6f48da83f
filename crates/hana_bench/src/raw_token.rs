use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::str::FromStr;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, thread};

use zenoh::sample::SampleKind;
use zenoh::{Config, Session, Wait};

use crate::BenchError;
use crate::child::{OwnChild, Signal, signal};

/// The role of a reference process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawPart {
    /// The hub, in the place of hana's daemon.
    Hub,
    /// The holder of a token, in the place of a visualization.
    Holder,
}

const TOKEN: &str = "raw/token";
/// The limit for operations that take milliseconds.
const SOON: Duration = Duration::from_secs(10);

impl FromStr for RawPart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "hub" => Ok(Self::Hub),
            "holder" => Ok(Self::Holder),
            other => Err(format!("'{other}' is neither hub nor holder")),
        }
    }
}

impl RawPart {
    const fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Holder => "holder",
        }
    }

    /// Runs this role until the process is killed; the bench starts itself again for it.
    ///
    /// # Errors
    ///
    /// If Zenoh does not open a session.
    pub fn be(self, endpoint: &str) -> Result<(), BenchError> {
        let session = open(self == Self::Hub, endpoint)?;
        let _token = match self {
            Self::Hub => None,
            Self::Holder => Some(
                session
                    .liveliness()
                    .declare_token(TOKEN)
                    .wait()
                    .map_err(BenchError::raw("declaring a token"))?,
            ),
        };
        loop {
            thread::park();
        }
    }
}

/// A liveliness token in plain Zenoh and its observer.
///
/// The observer is a client behind a router, as hana's nodes are behind a daemon.
pub(crate) struct RawToken {
    endpoint: String,
    session: Session,
    _hub: OwnChild,
}

impl RawToken {
    pub(crate) fn start() -> Result<Self, BenchError> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(BenchError::system("finding a free port"))?
            .port();
        let endpoint = format!("tcp/127.0.0.1:{port}");
        let hub = spawn(RawPart::Hub, &endpoint)?;
        let deadline = Instant::now() + SOON;
        // The hub needs a moment until it listens.
        let session = loop {
            match open(false, &endpoint) {
                Ok(session) => break session,
                Err(problem) if Instant::now() > deadline => return Err(problem),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        Ok(Self { endpoint, session, _hub: hub })
    }

    /// Measures the time from the kill of a token's process until the observer sees the token disappear.
    pub(crate) fn crash_noticed(&self) -> Result<Duration, BenchError> {
        let (say, notices) = mpsc::channel();
        let watch = self
            .session
            .liveliness()
            .declare_subscriber(TOKEN)
            .callback(move |sample| {
                say.send((sample.kind(), Instant::now())).ok();
            })
            .wait()
            .map_err(BenchError::raw("watching a token"))?;
        let wait_for = |wanted: SampleKind| {
            let deadline = Instant::now() + SOON;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                match notices.recv_timeout(left) {
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
        let holder = spawn(RawPart::Holder, &self.endpoint)?;
        wait_for(SampleKind::Put)?;
        let killed = Instant::now();
        signal(holder.pid(), Signal::Kill)?;
        let gone = wait_for(SampleKind::Delete)?;
        watch.undeclare().wait().map_err(BenchError::raw("watching a token no longer"))?;
        Ok(gone.saturating_duration_since(killed))
    }
}

/// Starts this program again, in a role of the reference.
fn spawn(part: RawPart, endpoint: &str) -> Result<OwnChild, BenchError> {
    let this =
        env::current_exe().map_err(BenchError::system("finding this program's own place"))?;
    let mut command = Command::new(this);
    command.args(["bench", "raw", part.name(), endpoint]);
    OwnChild::spawn(command, false)
}

fn open(is_hub: bool, endpoint: &str) -> Result<Session, BenchError> {
    let mut config = Config::default();
    let (mode, ends) = if is_hub {
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
        config.insert_json5(key, value).map_err(BenchError::raw("configuring Zenoh"))?;
    }
    zenoh::open(config).wait().map_err(BenchError::raw("opening a session"))
}

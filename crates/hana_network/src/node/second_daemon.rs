use std::time::Duration;

use hana_protocol::contract::Key;
use zenoh::Wait;

use crate::config::node_config::NodeConfig;
use crate::node::join_error::JoinError;
use crate::presence::id_conflict::IdHolder;
use crate::presence::id_holder::{ID_CHECK_TIMEOUT, id_holder};
use crate::session::first_reply::first_reply;
use crate::session::session_kind::{SessionError, SessionKind};
use crate::session::zenoh_probe::ProbeResult;

/// The timeout of the check for a daemon on this machine.
const PROBE_TIMEOUT: Duration = Duration::from_millis(350);

/// Converts a session error. If the port is in use by a daemon of this show, the new error names the daemon.
pub(super) fn second_daemon(problem: SessionError, config: &NodeConfig) -> JoinError {
    match problem {
        SessionError::PortInUse { .. } => running_daemon(config).unwrap_or_else(|| problem.into()),
        problem => problem.into(),
    }
}

fn running_daemon(config: &NodeConfig) -> Option<JoinError> {
    let probe = ProbeResult::probe(config.daemon, PROBE_TIMEOUT);
    if !matches!(probe, ProbeResult::Accepting(_) | ProbeResult::AuthRequired) {
        return None;
    }
    let session = SessionKind::Client.open(config).ok()?;
    let zid = session.info().peers_zid().wait().next()?;
    let token = first_reply(|token_tx| {
        session
            .liveliness()
            .get(format!("{}/*/alive/*/{zid}", Key::ROOT))
            .timeout(ID_CHECK_TIMEOUT)
            .callback(move |reply| {
                if let Ok(sample) = reply.result() {
                    token_tx.try_send(sample.key_expr().to_string()).ok();
                }
            })
            .wait()
    })?;
    let node = Key::parse(&token)?.owner().clone();
    let IdHolder { pid, .. } = id_holder(&session, &node)?;
    session.close().ok();
    Some(JoinError::SecondDaemon { node, pid })
}

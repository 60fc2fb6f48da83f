use std::sync::Arc;
use std::time::Instant;

use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use zenoh::Wait;
use zenoh::sample::{Sample, SampleKind};

use crate::context::node_context::NodeContext;
use crate::playback::parameter_store::ParameterStore;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};

/// Watches the liveliness tokens of controllers that have started to play this visualization.
pub(crate) fn watch_new_controllers(
    context: &NodeContext,
    parameters: &Arc<ParameterStore>,
    now: Instant,
) {
    let controllers = parameters.with_arbiter(|arbiter| arbiter.take_unwatched(now));
    if !controllers.is_empty() {
        let worker = &context.session_worker;
        context.keep(controllers.iter().map(|controller| watch(worker, parameters, controller)));
    }
}

/// Watches the liveliness token of a controller, to detect when the controller appears or disappears.
fn watch(
    worker: &SessionWorker,
    parameters: &Arc<ParameterStore>,
    controller: &NodeId,
) -> RegistrationGuard {
    let pattern = format!("{}/{controller}/alive/**", Key::ROOT);
    let parameters = Arc::clone(parameters);
    worker.declare(pattern.clone(), move |session| {
        let own = session.zid().to_string();
        parameters.with_arbiter(|arbiter| arbiter.reset_tokens(&own, Instant::now()));
        let parameters = Arc::clone(&parameters);
        let callback = move |sample: Sample| {
            let token = sample.key_expr().as_str();
            let Some(Key::Alive { node, role, zid }) = Key::parse(token) else { return };
            if !matches!(role, Role::App | Role::Bridge) {
                return;
            }
            parameters.with_arbiter(|arbiter| match sample.kind() {
                SampleKind::Put => arbiter.token_added(&node, &zid, Instant::now()),
                SampleKind::Delete => arbiter.token_removed(&node, &zid, Instant::now()),
            });
        };
        let tokens = session.liveliness().declare_subscriber(&pattern).history(true);
        Ok(Box::new(tokens.callback(callback).wait()?))
    })
}

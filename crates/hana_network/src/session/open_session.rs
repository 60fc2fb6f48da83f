use std::ops::Deref;
use std::thread;

use zenoh::Wait;
use zenoh::config::{Config, Locator};
use zenoh::internal::runtime::{Runtime, RuntimeBuilder, ZRuntime};

use crate::session::discovery::scout_message::SessionId;

/// An open session, which is closed when it is dropped.
pub(crate) struct OpenSession {
    session: zenoh::Session,
    /// The listener, if other nodes may connect to the session.
    listener: Option<Listener>,
}

/// The runtime of a listening session. It connects the session to the nodes that discovery finds.
#[derive(Clone)]
pub(crate) struct Listener {
    runtime: Runtime,
    port: u16,
}

impl OpenSession {
    pub(super) fn quiet(settings: Config) -> zenoh::Result<Self> {
        Ok(Self { session: zenoh::open(settings).wait()?, listener: None })
    }

    /// Opens a session like [`zenoh::open`], but keeps the runtime, which can later connect the session to other
    /// nodes.
    pub(super) fn listening(settings: Config) -> zenoh::Result<Self> {
        ZRuntime::Application.block_in_place(async {
            let mut runtime = RuntimeBuilder::new(settings).build().await?;
            let session = zenoh::session::init(runtime.clone().into()).await?;
            let mut open = Self { session, listener: None };
            let started = runtime.start().await;
            let port = runtime.get_locators().iter().find_map(port_of);
            open.listener = Some(Listener { runtime, port: port.unwrap_or_default() });
            started.map(|()| open)
        })
    }

    pub(crate) const fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    /// Closes the session cleanly. Blocks.
    pub(crate) fn close(mut self) -> zenoh::Result<()> {
        Self::close_both(&self.session, self.listener.take())
    }

    fn close_both(session: &zenoh::Session, listener: Option<Listener>) -> zenoh::Result<()> {
        let closed = session.close().wait();
        listener.map_or(closed, |listener| listener.runtime.close().wait())
    }
}

impl Deref for OpenSession {
    type Target = zenoh::Session;

    fn deref(&self) -> &Self::Target {
        &self.session
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        // A listening session must be closed explicitly, because its tasks keep it alive.
        let Some(listener) = self.listener.take() else { return };
        let session = self.session.clone();
        let spawned = thread::Builder::new().name("hana close".into()).spawn(move || {
            Self::close_both(&session, Some(listener)).ok();
        });
        if let Err(problem) = spawned {
            tracing::warn!("a session stays open: cannot start a thread: {problem}");
        }
    }
}

impl Listener {
    /// Returns the id of the session.
    pub(crate) fn id(&self) -> SessionId {
        self.runtime.zid().into()
    }

    /// Returns the port at which the session listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

fn port_of(locator: &Locator) -> Option<u16> {
    locator.to_string().rsplit_once(':')?.1.parse().ok()
}

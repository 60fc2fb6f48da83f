use zenoh::Session;

use crate::baseline::session::BaselineSession;
use crate::error::BenchError;
use crate::fixture::test_host::free_port;
use crate::worker::bench_worker::BenchWorker;
use crate::worker::role::WorkerRole;

/// Plain Zenoh gateways that are connected to each other, as hana's daemons are, and a client of the first one.
pub(crate) struct BaselineGateways {
    session: Session,
    endpoints: Vec<String>,
    _gateways: Vec<BenchWorker>,
}

impl BaselineGateways {
    /// Starts `count` gateways.
    pub(crate) fn start(count: usize) -> Result<Self, BenchError> {
        let (mut endpoints, mut gateways) = (Vec::<String>::new(), vec![]);
        for _ in 0..count {
            let endpoint = format!("tcp/127.0.0.1:{}", free_port()?);
            let mut arguments = vec![endpoint.as_str()];
            arguments.extend(endpoints.iter().map(String::as_str));
            gateways.push(BenchWorker::start(WorkerRole::BaselineGateway, &arguments, |_| ())?);
            endpoints.push(endpoint);
        }
        let first = endpoints.first().map(String::as_str).unwrap_or_default();
        Ok(Self { session: BaselineSession::Client(first).open()?, endpoints, _gateways: gateways })
    }

    /// Returns the client's session.
    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the endpoint of a gateway.
    pub(crate) fn endpoint(&self, place: usize) -> &str {
        self.endpoints.get(place).map(String::as_str).unwrap_or_default()
    }
}

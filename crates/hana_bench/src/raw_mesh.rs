use zenoh::Session;

use crate::assistant::BenchWorker;
use crate::own_host::free_port;
use crate::raw::RawEnd;
use crate::{BenchError, WorkerRole};

/// Gateways of plain Zenoh that know each other, as our daemons do, and a client of the first.
pub(crate) struct RawMesh {
    session: Session,
    endpoints: Vec<String>,
    _gateways: Vec<BenchWorker>,
}

impl RawMesh {
    /// So many gateways.
    pub(crate) fn start(count: usize) -> Result<Self, BenchError> {
        let (mut endpoints, mut gateways) = (Vec::<String>::new(), vec![]);
        for _ in 0..count {
            let endpoint = format!("tcp/127.0.0.1:{}", free_port()?);
            let mut arguments = vec![endpoint.as_str()];
            arguments.extend(endpoints.iter().map(String::as_str));
            gateways.push(BenchWorker::start(WorkerRole::RawGateway, &arguments, |_| ())?);
            endpoints.push(endpoint);
        }
        let first = endpoints.first().map(String::as_str).unwrap_or_default();
        Ok(Self { session: RawEnd::Client(first).open()?, endpoints, _gateways: gateways })
    }

    /// The client.
    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    /// Where a gateway listens.
    pub(crate) fn endpoint(&self, place: usize) -> &str {
        self.endpoints.get(place).map(String::as_str).unwrap_or_default()
    }
}

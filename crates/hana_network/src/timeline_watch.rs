use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use hana_protocol::Course;
use hana_protocol::HostTimeline;
use hana_protocol::Key;
use hana_protocol::Message;
use hana_protocol::NodeId;
use hana_protocol::Timeline;
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::sample::Sample;

use crate::gate::Gate;
use crate::local_clock::local_us;
use crate::question;
use crate::reception::Reception;
use crate::reception::admitted;
use crate::worker::Declaration;
use crate::worker::Worker;

/// Tempo and beat as they are on this machine, on [`local_us`]. Clones share it; reading it is cheap enough for every frame,
/// and waits for nobody.
///
/// It is what the daemon of this machine says. When that is silent, beats go on as it last said.
#[derive(Clone)]
pub struct TimelineWatch {
    heard: Arc<Heard>,
    _declaration: Arc<Declaration>,
}

#[derive(Default)]
struct Heard {
    course: RwLock<Option<Course>>,
    said: Mutex<Option<HostTimeline>>,
}

/// How long the daemon may take to say what it is.
const ASK: Duration = Duration::from_secs(2);

impl TimelineWatch {
    pub(crate) fn start(worker: &Worker, reception: &Reception, host: &NodeId) -> Self {
        let heard = Arc::new(Heard::default());
        let declaration = follow(worker, reception, &heard, host);
        Self { heard, _declaration: Arc::new(declaration) }
    }

    /// The timeline that holds now, on [`local_us`]; `None` while nobody has said one. It holds until something changes, so
    /// a loop takes it anew in each round. Does not block, nor allocate.
    #[must_use]
    pub fn now(&self) -> Option<Timeline> {
        self.at(local_us())
    }

    /// The timeline that holds at a time of [`local_us`], as far as that is known. Does not block, nor allocate.
    #[must_use]
    pub fn at(&self, at_us: i64) -> Option<Timeline> {
        let course = *self.heard.course.read().unwrap_or_else(PoisonError::into_inner);
        course.map(|course| course.at(at_us))
    }

    /// What was said last: where it comes from, with whom it is shared, how exact it is. Does not block.
    #[must_use]
    pub fn said(&self) -> Option<HostTimeline> {
        self.heard.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Heard {
    fn hear(&self, said: HostTimeline) {
        {
            let mut course = self.course.write().unwrap_or_else(PoisonError::into_inner);
            *course = said.continues(*course).or(*course);
        }
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }
}

/// Hears what the daemon of `host` says, and asks it what it said before.
fn follow(
    worker: &Worker,
    reception: &Reception,
    heard: &Arc<Heard>,
    host: &NodeId,
) -> Declaration {
    let key = Key::Timeline(host.clone()).to_string();
    let gate = Arc::new(Gate::of::<HostTimeline>());
    let (heard, reception) = (Arc::clone(heard), reception.clone());
    worker.declare(key.clone(), move |session| {
        let (heard, reception, gate) = (Arc::clone(&heard), reception.clone(), Arc::clone(&gate));
        let hear = move |sample: &Sample| {
            let raw = admitted(sample, HostTimeline::MAX_BYTES, &gate, &reception);
            let Some(said) = raw.and_then(|raw| reception.decode::<HostTimeline>(&raw)) else {
                return;
            };
            reception.counters.received(HostTimeline::LANE);
            heard.hear(said);
        };
        let of_question = hear.clone();
        let subscriber =
            session.declare_subscriber(&key).callback(move |sample| hear(&sample)).wait()?;
        let answer = move |reply: zenoh::query::Reply| {
            if let Ok(sample) = reply.result() {
                of_question(sample);
            }
        };
        question::ask(session, &key, ZBytes::new(), None, HostTimeline::LANE, ASK, answer)?;
        Ok(Box::new(subscriber))
    })
}

//! What travels on the mesh, and what it means: node ids, roles, keys, messages, the envelope, the codec,
//! parameters, and the judgement of a node's health.
//!
//! Nothing here does I/O, names Zenoh, reads a clock or spawns a thread. What needs time takes `now`.
//!
//! | to find | look in |
//! |---|---|
//! | who may send what to whom | [`route`] |
//! | every key of the mesh | [`Key`], [`KeyKind`] |
//! | what a payload looks like | one file per message: [`Health`], [`NodeInfo`], [`Control`], ... |
//! | how bytes become a message, and what is said when they do not | [`codec`] |
//! | whether a node is running, slow or unresponsive | [`HealthWatch`] |
//! | what each delivery promise asks of its receiver | [`Lane`], [`LaneReceiver`], [`TopicReceiver`] |
//! | how messages to one node are sent until they are answered | [`Dispatch`] |
//! | how values are gathered into frames | [`FrameRecorder`], [`ModulationBatch`] |
//! | how modulation is played in spite of the network's jitter | [`Player`], [`Playout`], [`ClockMap`] |
//! | tempo, beats and bars | [`Timeline`], [`Course`], [`HostTimeline`] |
//! | what the daemon and `hana-link` say to each other | [`LinkReport`], [`LinkOrder`] |
//! | what moves by the beat, and what waits for one | [`Modulator`], [`When`], [`ChangeSchedule`], [`BeatWatch`] |
//! | whose timeline a host goes by, and how | [`Ensemble`], [`Approach`], [`DistantClock`] |
//! | what a person can do about it | [`Remedy`] |
//! | who plays what, and who wants to | [`Hands`], [`Wishes`] |
//! | everything known of everyone | [`Roster`] |
//! | what a message type of somebody else's looks like | [`CustomMessageInfo`], [`MessageSchema`] |

pub mod contract;
pub mod id;
pub mod message;
pub mod parameter;
pub mod schema;
pub mod wire;

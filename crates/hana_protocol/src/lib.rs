//! The contract of the mesh: ids and roles, keys, routes, messages, parameters, and the wire format.
//!
//! Nothing here does I/O, names Zenoh, reads a clock or spawns a thread. A function that needs the time takes `now`.
//! The state machines that act on these messages are in `hana_engine`, the arithmetic of time in `hana_time`.
//!
//! | module | contents |
//! |---|---|
//! | [`contract`] | the keys ([`contract::Key`]), topics, recipients, and message routes ([`contract::routes`]) |
//! | [`id`] | node ids, roles, topic names, and the stamps that order writes |
//! | [`message`] | the payloads, one file per message: health, node info, control commands, ... |
//! | [`parameter`] | the parameters of a visualization, their values as text, and the modulators that move them |
//! | [`schema`] | the announced schemas of custom messages: validation, comparison, examples |
//! | [`wire`] | the codec, the envelope, the lanes, and the traits of a message |

pub mod contract;
pub mod id;
pub mod message;
pub mod parameter;
pub mod schema;
pub mod wire;

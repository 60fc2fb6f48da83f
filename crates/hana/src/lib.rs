//! Live visuals on many machines, played over the network: hana for Bevy programs.
//!
//! A visualization depends on `bevy` and `hana` alone. The fields of a resource become its parameters, which
//! controllers play; its frames are counted, so that operators see that it runs; it exits on request.
//!
//! ```no_run
//! use bevy::prelude::*;
//! use hana::prelude::*;
//!
//! #[derive(Resource, Reflect, Default)]
//! struct Sky {
//!     brightness: f32,
//! }
//!
//! fn draw(sky: Res<Sky>, mut background: ResMut<ClearColor>) {
//!     background.0 = Color::hsv(210.0, 0.8, sky.brightness / 2.0 + 0.5);
//! }
//!
//! App::new()
//!     .add_plugins((DefaultPlugins, VisualizationPlugin::<Sky>::new("sky")))
//!     .add_systems(Startup, |mut commands: Commands| {
//!         commands.spawn(Camera2d);
//!     })
//!     .add_systems(Update, draw)
//!     .run();
//! ```
//!
//! # Messages
//!
//! [`#[hana::message]`](macro@message) turns a type into a message that other programs receive:
//!
//! ```no_run
//! use bevy::prelude::*;
//! use hana::prelude::*;
//!
//! #[hana::message(lane = UnreliableUnordered)]
//! struct Spark {
//!     angle: f32,
//! }
//!
//! fn throw(sparks: Res<TopicWriter<Spark>>) -> Result {
//!     Ok(sparks.publish(&Spark { angle: 0.5 })?)
//! }
//!
//! fn catch(mut sparks: MessageReader<FromMesh<Spark>>) {
//!     for spark in sparks.read() {
//!         info!("{:?} threw a spark to {}", spark.sender(), spark.message.angle);
//!     }
//! }
//!
//! let mut app = App::new();
//! app.publish::<Spark>().subscribe::<Spark>().add_systems(Update, (throw, catch));
//! ```
//!
//! # Saved state
//!
//! Parameters are restored after a crash. Other resources are saved too, once [`HanaAppExt::persist`] registers them:
//!
//! ```no_run
//! use bevy::prelude::*;
//! use hana::prelude::*;
//!
//! #[hana::data]
//! #[derive(Resource, Default)]
//! struct Beats {
//!     count: u64,
//! }
//!
//! impl Persist for Beats {
//!     const NAME: &'static str = "beats";
//! }
//!
//! App::new().init_resource::<Beats>().persist::<Beats>();
//! ```
//!
//! # Everything else
//!
//! [`prelude`] has the names that most programs use, and the root of this crate has all names of the plugin.
//! [`network`] and [`protocol`] are the underlying crates, for functions that the plugin does not offer.

pub use hana_macros::{data, message};
pub use hana_network as network;
pub use hana_plugin::*;
pub use hana_protocol as protocol;
pub use hana_protocol::custom_message;
pub use hana_protocol::id::{NodeId, TopicName};
pub use hana_protocol::parameter::ParameterName;
pub use hana_protocol::wire::Lane;
pub use {schemars, serde, serde_json};

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
//! | how values are gathered into frames | [`FrameRecorder`], [`ModulationFrame`] |
//! | how modulation is played in spite of the network's jitter | [`Player`], [`Playout`], [`ClockMap`] |
//! | tempo, beats and bars | [`Timeline`], [`Course`], [`HostTimeline`] |
//! | what the daemon and `hana-link` say to each other | [`LinkReport`], [`LinkOrder`] |
//! | what moves by the beat, and what waits for one | [`ModulationSource`], [`When`], [`ChangeSchedule`], [`BeatWatch`] |
//! | what a person can do about it | [`Remedy`] |
//! | everything known of everyone | [`Roster`] |
//! | what a message type of somebody else's looks like | [`CustomMessageInfo`], [`Shape`] |

mod audience;
mod beat_watch;
mod change_schedule;
mod clock_map;
pub mod codec;
mod control;
mod course;
mod custom_message_info;
mod dispatch;
mod envelope;
mod event;
mod frame_recorder;
mod health;
mod health_watch;
mod host_timeline;
mod in_full;
mod info;
mod key;
mod lane;
mod lane_receiver;
mod link_line;
mod log_line;
mod look;
mod loss_watch;
mod lost;
mod message;
mod modulation;
mod modulation_frame;
mod modulation_source;
mod node_id;
mod node_view;
mod one_line;
mod overview;
mod parameter;
mod parameter_kind;
pub mod parameter_words;
mod play_switch;
mod player;
mod playout;
mod process;
mod rate_limit;
mod remedy;
mod resend;
pub mod role;
mod roster;
pub mod route;
mod sequence;
mod session_status;
mod shape;
mod sighting;
mod timeline;
mod topic;
mod topic_name;
mod topic_receiver;
mod when;

pub use audience::Audience;
pub use beat_watch::BeatWatch;
pub use change_schedule::ChangeSchedule;
pub use change_schedule::ScheduleError;
pub use change_schedule::Scheduled;
pub use clock_map::ClockMap;
pub use clock_map::Reading;
pub use codec::DecodeError;
pub use codec::Encoding;
pub use codec::PayloadError;
pub use control::Accepted;
pub use control::Answer;
pub use control::Blackout;
pub use control::Command;
pub use control::Control;
pub use control::Hold;
pub use control::Ignore;
pub use control::Kill;
pub use control::Pause;
pub use control::Ping;
pub use control::Play;
pub use control::Refused;
pub use control::Restart;
pub use control::Resume;
pub use control::Set;
pub use control::SetReport;
pub use control::Shutdown;
pub use control::Start;
pub use control::Started;
pub use control::Stop;
pub use control::StopReport;
pub use control::StoppedBy;
pub use control::Tempo;
pub use course::Course;
pub use custom_message_info::CustomMessageInfo;
pub use custom_message_info::Flow;
pub use custom_message_info::Unsendable;
pub use dispatch::Dispatch;
pub use dispatch::DispatchAction;
pub use dispatch::DispatchFull;
pub use dispatch::DispatchLimits;
pub use dispatch::Failure;
pub use envelope::Envelope;
pub use envelope::EnvelopeError;
pub use event::Event;
pub use event::EventKind;
pub use frame_recorder::FrameRecorder;
pub use frame_recorder::FrameSettings;
pub use health::Counters;
pub use health::Frames;
pub use health::Health;
pub use health::LaneTraffic;
pub use health::Trouble;
pub use health::TroubleCause;
pub use health_watch::HealthLimits;
pub use health_watch::HealthWatch;
pub use health_watch::Verdict;
pub use host_timeline::Easing;
pub use host_timeline::HostTimeline;
pub use host_timeline::Jump;
pub use host_timeline::TimelineSource;
pub use in_full::in_full;
pub use info::NodeInfo;
pub use key::Key;
pub use key::KeyKind;
pub use key::TopicHistory;
pub use lane::Lane;
pub use lane_receiver::LaneAction;
pub use lane_receiver::LaneCounts;
pub use lane_receiver::LaneLimits;
pub use lane_receiver::LaneReceiver;
pub use link_line::LinkLineError;
pub use link_line::LinkOrder;
pub use link_line::LinkReport;
pub use log_line::LogLine;
pub use log_line::Stream;
pub use look::Look;
pub use look::Override;
pub use loss_watch::Knock;
pub use loss_watch::LossWatch;
pub use lost::LossCause;
pub use lost::Lost;
pub use lost::LostHost;
pub use lost::LostNode;
pub use message::CustomMessage;
pub use message::Message;
pub use modulation::Modulation;
pub use modulation_frame::ModulationFrame;
pub use modulation_frame::ModulationFrameError;
pub use modulation_source::Adsr;
pub use modulation_source::Lfo;
pub use modulation_source::ModulationSource;
pub use modulation_source::ModulationSourceError;
pub use modulation_source::Period;
pub use modulation_source::Trigger;
pub use modulation_source::Wave;
pub use node_id::NodeId;
pub use node_id::NodeIdError;
pub use node_view::NodeView;
pub use one_line::one_line;
pub use overview::Mended;
pub use overview::Overview;
pub use overview::OverviewRow;
pub use overview::neighbour;
pub use parameter::Parameter;
pub use parameter::ParameterError;
pub use parameter::ParameterName;
pub use parameter::ParameterNameError;
pub use parameter::Parameters;
pub use parameter_kind::ColourPart;
pub use parameter_kind::ParameterKind;
pub use play_switch::PlayAction;
pub use play_switch::PlayEvent;
pub use play_switch::PlaySwitch;
pub use player::Player;
pub use player::Taken;
pub use playout::Curve;
pub use playout::Playout;
pub use playout::PlayoutSettings;
pub use process::Exit;
pub use process::ProcessState;
pub use process::ProcessStatus;
pub use rate_limit::Admission;
pub use rate_limit::RateLimit;
pub use rate_limit::SenderLimits;
pub use remedy::Remedy;
pub use resend::Resend;
pub use resend::Resent;
pub use resend::Sent;
pub use roster::Roster;
pub use roster::RosterChange;
pub use roster::RosterNews;
pub use sequence::Arrival;
pub use sequence::SequenceFilter;
pub use session_status::PlayWay;
pub use session_status::SessionStatus;
pub use shape::Difference;
pub use shape::FieldOutline;
pub use shape::Frequency;
pub use shape::Misfit;
pub use shape::Shape;
pub use sighting::Sighting;
pub use timeline::Timeline;
pub use timeline::TimelineError;
pub use topic::Topic;
pub use topic::Topics;
pub use topic_name::TopicName;
pub use topic_name::TopicNameError;
pub use topic_receiver::Source;
pub use topic_receiver::TopicAction;
pub use topic_receiver::TopicReceiver;
pub use when::When;
pub use when::WhenError;

//! A visualization without Bevy: a builder, handles of parameters, and the functions that a frame loop calls.

mod parameter_handle;
mod plain_visualization;
mod value_cursor;
mod visualization_builder;
mod visualization_error;

pub use parameter_handle::ParameterHandle;
pub use plain_visualization::PlainVisualization;
pub use value_cursor::ValueCursor;
pub use visualization_builder::VisualizationBuilder;
pub use visualization_error::VisualizationError;

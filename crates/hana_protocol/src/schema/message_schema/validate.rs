use std::cell::Cell;

use serde_json::Value;
use thiserror::Error;

use crate::schema::message_schema::{MessageSchema, Others, SchemaNode, SchemaNodeId};

/// A mismatch between a value and the schema.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}expected {expected}, found {found}", if field.is_empty() { String::new() } else { format!("field '{field}': ") })]
pub struct ValidationError {
    /// The field's path, such as `spot.x`; empty for the message itself.
    pub field: String,
    /// A description of the expected value.
    pub expected: String,
    /// A description of the actual value.
    pub found: String,
}

/// Maximum number of validation steps. If they do not suffice, the value counts as valid, and its receiver decides.
const STEPS: usize = 100_000;
/// Maximum depth to which nested nodes are validated.
const DEPTH: usize = 200;

impl MessageSchema {
    /// Validates `value` against the schema.
    ///
    /// # Errors
    ///
    /// The first mismatch, with the expected and the actual value.
    pub fn check(&self, value: &Value) -> Result<(), ValidationError> {
        self.check_form(self.root, value)
    }

    pub(super) fn check_form(
        &self,
        id: SchemaNodeId,
        value: &Value,
    ) -> Result<(), ValidationError> {
        let steps = Cell::new(STEPS);
        Check { shape: self, steps: &steps }.value(id, value, &mut String::new(), DEPTH)
    }
}

struct Check<'a> {
    shape: &'a MessageSchema,
    /// The remaining steps.
    steps: &'a Cell<usize>,
}

impl Check<'_> {
    fn value(
        &self,
        id: SchemaNodeId,
        value: &Value,
        path: &mut String,
        depth: usize,
    ) -> Result<(), ValidationError> {
        let Some(left) = self.steps.get().checked_sub(1).filter(|_| depth > 0) else {
            return Ok(());
        };
        self.steps.set(left);
        let misfit = |path: &str| ValidationError {
            field: path.into(),
            expected: self.shape.described(id),
            found: found(value),
        };
        let fits = match (self.shape.form(id), value) {
            (SchemaNode::Any | SchemaNode::All(_), _)
            | (SchemaNode::Null, Value::Null)
            | (SchemaNode::Truth, Value::Bool(_))
            | (SchemaNode::Text, Value::String(_)) => true,
            (SchemaNode::Number { min, max }, Value::Number(number)) => {
                number.as_f64().is_none_or(|number| (*min..=*max).contains(&number))
            },
            (SchemaNode::Whole { min, max }, Value::Number(number)) => {
                let whole = number.as_i64().map(i128::from);
                whole
                    .or_else(|| number.as_u64().map(i128::from))
                    .is_some_and(|number| (*min..=*max).contains(&number))
            },
            (SchemaNode::Constants(constants), value) => constants.contains(value),
            (SchemaNode::List { first, rest, min, max }, Value::Array(items)) => {
                let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
                if !(*min..=*max).contains(&count) {
                    return Err(misfit(path));
                }
                for (place, item) in items.iter().enumerate() {
                    let Some(form) = first.get(place).or(rest.as_ref()) else {
                        return Err(misfit(path));
                    };
                    within(path, &format!("[{place}]"), |path| {
                        self.value(*form, item, path, depth - 1)
                    })?;
                }
                true
            },
            (SchemaNode::Map { .. }, Value::Object(_)) => return self.map(id, value, path, depth),
            (SchemaNode::OneOf(alternatives), _) => {
                return self.one_of(id, alternatives, value, path, depth);
            },
            _ => false,
        };
        if fits { Ok(()) } else { Err(misfit(path)) }
    }

    fn map(
        &self,
        id: SchemaNodeId,
        value: &Value,
        path: &mut String,
        depth: usize,
    ) -> Result<(), ValidationError> {
        let (SchemaNode::Map { fields, others }, Value::Object(found)) =
            (self.shape.form(id), value)
        else {
            return Ok(());
        };
        for (name, field) in fields {
            match found.get(name) {
                Some(value) => within(path, &dotted(path, name), |path| {
                    self.value(field.form, value, path, depth - 1)
                })?,
                None if field.required => {
                    let step = dotted(path, name);
                    return within(path, &step, |path| {
                        Err(ValidationError {
                            field: path.clone(),
                            expected: self.shape.described(field.form),
                            found: "nothing".into(),
                        })
                    });
                },
                None => {},
            }
        }
        for (name, value) in found.iter().filter(|(name, _)| !fields.contains_key(*name)) {
            match others {
                Others::Ignored => break,
                Others::Refused => {
                    return Err(ValidationError {
                        field: path.clone(),
                        expected: self.shape.described(id),
                        found: format!("the field '{name}'"),
                    });
                },
                Others::Of(form) => within(path, &dotted(path, name), |path| {
                    self.value(*form, value, path, depth - 1)
                })?,
            }
        }
        Ok(())
    }

    /// Validates a value against alternatives. The error is that of the most likely alternative, or lists all of
    /// them.
    fn one_of(
        &self,
        id: SchemaNodeId,
        alternatives: &[SchemaNodeId],
        value: &Value,
        path: &mut String,
        depth: usize,
    ) -> Result<(), ValidationError> {
        let mut meant = vec![];
        let mut alike = vec![];
        for alternative in alternatives {
            let Err(misfit) = self.value(*alternative, value, path, depth - 1) else {
                return Ok(());
            };
            if self.is_alike(*alternative, value) {
                if self.has_its_mark(*alternative, value) {
                    meant.push(misfit.clone());
                }
                alike.push(misfit);
            }
        }
        for mut likely in [meant, alike] {
            if likely.len() == 1
                && let Some(misfit) = likely.pop()
            {
                return Err(misfit);
            }
        }
        Err(ValidationError {
            field: path.clone(),
            expected: self.shape.described(id),
            found: found(value),
        })
    }

    fn is_alike(&self, id: SchemaNodeId, value: &Value) -> bool {
        matches!(
            (self.shape.form(id), value),
            (SchemaNode::Map { .. }, Value::Object(_))
                | (SchemaNode::List { .. }, Value::Array(_))
                | (SchemaNode::Number { .. } | SchemaNode::Whole { .. }, Value::Number(_))
        )
    }

    /// Whether a map has the field that identifies this alternative: one with a single valid value, or else its only
    /// required field.
    fn has_its_mark(&self, id: SchemaNodeId, value: &Value) -> bool {
        let (SchemaNode::Map { fields, .. }, Value::Object(found)) = (self.shape.form(id), value)
        else {
            return false;
        };
        let tag = fields.iter().find_map(|(name, field)| match self.shape.form(field.form) {
            SchemaNode::Constants(constants) if constants.len() == 1 => {
                Some((name, constants.first()))
            },
            _ => None,
        });
        if let Some((name, constant)) = tag {
            return found.get(name) == constant;
        }
        let mut required = fields.iter().filter(|(_, field)| field.required);
        match (required.next(), required.next()) {
            (Some((only, _)), None) => found.contains_key(only),
            _ => false,
        }
    }
}

fn dotted(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!(".{name}") }
}

/// Calls `act` with `step` appended to the path.
fn within<T>(path: &mut String, step: &str, act: impl FnOnce(&mut String) -> T) -> T {
    let length = path.len();
    path.push_str(step);
    let outcome = act(path);
    path.truncate(length);
    outcome
}

/// Describes a value in words, truncated.
fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() > 40 => {
            format!("the text \"{}...\"", text.chars().take(40).collect::<String>())
        },
        Value::String(text) => format!("the text \"{text}\""),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "a map".into(),
    }
}

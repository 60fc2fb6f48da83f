use serde_json::{Map, Value};

use crate::schema::message_schema::{MessageSchema, Others, SchemaNode, SchemaNodeId};

/// Maximum number of nodes in an example, which is for people to read.
const STEPS: usize = 500;
/// Depth below which only required fields are included.
const DEPTH: usize = 4;
/// Depth at which the example ends in any case, even if it is invalid as a result.
const BOTTOM: usize = 24;

impl MessageSchema {
    /// Returns an example value as a starting point: zeros, the first of several alternatives, every field.
    #[must_use]
    pub fn example(&self) -> Value {
        self.example_of(self.root, 0, &mut 0)
    }

    fn example_of(&self, id: SchemaNodeId, depth: usize, steps: &mut usize) -> Value {
        *steps += 1;
        if depth > BOTTOM || *steps > STEPS {
            return Value::Null;
        }
        match self.form(id) {
            SchemaNode::Any | SchemaNode::All(_) | SchemaNode::Nothing | SchemaNode::Null => {
                Value::Null
            },
            SchemaNode::Truth => false.into(),
            SchemaNode::Text => "text".into(),
            SchemaNode::Number { min, max } => 0.0_f64.max(*min).min(*max).into(),
            SchemaNode::Whole { min, max } => {
                let whole = 0.max(*min).min(*max);
                i64::try_from(whole)
                    .map(Value::from)
                    .or_else(|_| u64::try_from(whole).map(Value::from))
                    .unwrap_or_default()
            },
            SchemaNode::Constants(constants) => constants.first().cloned().unwrap_or_default(),
            SchemaNode::List { first, rest, min, max } => {
                let mut items: Vec<Value> =
                    first.iter().map(|item| self.example_of(*item, depth + 1, steps)).collect();
                let least = usize::try_from(*min).unwrap_or(usize::MAX).min(STEPS);
                let shown = if depth < DEPTH && *max > 0 { least.max(1) } else { least };
                if let Some(rest) = rest {
                    while items.len() < shown {
                        items.push(self.example_of(*rest, depth + 1, steps));
                    }
                }
                items.into()
            },
            SchemaNode::Map { fields, others } => {
                let mut example: Map<String, Value> = fields
                    .iter()
                    .filter(|(_, field)| field.required || depth < DEPTH)
                    .map(|(name, field)| {
                        (name.clone(), self.example_of(field.form, depth + 1, steps))
                    })
                    .collect();
                if let Others::Of(form) = others
                    && fields.is_empty()
                    && depth < DEPTH
                {
                    example.insert("name".into(), self.example_of(*form, depth + 1, steps));
                }
                example.into()
            },
            SchemaNode::OneOf(alternatives) => {
                // From `DEPTH` on, null is preferred, because it ends the recursion. Nearer the root, any other
                // alternative is preferred.
                let is_null = |id: &&SchemaNodeId| *self.form(**id) == SchemaNode::Null;
                let shown = alternatives.iter().find(|id| is_null(id) == (depth >= DEPTH));
                shown
                    .or_else(|| alternatives.first())
                    .map_or(Value::Null, |id| self.example_of(*id, depth + 1, steps))
            },
        }
    }
}

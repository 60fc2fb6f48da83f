use serde_json::{Map, Value};

use crate::schema::message_schema::{MessageSchema, Others, SchemaNode, SchemaNodeId};

/// Forms that an example is made of, at most: it is for people to read.
const STEPS: usize = 500;
/// How deep it goes. Deeper down only what is needed is shown.
const DEPTH: usize = 4;
/// Where it ends in any case, fitting or not.
const BOTTOM: usize = 24;

impl MessageSchema {
    /// A value of this shape, to begin with: zeros, the first of several, every field.
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
                // Deep down the shortest way out.
                let is_null = |id: &&SchemaNodeId| *self.form(**id) == SchemaNode::Null;
                let shown = alternatives.iter().find(|id| is_null(id) == (depth >= DEPTH));
                shown
                    .or_else(|| alternatives.first())
                    .map_or(Value::Null, |id| self.example_of(*id, depth + 1, steps))
            },
        }
    }
}

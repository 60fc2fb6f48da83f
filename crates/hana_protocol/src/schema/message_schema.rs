//! The schema of a custom message as a node announces it.
//!
//! It covers enough of JSON Schema to check a value before it is sent, and to report where two programs differ.
//! Schemas come from the network, so all work in this module is bounded: parts that are too deep, too large or not
//! understood are treated as a schema that accepts any value.

pub(crate) mod compare;
pub(crate) mod validate;

mod example;

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

/// The set of valid values of a message type, read from a JSON Schema.
///
/// Only types, fields, integer ranges and lists of constants are evaluated. A program may therefore reject a value
/// that is valid here, but it always rejects a value that is invalid here.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageSchema {
    forms: Vec<SchemaNode>,
    root: SchemaNodeId,
}

/// A field of a message, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldOutline {
    /// Its name.
    pub name: String,
    /// A description of its type: `a number`.
    pub holds: String,
    /// Whether the field may be omitted.
    pub optional: bool,
    /// The program's description of the field; empty if it has none.
    pub description: String,
}

/// The index of a node in its schema. Schemas may be recursive, so nodes refer to each other by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct SchemaNodeId(usize);

/// A node of a schema.
#[derive(Debug, Clone, PartialEq)]
enum SchemaNode {
    /// Accepts every value; also represents a schema that is not understood.
    Any,
    /// Accepts no value.
    Nothing,
    Null,
    Truth,
    Text,
    Number {
        min: f64,
        max: f64,
    },
    Whole {
        min: i128,
        max: i128,
    },
    Constants(Vec<Value>),
    List {
        first: Vec<SchemaNodeId>,
        rest: Option<SchemaNodeId>,
        min: u64,
        max: u64,
    },
    Map {
        fields: BTreeMap<String, Field>,
        others: Others,
    },
    OneOf(Vec<SchemaNodeId>),
    /// Accepts values that all parts accept (`allOf`); exists only while a schema is being read.
    All(Vec<SchemaNodeId>),
}

#[derive(Debug, Clone, PartialEq)]
struct Field {
    form: SchemaNodeId,
    required: bool,
    description: String,
}

/// The treatment of fields that the schema does not name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Others {
    /// The reader ignores them.
    Ignored,
    /// The reader rejects them.
    Refused,
    /// Their values must match this schema, as in a map with free keys.
    Of(SchemaNodeId),
}

const ANY: SchemaNodeId = SchemaNodeId(0);
const NOTHING: SchemaNodeId = SchemaNodeId(1);

/// Maximum number of nodes; a message of a thousand fields has about a thousand nodes.
const MAX_FORMS: usize = 4096;
/// Maximum nesting depth of a schema, not counting references.
const MAX_DEPTH: usize = 64;
/// Maximum nesting depth of `allOf`.
const MAX_PARTS: usize = 8;
/// Maximum number of fields that are merged in total.
const MAX_JOINED: usize = 4 * MAX_FORMS;

impl MessageSchema {
    /// Reads a JSON Schema. Never fails: parts that are not understood accept any value.
    #[must_use]
    pub fn of_schema(schema: &Value) -> Self {
        let mut reader = SchemaReader {
            document: schema,
            forms: vec![SchemaNode::Any, SchemaNode::Nothing],
            references: HashMap::new(),
            waiting: vec![],
        };
        let root = reader.form(schema, 0);
        // References are followed one after the other instead of recursively, so a chain of references uses no stack.
        while let Some((place, schema)) = reader.waiting.pop() {
            let read = reader.form(schema, 0);
            reader.forms[place.0] = SchemaNode::OneOf(vec![read]);
        }
        let mut shape = Self { forms: reader.forms, root };
        shape.join_parts();
        shape
    }

    /// Returns the top-level fields of a message, in the order of their names.
    #[must_use]
    pub fn outline(&self) -> Vec<FieldOutline> {
        let SchemaNode::Map { fields, .. } = self.form(self.root) else { return vec![] };
        fields
            .iter()
            .map(|(name, field)| FieldOutline {
                name: name.clone(),
                holds: self.described(field.form),
                optional: !field.required,
                description: field.description.clone(),
            })
            .collect()
    }

    /// Returns a node, after following references.
    fn form(&self, id: SchemaNodeId) -> &SchemaNode {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            match self.forms.get(id.0) {
                Some(SchemaNode::OneOf(alternatives)) => match alternatives.as_slice() {
                    [only] => id = *only,
                    _ => return &self.forms[id.0],
                },
                Some(form) => return form,
                None => break,
            }
        }
        &SchemaNode::Any
    }

    /// Merges the maps among the parts of each `allOf` into one map. Without a map, uses the first part with a
    /// constraint.
    fn join_parts(&mut self) {
        let mut steps = MAX_JOINED;
        for place in 0..self.forms.len() {
            if !matches!(self.forms[place], SchemaNode::All(_)) {
                continue;
            }
            let mut parts = vec![];
            self.gather_parts(SchemaNodeId(place), MAX_PARTS, &mut steps, &mut parts);
            let mut joined: Option<(BTreeMap<String, Field>, Others)> = None;
            for part in &parts {
                let SchemaNode::Map { fields, others } = self.form(*part) else { continue };
                let (all, left) = joined.get_or_insert((BTreeMap::new(), Others::Ignored));
                steps = steps.saturating_sub(fields.len());
                if steps > 0 {
                    all.extend(fields.iter().map(|(name, field)| (name.clone(), field.clone())));
                }
                if let Others::Of(_) = others {
                    *left = *others;
                }
            }
            self.forms[place] = match joined {
                _ if steps == 0 => SchemaNode::Any,
                Some((fields, others)) => SchemaNode::Map { fields, others },
                None => {
                    let first = parts.iter().find(|part| *self.form(**part) != SchemaNode::Any);
                    SchemaNode::OneOf(vec![first.copied().unwrap_or(ANY)])
                },
            };
        }
    }

    fn gather_parts(
        &self,
        id: SchemaNodeId,
        depth: usize,
        steps: &mut usize,
        parts: &mut Vec<SchemaNodeId>,
    ) {
        *steps = steps.saturating_sub(1);
        match self.form(id) {
            SchemaNode::All(of) if depth > 0 => {
                for part in of {
                    if *steps > 0 {
                        self.gather_parts(*part, depth - 1, steps, parts);
                    }
                }
            },
            SchemaNode::All(_) => {},
            _ => parts.push(id),
        }
    }

    /// Describes a node in words.
    fn described(&self, id: SchemaNodeId) -> String {
        self.described_within(id, 3)
    }

    fn described_within(&self, id: SchemaNodeId, depth: usize) -> String {
        match self.form(id) {
            SchemaNode::Any | SchemaNode::All(_) => "anything".into(),
            SchemaNode::Nothing => "nothing".into(),
            SchemaNode::Null => "null".into(),
            SchemaNode::Truth => "true or false".into(),
            SchemaNode::Text => "a text".into(),
            SchemaNode::Number { min, max } => format!("a number{}", number_range(*min, *max)),
            SchemaNode::Whole { min, max } => format!("a whole number{}", whole_range(*min, *max)),
            SchemaNode::Constants(values) => {
                listed(values.iter().map(ToString::to_string), " or ", MAX_LISTED)
            },
            SchemaNode::List { first, rest, min, max } => {
                let item = match (first.as_slice(), rest) {
                    ([], Some(item)) if depth > 0 => match self.form(*item) {
                        SchemaNode::Any => String::new(),
                        _ => format!(", each {}", self.described_within(*item, depth - 1)),
                    },
                    _ => String::new(),
                };
                if min == max { format!("a list of {min}{item}") } else { format!("a list{item}") }
            },
            SchemaNode::Map { fields, others } => match others {
                _ if !fields.is_empty() => {
                    format!("a map with {}", listed(fields.keys().cloned(), ", ", MAX_LISTED))
                },
                Others::Of(form) if depth > 0 => {
                    format!("a map of names, each {}", self.described_within(*form, depth - 1))
                },
                _ => "a map".into(),
            },
            SchemaNode::OneOf(alternatives) if depth > 0 => {
                let mut words: Vec<String> = vec![];
                for alternative in alternatives.iter().take(MAX_LISTED * 2) {
                    let word = self.described_within(*alternative, depth - 1);
                    if !words.contains(&word) {
                        words.push(word);
                    }
                }
                listed(words.into_iter(), " or ", MAX_LISTED)
            },
            SchemaNode::OneOf(_) => "one of several".into(),
        }
    }
}

/// Maximum number of items that a description lists.
const MAX_LISTED: usize = 8;

fn listed(words: impl Iterator<Item = String>, between: &str, most: usize) -> String {
    let mut words: Vec<String> = words.take(most + 1).collect();
    if words.len() > most {
        words[most] = "...".into();
    }
    words.join(between)
}

fn number_range(min: f64, max: f64) -> String {
    match (min.is_finite(), max.is_finite()) {
        (true, true) => format!(" from {min} to {max}"),
        (true, false) => format!(", {min} or more"),
        (false, true) => format!(", {max} or less"),
        (false, false) => String::new(),
    }
}

fn whole_range(min: i128, max: i128) -> String {
    // For display, the limits of 64 bits count as no limit.
    match (min > i128::from(i64::MIN), max < i128::from(i64::MAX)) {
        (true, true) => format!(" from {min} to {max}"),
        (true, false) => format!(", {min} or more"),
        (false, true) => format!(", {max} or less"),
        (false, false) => String::new(),
    }
}

/// Parser of a JSON Schema into nodes.
struct SchemaReader<'a> {
    document: &'a Value,
    forms: Vec<SchemaNode>,
    /// The node of each reference found.
    references: HashMap<&'a str, SchemaNodeId>,
    /// References that were found and not yet followed.
    waiting: Vec<(SchemaNodeId, &'a Value)>,
}

impl<'a> SchemaReader<'a> {
    fn add(&mut self, form: SchemaNode) -> SchemaNodeId {
        if self.forms.len() >= MAX_FORMS {
            return ANY;
        }
        self.forms.push(form);
        SchemaNodeId(self.forms.len() - 1)
    }

    fn form(&mut self, schema: &'a Value, depth: usize) -> SchemaNodeId {
        if depth > MAX_DEPTH || self.forms.len() >= MAX_FORMS {
            return ANY;
        }
        match schema {
            Value::Bool(false) => NOTHING,
            Value::Object(words) => self.form_of_words(words, depth + 1),
            _ => ANY,
        }
    }

    fn forms(&mut self, schemas: Option<&'a Value>, depth: usize) -> Vec<SchemaNodeId> {
        let schemas = schemas.and_then(Value::as_array).into_iter().flatten().take(MAX_FORMS);
        schemas.map(|schema| self.form(schema, depth)).collect()
    }

    fn form_of_words(&mut self, words: &'a Map<String, Value>, depth: usize) -> SchemaNodeId {
        if let Some(constant) = words.get("const") {
            return self.add(SchemaNode::Constants(vec![constant.clone()]));
        }
        if let Some(Value::Array(constants)) = words.get("enum") {
            if constants.is_empty() {
                return NOTHING;
            }
            let constants = constants.iter().take(MAX_FORMS).cloned().collect();
            return self.add(SchemaNode::Constants(constants));
        }
        let mut parts = vec![];
        if let Some(Value::String(reference)) = words.get("$ref") {
            parts.push(self.reference(reference));
        }
        parts.extend(self.forms(words.get("allOf"), depth));
        for word in ["oneOf", "anyOf"] {
            if words.contains_key(word) {
                let alternatives = self.forms(words.get(word), depth);
                if !alternatives.is_empty() {
                    parts.push(self.add(SchemaNode::OneOf(alternatives)));
                }
            }
        }
        let types: Vec<&str> = match words.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).take(8).collect(),
            _ if words.contains_key("properties") => vec!["object"],
            _ => vec![],
        };
        let by_type: Vec<SchemaNodeId> =
            types.into_iter().map(|name| self.form_of_type(name, words, depth)).collect();
        match by_type.as_slice() {
            [] => {},
            [only] => parts.push(*only),
            _ => parts.push(self.add(SchemaNode::OneOf(by_type))),
        }
        match parts.as_slice() {
            [] => ANY,
            [only] => *only,
            _ => self.add(SchemaNode::All(parts)),
        }
    }

    fn reference(&mut self, reference: &'a str) -> SchemaNodeId {
        if let Some(known) = self.references.get(reference) {
            return *known;
        }
        // Only references within the document are resolved; nothing is fetched.
        let Some(schema) =
            reference.strip_prefix('#').and_then(|pointer| self.document.pointer(pointer))
        else {
            return ANY;
        };
        let place = self.add(SchemaNode::Any);
        if place != ANY {
            self.references.insert(reference, place);
            self.waiting.push((place, schema));
        }
        place
    }

    fn form_of_type(
        &mut self,
        name: &str,
        words: &'a Map<String, Value>,
        depth: usize,
    ) -> SchemaNodeId {
        let form = match name {
            "null" => SchemaNode::Null,
            "boolean" => SchemaNode::Truth,
            "string" => SchemaNode::Text,
            "integer" => whole(words),
            "number" => SchemaNode::Number {
                min: words.get("minimum").and_then(Value::as_f64).unwrap_or(f64::NEG_INFINITY),
                max: words.get("maximum").and_then(Value::as_f64).unwrap_or(f64::INFINITY),
            },
            "array" => {
                let first = self.forms(words.get("prefixItems"), depth);
                let rest = match words.get("items") {
                    Some(Value::Bool(false)) => None,
                    Some(items) => Some(self.form(items, depth)),
                    None => Some(ANY),
                };
                let size = |word| words.get(word).and_then(Value::as_u64);
                SchemaNode::List {
                    first,
                    rest,
                    min: size("minItems").unwrap_or(0),
                    max: size("maxItems").unwrap_or(u64::MAX),
                }
            },
            "object" => self.map(words, depth),
            _ => return ANY,
        };
        self.add(form)
    }

    fn map(&mut self, words: &'a Map<String, Value>, depth: usize) -> SchemaNode {
        let required: Vec<&str> = words
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut fields = BTreeMap::new();
        let properties = words.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten().take(MAX_FORMS) {
            let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            let field = Field {
                form: self.form(schema, depth),
                required: required.contains(&name.as_str()),
                description: description.into(),
            };
            fields.insert(name.clone(), field);
        }
        let patterns = words.get("patternProperties").and_then(Value::as_object);
        let pattern = patterns.and_then(|patterns| patterns.values().next());
        let others = match (words.get("additionalProperties"), pattern) {
            (_, Some(schema)) | (Some(schema @ Value::Object(_)), None) => {
                Others::Of(self.form(schema, depth))
            },
            (Some(Value::Bool(false)), None) => Others::Refused,
            _ => Others::Ignored,
        };
        SchemaNode::Map { fields, others }
    }
}

/// Returns the range of an integer, from the limits of the schema or else from its format.
fn whole(words: &Map<String, Value>) -> SchemaNode {
    let (min, max) = match words.get("format").and_then(Value::as_str) {
        Some("int8") => (i8::MIN.into(), i8::MAX.into()),
        Some("int16") => (i16::MIN.into(), i16::MAX.into()),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        Some("int64" | "int") => (i64::MIN.into(), i64::MAX.into()),
        Some("uint8") => (0, u8::MAX.into()),
        Some("uint16") => (0, u16::MAX.into()),
        Some("uint32") => (0, u32::MAX.into()),
        Some("uint64" | "uint") => (0, u64::MAX.into()),
        _ => (i128::MIN, i128::MAX),
    };
    let limit = |word| {
        let value: &Value = words.get(word)?;
        value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
    };
    SchemaNode::Whole {
        min: limit("minimum").map_or(min, |said| said.max(min)),
        max: limit("maximum").map_or(max, |said| said.min(max)),
    }
}

#[cfg(test)]
mod tests;

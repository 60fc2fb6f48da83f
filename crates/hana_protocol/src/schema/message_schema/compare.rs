use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::schema::message_schema::{MessageSchema, Others, SchemaNode, SchemaNodeId};

/// A difference between two schemas because of which a reader cannot read a writer's messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibility {
    /// The field's path, such as `spot.x`; empty for the message itself.
    pub field: String,
    /// The reader's side, as a phrase that follows its name: `reads energy as a number`.
    pub reader: String,
    /// The writer's side, as a phrase that follows its name: `sends energy as a text`.
    pub writer: String,
    /// The messages that are affected.
    pub frequency: Severity,
}

/// The messages that an [`Incompatibility`] affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Every message: a field is missing or has another type.
    Always,
    /// Some messages: an integer is out of the reader's range, a name is unknown, a field is omitted.
    Sometimes,
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the reader {}, the writer {}", self.reader, self.writer)
    }
}

/// Maximum number of differences that are reported.
const MOST: usize = 16;
/// Maximum number of comparison steps. If they do not suffice, the schemas count as compatible.
const STEPS: usize = 20_000;
/// Maximum depth to which nested nodes are compared.
const DEPTH: usize = 64;

impl MessageSchema {
    /// Lists the differences because of which a reader with this schema cannot read messages of the schema `writer`.
    ///
    /// The most severe differences come first.
    ///
    /// Fields that only the writer has are not a difference: a reader ignores them.
    #[must_use]
    pub fn differences(&self, writer: &Self) -> Vec<Incompatibility> {
        let mut comparison = Comparison {
            reader: self,
            writer,
            steps: STEPS,
            seen: HashSet::new(),
            fitting: HashMap::new(),
            found: vec![],
        };
        comparison.compare(self.root, writer.root, "", DEPTH);
        let mut found = comparison.found;
        found.sort_by_key(|difference| difference.frequency);
        found
    }
}

struct Comparison<'a> {
    reader: &'a MessageSchema,
    writer: &'a MessageSchema,
    /// The remaining steps.
    steps: usize,
    /// Pairs of nodes that were compared, or are being compared.
    seen: HashSet<(SchemaNodeId, SchemaNodeId)>,
    /// The known results of [`Self::fits`].
    fitting: HashMap<(SchemaNodeId, SchemaNodeId), bool>,
    found: Vec<Incompatibility>,
}

impl Comparison<'_> {
    fn compare(&mut self, reads: SchemaNodeId, sends: SchemaNodeId, path: &str, depth: usize) {
        if depth == 0 || self.steps == 0 || self.found.len() >= MOST {
            return;
        }
        self.steps -= 1;
        if !self.seen.insert((reads, sends)) {
            return;
        }
        let (reader, writer) = (self.reader, self.writer);
        match (reader.form(reads), writer.form(sends)) {
            (SchemaNode::Any | SchemaNode::All(_), _)
            | (_, SchemaNode::Any | SchemaNode::All(_) | SchemaNode::Nothing) => {},
            (SchemaNode::OneOf(alternatives), SchemaNode::OneOf(sent)) => {
                let fit = sent.iter().all(|sent| self.any_fits(alternatives, *sent, depth));
                if !fit {
                    self.differ(reads, sends, path, Severity::Sometimes);
                }
            },
            (SchemaNode::OneOf(alternatives), _) => {
                if !self.any_fits(alternatives, sends, depth) {
                    // If exactly one alternative is of the same kind, report the difference within it.
                    let alike: Vec<SchemaNodeId> = alternatives
                        .iter()
                        .copied()
                        .filter(|alternative| self.are_alike(*alternative, sends))
                        .collect();
                    match alike.as_slice() {
                        [only] => self.compare(*only, sends, path, depth - 1),
                        _ => self.differ(reads, sends, path, Severity::Always),
                    }
                }
            },
            (_, SchemaNode::OneOf(sent)) => {
                if sent.iter().all(|sent| self.are_alike(reads, *sent)) {
                    for sent in sent {
                        self.compare(reads, *sent, path, depth - 1);
                    }
                } else if !sent.iter().all(|sent| self.fits(reads, *sent, depth)) {
                    let some = sent.iter().any(|sent| self.fits(reads, *sent, depth));
                    let frequency = if some { Severity::Sometimes } else { Severity::Always };
                    self.differ(reads, sends, path, frequency);
                }
            },
            (SchemaNode::Map { .. }, SchemaNode::Map { .. }) => {
                self.compare_maps(reads, sends, path, depth);
            },
            (SchemaNode::List { .. }, SchemaNode::List { .. }) => {
                self.compare_lists(reads, sends, path, depth);
            },
            (SchemaNode::Whole { min, max }, SchemaNode::Whole { min: least, max: most }) => {
                if least < min || most > max {
                    self.differ(reads, sends, path, Severity::Sometimes);
                }
            },
            (SchemaNode::Constants(_), SchemaNode::Text) => {
                self.differ(reads, sends, path, Severity::Sometimes);
            },
            (_, SchemaNode::Constants(constants)) => {
                let read = constants
                    .iter()
                    .filter(|constant| reader.check_form(reads, constant).is_ok())
                    .count();
                if read == 0 {
                    self.differ(reads, sends, path, Severity::Always);
                } else if read < constants.len() {
                    self.differ(reads, sends, path, Severity::Sometimes);
                }
            },
            (read, sent) => {
                let is_one_kind = matches!(
                    (read, sent),
                    (SchemaNode::Null, SchemaNode::Null)
                        | (SchemaNode::Truth, SchemaNode::Truth)
                        | (SchemaNode::Text, SchemaNode::Text)
                        | (
                            SchemaNode::Number { .. },
                            SchemaNode::Number { .. } | SchemaNode::Whole { .. }
                        )
                );
                if !is_one_kind {
                    self.differ(reads, sends, path, Severity::Always);
                }
            },
        }
    }

    fn compare_maps(&mut self, reads: SchemaNodeId, sends: SchemaNodeId, path: &str, depth: usize) {
        let (reader, writer) = (self.reader, self.writer);
        let (
            SchemaNode::Map { fields: read, others: read_others },
            SchemaNode::Map { fields: sent, others: sent_others },
        ) = (reader.form(reads), writer.form(sends))
        else {
            return;
        };
        for (name, field) in read {
            let path = below(path, name);
            let needs = || format!("needs {path}, {}", reader.described(field.form));
            match (sent.get(name), sent_others) {
                (Some(sent), _) => {
                    if field.required && !sent.required {
                        let writer = format!("may leave {path} out");
                        self.find(&path, needs(), writer, Severity::Sometimes);
                    }
                    self.compare(field.form, sent.form, &path, depth - 1);
                },
                (None, Others::Of(form)) => self.compare(field.form, *form, &path, depth - 1),
                (None, _) if field.required => {
                    self.find(&path, needs(), format!("sends no {path}"), Severity::Always);
                },
                (None, _) => {},
            }
        }
        for (name, field) in sent.iter().filter(|(name, _)| !read.contains_key(*name)) {
            let path = below(path, name);
            match read_others {
                Others::Ignored => break,
                Others::Refused => {
                    let reader = format!("refuses {path}, which it does not know");
                    let sends = format!("sends {path}");
                    self.find(&path, reader, sends, Severity::Always);
                },
                Others::Of(form) => self.compare(*form, field.form, &path, depth - 1),
            }
        }
        if let (Others::Of(read), Others::Of(sent)) = (read_others, sent_others) {
            self.compare(*read, *sent, &below(path, "*"), depth - 1);
        }
    }

    fn compare_lists(
        &mut self,
        reads: SchemaNodeId,
        sends: SchemaNodeId,
        path: &str,
        depth: usize,
    ) {
        let (reader, writer) = (self.reader, self.writer);
        let (
            SchemaNode::List { first: read, rest: read_rest, min, max },
            SchemaNode::List { first: sent, rest: sent_rest, min: least, max: most },
        ) = (reader.form(reads), writer.form(sends))
        else {
            return;
        };
        if least < min || most > max {
            let apart = most < min || least > max;
            let frequency = if apart { Severity::Always } else { Severity::Sometimes };
            self.differ(reads, sends, path, frequency);
            return;
        }
        for place in 0..read.len().max(sent.len()) {
            let pair =
                (read.get(place).or(read_rest.as_ref()), sent.get(place).or(sent_rest.as_ref()));
            if let (Some(read), Some(sent)) = pair {
                self.compare(*read, *sent, &format!("{path}[{place}]"), depth - 1);
            }
        }
        if let (Some(read), Some(sent)) = (read_rest, sent_rest) {
            self.compare(*read, *sent, &format!("{path}[]"), depth - 1);
        }
    }

    fn any_fits(
        &mut self,
        alternatives: &[SchemaNodeId],
        sends: SchemaNodeId,
        depth: usize,
    ) -> bool {
        alternatives.iter().any(|reads| self.fits(*reads, sends, depth))
    }

    /// Whether the reader's node `reads` can read every value of the writer's node `sends`.
    fn fits(&mut self, reads: SchemaNodeId, sends: SchemaNodeId, depth: usize) -> bool {
        if let Some(known) = self.fitting.get(&(reads, sends)) {
            return *known;
        }
        // Assume compatibility while recursing: a recursive schema is compatible unless another part differs.
        self.fitting.insert((reads, sends), true);
        let mut apart = Comparison {
            reader: self.reader,
            writer: self.writer,
            steps: self.steps,
            seen: HashSet::new(),
            fitting: std::mem::take(&mut self.fitting),
            found: vec![],
        };
        apart.compare(reads, sends, "", depth - 1);
        let fits = apart.found.is_empty();
        self.steps = apart.steps;
        self.fitting = apart.fitting;
        self.fitting.insert((reads, sends), fits);
        fits
    }

    /// Whether both are maps or both are lists, so that the difference lies within them.
    fn are_alike(&self, reads: SchemaNodeId, sends: SchemaNodeId) -> bool {
        matches!(
            (self.reader.form(reads), self.writer.form(sends)),
            (SchemaNode::Map { .. }, SchemaNode::Map { .. })
                | (SchemaNode::List { .. }, SchemaNode::List { .. })
        )
    }

    fn differ(
        &mut self,
        reads: SchemaNodeId,
        sends: SchemaNodeId,
        path: &str,
        frequency: Severity,
    ) {
        let what = if path.is_empty() { "the message" } else { path };
        let reader = format!("reads {what} as {}", self.reader.described(reads));
        let writer = format!("sends {what} as {}", self.writer.described(sends));
        self.find(path, reader, writer, frequency);
    }

    fn find(&mut self, path: &str, reader: String, writer: String, frequency: Severity) {
        if self.found.len() < MOST {
            self.found.push(Incompatibility { field: path.into(), reader, writer, frequency });
        }
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

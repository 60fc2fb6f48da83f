//! Reads any JSON as the schema that another program announces: reading, comparing and answering stay within bounds,
//! and the example of a schema fits that schema.

use hana_protocol::schema::MessageSchema;
use serde_json::{Value, json};

pub(crate) fn check(bytes: &[u8]) {
    let Ok(schema) = serde_json::from_slice::<Value>(bytes) else { return };
    let strange = MessageSchema::of_schema(&schema);
    assert!(strange.outline().len() < 1 << 20);
    let example = strange.example();
    let _ = strange.check(&example);
    let _ = strange.check(&schema);
    let known = MessageSchema::of_schema(&json!({
        "type": "object",
        "properties": {"number": {"type": "integer", "minimum": 0}, "energy": {"type": "number"}},
        "required": ["number"],
    }));
    let _ = known.differences(&strange);
    let _ = strange.differences(&known);
    assert!(
        strange.differences(&strange).is_empty(),
        "a schema is compatible with itself: {schema}"
    );
}

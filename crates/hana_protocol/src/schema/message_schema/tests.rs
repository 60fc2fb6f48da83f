#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::compare::{Incompatibility, Severity};
use super::*;

fn shape<T: JsonSchema>() -> MessageSchema {
    MessageSchema::of_schema(&schema_for!(T).to_value())
}

fn misfit<T: JsonSchema>(value: &Value) -> String {
    shape::<T>().check(value).unwrap_err().to_string()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Spark {
    /// How many flew before it.
    number: u64,
    angle: f32,
    energy: f32,
    #[serde(default)]
    colour: Option<Colour>,
    trail: Vec<Point>,
    size: (u8, i16),
    names: BTreeMap<String, bool>,
    how: How,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Point {
    x: f32,
    y: f32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
enum Colour {
    Red,
    Green,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "way", rename_all = "snake_case")]
enum How {
    Fast { speed: f64 },
    Slow,
    To(Point),
}

/// Refers to itself.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Tree {
    value: i8,
    children: Vec<Self>,
    beside: Option<Box<Self>>,
}

fn a_spark() -> Value {
    json!({
        "number": 7, "angle": 1.5, "energy": 1, "colour": "Red", "trail": [{"x": 1, "y": 2.5}],
        "size": [3, -4], "names": {"a": true}, "how": {"way": "fast", "speed": 2.0}
    })
}

/// Returns the example with the value at `pointer` replaced.
fn with(pointer: &str, other: Value) -> Value {
    let mut spark = a_spark();
    *spark.pointer_mut(pointer).unwrap() = other;
    spark
}

#[test]
fn readable_message_fits_its_schema() {
    serde_json::from_value::<Spark>(a_spark()).unwrap();
    shape::<Spark>().check(&a_spark()).unwrap();
    for other in [
        with("/colour", Value::Null),
        with("/trail", json!([])),
        with("/how", json!({"way": "slow"})),
        with("/how", json!({"way": "to", "x": 1.0, "y": 2.0})),
        with("/number", json!(u64::MAX)),
    ] {
        serde_json::from_value::<Spark>(other.clone()).unwrap();
        shape::<Spark>().check(&other).unwrap();
    }
}

#[test]
fn mismatch_names_the_field_the_expected_and_the_found() {
    for (value, words) in [
        (
            with("/energy", json!("high")),
            "field 'energy': expected a number, found the text \"high\"",
        ),
        (
            with("/number", json!(-1)),
            "field 'number': expected a whole number, 0 or more, found the number -1",
        ),
        (
            with("/number", json!(0.5)),
            "field 'number': expected a whole number, 0 or more, found the number 0.5",
        ),
        (with("/trail/0/x", json!(null)), "field 'trail[0].x': expected a number, found null"),
        (
            with("/size/0", json!(256)),
            "field 'size[0]': expected a whole number from 0 to 255, found the number 256",
        ),
        (with("/size", json!([1])), "field 'size': expected a list of 2, found a list of 1"),
        (
            with("/colour", json!("Blue")),
            "field 'colour': expected \"Red\" or \"Green\" or null, found the text \"Blue\"",
        ),
        (with("/names/a", json!(1)), "field 'names.a': expected true or false, found the number 1"),
        (with("/how/speed", json!([])), "field 'how.speed': expected a number, found a list of 0"),
        (
            json!([]),
            "expected a map with angle, colour, energy, how, names, number, size, trail, found a list of 0",
        ),
    ] {
        assert_eq!(misfit::<Spark>(&value), words);
        assert!(serde_json::from_value::<Spark>(value).is_err());
    }
    let mut without = a_spark();
    without.as_object_mut().unwrap().remove("angle");
    assert_eq!(misfit::<Spark>(&without), "field 'angle': expected a number, found nothing");
}

fn told(differences: &[Incompatibility]) -> Vec<String> {
    differences.iter().map(ToString::to_string).collect()
}

#[test]
fn schema_reads_the_same_schema_or_one_with_more_fields() {
    #[derive(JsonSchema)]
    struct More {
        value: i8,
        children: Vec<Tree>,
        beside: Option<Tree>,
        leaves: u32,
    }
    assert_eq!(shape::<Spark>().differences(&shape::<Spark>()), []);
    assert_eq!(shape::<Tree>().differences(&shape::<Tree>()), []);
    assert_eq!(shape::<Tree>().differences(&shape::<More>()), []);
    assert_eq!(
        told(&shape::<More>().differences(&shape::<Tree>())),
        [
            "the reader needs leaves, a whole number from 0 to 4294967295, the writer sends no leaves"
        ]
    );
}

#[test]
fn schema_difference_names_the_field_on_both_sides() {
    #[derive(JsonSchema)]
    struct Reader {
        energy: f32,
        number: u8,
        spot: Point,
        colour: Colour,
        maybe: Option<u32>,
    }
    #[derive(JsonSchema)]
    struct Spot {
        x: f32,
        y: bool,
    }
    #[derive(JsonSchema)]
    enum Colours {
        Red,
        Green,
        Blue,
    }
    #[derive(JsonSchema)]
    struct Writer {
        energy: String,
        number: u32,
        spot: Spot,
        colour: Colours,
        maybe: Option<String>,
    }
    assert_eq!(
        told(&shape::<Reader>().differences(&shape::<Writer>())),
        [
            "the reader reads energy as a number, the writer sends energy as a text",
            "the reader reads spot.y as a number, the writer sends spot.y as true or false",
            "the reader reads colour as \"Red\" or \"Green\", the writer sends colour as \"Red\" or \"Green\" or \"Blue\"",
            "the reader reads maybe as a whole number from 0 to 4294967295 or null, the writer sends maybe as a text or null",
            "the reader reads number as a whole number from 0 to 255, the writer sends number as a whole number from 0 to 4294967295",
        ]
    );
    // In the other direction, the narrower integer and the smaller set of names fit.
    let back: Vec<String> =
        shape::<Writer>().differences(&shape::<Reader>()).into_iter().map(|d| d.field).collect();
    assert_eq!(back, ["energy", "spot.y", "maybe"]);
}

#[test]
fn integer_is_accepted_as_number_but_not_vice_versa() {
    assert_eq!(shape::<f32>().differences(&shape::<i64>()), []);
    assert_eq!(
        told(&shape::<i64>().differences(&shape::<f32>())),
        [
            "the reader reads the message as a whole number, the writer sends the message as a number"
        ]
    );
    assert_eq!(shape::<Option<f32>>().differences(&shape::<f32>()), []);
    let null_is_new = shape::<f32>().differences(&shape::<Option<f32>>());
    assert_eq!(null_is_new[0].frequency, Severity::Sometimes);
}

#[test]
fn example_fits_its_schema() {
    fn holds<T: JsonSchema + for<'de> Deserialize<'de>>() {
        let example = shape::<T>().example();
        shape::<T>().check(&example).unwrap();
        serde_json::from_value::<T>(example).unwrap();
    }
    holds::<Spark>();
    holds::<How>();
    holds::<Tree>();
    holds::<(u8, Vec<[f32; 3]>, Option<String>)>();
    assert_eq!(shape::<Point>().example(), json!({"x": 0.0, "y": 0.0}));
}

#[test]
fn message_is_outlined_for_people() {
    let outline = shape::<Spark>().outline();
    assert_eq!(
        outline[5],
        FieldOutline {
            name: "number".into(),
            holds: "a whole number, 0 or more".into(),
            optional: false,
            description: "How many flew before it.".into(),
        }
    );
    assert!(outline[1].optional, "{outline:?}");
}

/// Runs every operation on a schema from an untrusted node, and checks that it ends in time.
fn survives(schema: &Value) {
    let begun = Instant::now();
    let strange = MessageSchema::of_schema(schema);
    let _ = strange.outline();
    let example = strange.example();
    let _ = strange.check(&example);
    let _ = strange.check(&a_spark());
    let _ = strange.check(&deep(100));
    let spark = shape::<Spark>();
    let _ = spark.differences(&strange);
    let _ = strange.differences(&spark);
    let _ = strange.differences(&strange);
    // The operations take milliseconds on an idle machine.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!({"a": inner}))
}

#[test]
fn malicious_schema_costs_neither_time_nor_stack() {
    // Recursive schemas.
    survives(&json!({"$ref": "#"}));
    survives(&json!({"oneOf": [{"$ref": "#"}, {"$ref": "#"}]}));
    survives(&json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]}));
    survives(
        &json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
    );
    // Schemas whose size doubles with every level.
    let twice = json!({"type": "object", "properties": {"a": {"$ref": "#"}}});
    survives(
        &json!({"oneOf": [twice, twice, {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["b"]}]}),
    );
    let two: Vec<Value> = (0..2)
        .map(|_| json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["z"]}))
        .collect();
    survives(&json!({"anyOf": two}));
    // A hundred parts, each of which has a hundred parts, and so on.
    let parts: Vec<Value> = (0..100).map(|_| json!({"$ref": "#"})).collect();
    survives(&json!({"allOf": parts}));
    let fields: Map<String, Value> = (0..2000).map(|n| (format!("f{n}"), json!({}))).collect();
    let many: Vec<Value> = (0..1500)
        .map(|n| json!({"allOf": [{"$ref": "#/$defs/f"}, {"properties": {(format!("g{n}")): {}}}]}))
        .collect();
    survives(&json!({"$defs": {"f": {"properties": fields}}, "oneOf": many}));
    // Large schemas.
    let fields: Map<String, Value> =
        (0..10_000).map(|n| (format!("field{n}"), json!({"type": "integer"}))).collect();
    survives(&json!({"type": "object", "properties": fields}));
    let chain: Map<String, Value> = (0..10_000)
        .map(|n| (n.to_string(), json!({"$ref": format!("#/$defs/{}", n + 1)})))
        .collect();
    survives(&json!({"$ref": "#/$defs/0", "$defs": chain}));
    let names: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    survives(&json!({"enum": names}));
    survives(
        &json!({"type": "array", "minItems": u64::MAX, "maxItems": u64::MAX, "items": {"type": "array", "minItems": 1_000_000}}),
    );
    // Deep schemas.
    survives(&(0..120).fold(json!({}), |inner, _| json!({"items": inner, "type": "array"})));
    // Invalid schemas.
    for schema in [
        json!(null),
        json!(7),
        json!({"type": 7, "properties": [], "required": "x", "oneOf": {}}),
        json!({"$ref": "http://example.org/x"}),
        json!({"minimum": "x", "type": "integer"}),
    ] {
        survives(&schema);
    }
}

/// Generates JSON that contains keywords of JSON Schema.
fn anything() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "type",
        "properties",
        "required",
        "items",
        "prefixItems",
        "oneOf",
        "anyOf",
        "allOf",
        "$ref",
        "$defs",
        "additionalProperties",
        "enum",
        "const",
        "minimum",
        "maximum",
        "format",
        "minItems",
        "maxItems",
        "a",
        "b",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![
            "object",
            "array",
            "integer",
            "number",
            "string",
            "boolean",
            "null",
            "#",
            "#/$defs/a",
            "#/properties/b",
            "uint8",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(word.clone().prop_map(String::from), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(hana_random::cases(256))]

    #[test]
    fn any_json_is_safe_as_a_schema(schema in anything()) {
        survives(&schema);
    }

    #[test]
    fn every_schema_is_compatible_with_itself(schema in anything()) {
        let shape = MessageSchema::of_schema(&schema);
        prop_assert_eq!(shape.differences(&shape), []);
    }
}

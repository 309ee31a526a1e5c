//! Expressions that are almost right: each is refused or runs to its end within its budget, whatever it says.

#[path = "../../api/tests/common/fuzz.rs"]
mod bytes;

use knarr_cel::{Activation, Budget, Env, Schema, Type, Value, budget, compile};
use knarr_json::json;

const SEEDS: &[&[u8]] = &[
    b"object.spec.items.all(i, i.n > 0 && i.name.matches('^[a-z]+$')) || has(object.metadata.labels)",
    b"[1, 2, 3].map(x, x * 2).filter(x, x % 3 == 0).exists_one(x, x == 6) ? 'a' + 'b' : \"c\"",
    b"{'a': 1u, 'b': 2u}['a'] < 3u && duration('1h').getSeconds() == 3600",
    b"quantity('1Gi').isGreaterThan(quantity('200Mi')) && url('https://h:80/p').getHost() == 'h:80'",
    b"object.?spec.?none.orValue('x').split(',').join('|').replace('x', 'y').lowerAscii()",
    b"ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.0.0.1') && semver('1.2.3').major() == 1",
    b"cel.bind(x, object.spec.replicas, x * x) == 9 && optional.of(1).hasValue() && sets.contains([1], [1])",
    b"'%s %d %.3f'.format(['a', 1, 1.5]) == 'a 1 1.500' && timestamp('2024-05-06T07:08:09Z').getFullYear() > 2000",
    b"[[1, 2], [3]].flatten().sum() + [3, 1].sort()[0] == 7 && b'\\x00\\101'.size() == 2 && r'\\n' != '''a'''",
];
const WORDS: &[&[u8]] = &[
    b"(",
    b")",
    b"[",
    b"]",
    b"{",
    b"}",
    b".",
    b",",
    b"?",
    b":",
    b"!",
    b"-",
    b"&&",
    b"||",
    b" in ",
    b"==",
    b"`",
    b"'",
    b"\"",
    b"'''",
    b"\\u00e4",
    b"\\U0010ffff",
    b"\\x",
    b".map(x, ",
    b".all(x, ",
    b"object",
    b"self",
    b"9223372036854775808",
    b"1e999",
    b"0xffffffffffffffff",
    b"u",
    b".matches('(a*)*b')",
    b".format([",
    b"has(",
    b"dyn(",
    b"[?",
    b"?.",
    b"//",
    b"\xff",
    b"type(",
    b".find('",
    b"lists.range(100000000)",
    b".replace('', 'xx')",
    b" * 'a'",
];

#[test]
fn expressions() {
    let schema = json!({"type": "object", "properties": {
        "low": {"type": "integer", "format": "int64"},
        "items": {"type": "array", "maxItems": 10, "items": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}}}});
    let schema = Schema::new(&schema, false, "selfType");
    let env = Env::new()
        .with("object", Type::Dyn)
        .with_schema("self", &schema)
        .with_mutation();
    let object = json!({"metadata": {"labels": {"a.b/c": "x"}}, "spec": {"replicas": 3, "items": [{"name": "a", "n": 1}], "none": null}});
    let own = json!({"low": 1, "items": [{"name": "a"}], "map": {"k": "v"}});
    bytes::run(SEEDS, WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        let program = match compile(&text, &env) {
            Ok(program) => program,
            Err(errors) => {
                assert!(!errors.to_string().is_empty());
                return;
            }
        };
        let activation = Activation::new()
            .with("object", Ok(Value::untyped(&object)))
            .with("self", Value::typed(&own, &schema));
        let mut budget = Budget::new(budget::PER_REQUEST);
        if let Ok(value) = program.evaluate(&activation, &mut budget) {
            let _ = (format!("{value:?}").len(), value.to_json().is_ok());
        }
    });
}

/// What nests as deep as a text may be long.
#[test]
fn depth_is_refused_or_survived() {
    let env = Env::new().with("object", Type::Dyn);
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{'a': ", "1", "}"),
        ("!", "true", ""),
        ("-", "1", ""),
        ("true ? ", "1", " : 2"),
        ("object.a", "", ""),
        ("[1].map(x, ", "1", ")"),
        ("object[", "1", "]"),
        ("1 + ", "1", ""),
        ("true && ", "true", ""),
        ("size([", "1", "])"),
    ] {
        for times in [10, 200, 5000] {
            let text = format!("{}{middle}{}", open.repeat(times), close.repeat(times));
            if let Ok(program) = compile(&text, &env) {
                let object = json!({});
                let activation = Activation::new().with("object", Ok(Value::untyped(&object)));
                let _ = program.evaluate(&activation, &mut Budget::new(budget::PER_REQUEST));
            }
        }
    }
}

//! Rules of schemas: what is wrong with them, what they say, and that nothing an author writes does harm.

use knarr_cel::{
    Activation, Budget, Env, Type, Value, budget, compile,
    rules::{Reason, Validator, Violation, check},
};
use knarr_json::{Value as Json, json};
use proptest::prelude::*;

fn shown(issues: &[Violation]) -> Vec<String> {
    let line = |v: &Violation| {
        let value = v.shown.clone().or(v.value.as_ref().map(Json::to_string));
        let value = value.map_or(String::new(), |v| format!("{v}: "));
        format!("{}: {:?}: {value}{}", v.field, v.reason, v.detail)
    };
    issues.iter().map(line).collect()
}

#[test]
fn rules_are_refused() {
    let rule = |rule: &str| {
        json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"low": {"type": "integer"}, "label": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": rule}]}}})
    };
    let path = "s.properties[spec].x-kubernetes-validations[0].rule: Invalid: ";
    let value = |rule: &str| {
        format!(
            "{{\"Rule\":\"{rule}\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}}"
        )
    };
    for (text, escaped, detail) in [
        (
            "self.low <= self.hi",
            "self.low \\u003c= self.hi",
            "compilation failed: ERROR: <input>:1:17: undefined field 'hi'\n | self.low <= self.hi\n | ................^",
        ),
        (
            "self.low",
            "self.low",
            "cel expression must evaluate to a bool",
        ),
        (
            "self.low < self.label",
            "self.low \\u003c self.label",
            "compilation failed: ERROR: <input>:1:10: found no matching overload for '_<_' applied to '(int, string)'\n | self.low < self.label\n | .........^",
        ),
    ] {
        assert_eq!(
            shown(&check(&rule(text), "s", &[])),
            [format!("{path}{}: {detail}", value(escaped))]
        );
    }
    let costly = json!({"type": "object", "properties": {"names": {"type": "array", "items": {"type": "string"},
        "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, a != b))"}]}}});
    let issues = check(&costly, "s", &[]);
    assert_eq!(issues.len(), 3, "{issues:?}");
    assert!(issues[0].detail.contains("more than 100x"), "{issues:?}");
    assert_eq!(issues[1].reason, Reason::Forbidden);
    let bounded = json!({"type": "object", "properties": {"names": {"type": "array", "maxItems": 10,
        "items": {"type": "string", "maxLength": 10},
        "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, a != b))"}]}}});
    assert_eq!(check(&bounded, "s", &[]), []);
}

#[test]
fn costs_are_estimated_by_declared_sizes() {
    let schema = json!({"type": "object", "properties": {
        "list": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 20}},
        "text": {"type": "string", "maxLength": 100}, "n": {"type": "integer"}}});
    let schema = knarr_cel::Schema::new(&schema, false, "T");
    let env = Env::new().with_schema("self", &schema);
    for (expression, cost) in [
        ("self.n > 1", 3),
        ("self.n == 1", 2),
        ("has(self.n)", 1),
        ("self.text == 'abc'", 3),
        ("self.text.startsWith('ab')", 3),
        ("self.text.matches('^ab$')", 43),
        ("self.list.all(x, x != '')", 43),
        ("'abc' in self.list", 12),
        ("self.list.size() == 1", 4),
    ] {
        let program = compile(expression, &env).unwrap_or_else(|e| panic!("{expression}: {e}"));
        assert_eq!(program.cost().max, cost, "{expression}");
    }
}

#[test]
fn rules_are_applied() {
    let schema = json!({"type": "object", "x-kubernetes-validations": [
            {"rule": "self.metadata.name.startsWith('r-')", "message": "the name begins with r-"}],
        "properties": {"spec": {"type": "object",
            "x-kubernetes-validations": [
                {"rule": "!has(self.low) || self.low <= self.high", "message": "low is above high"},
                {"rule": "self.high < 100", "messageExpression": "'high is %d'.format([self.high])", "fieldPath": ".high"},
                {"rule": "self.high != 13", "reason": "FieldValueForbidden"},
                {"rule": "self.high / self.step > 0"},
                {"rule": "self.high >= oldSelf.high"},
            ],
            "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}, "step": {"type": "integer"},
                "word": {"type": "string", "x-kubernetes-validations": [{"rule": "self != 'bad'"}]},
                "points": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}},
                    "x-kubernetes-validations": [{"rule": "self.x > 0"}]}}}}}});
    let validator = Validator::new(&schema).expect("has rules");
    let object = |spec: Json| json!({"metadata": {"name": "r-a"}, "spec": spec});
    let run = |object: &Json, old: Option<&Json>| {
        let mut budget = Budget::new(budget::PER_REQUEST);
        let (errors, warnings) = validator.validate("", object, old, &mut budget);
        [shown(&errors), shown(&warnings)]
    };
    let none: [Vec<String>; 2] = Default::default();
    assert_eq!(
        run(&object(json!({"low": 1, "high": 2, "step": 1})), None),
        none
    );
    assert_eq!(
        run(&json!({"metadata": {"name": "x"}}), None)[0],
        ["<nil>: Invalid: the name begins with r-"]
    );
    let bad = object(
        json!({"low": 500, "high": 200, "step": 1, "word": "bad", "points": [{"x": 1}, {"x": 0}]}),
    );
    let said = [
        "spec: Invalid: low is above high",
        "spec.high: Invalid: high is 200",
        "spec.points[1]: Invalid: failed rule: self.x > 0",
        "spec.word: Invalid: \"bad\": failed rule: self != 'bad'",
    ];
    assert_eq!(run(&bad, None)[0], said);
    // What was wrong before may stay, with a warning.
    assert_eq!(
        run(&bad, Some(&bad)),
        [vec![], said.map(str::to_owned).to_vec()]
    );
    assert_eq!(
        run(&object(json!({"high": 13, "step": 0})), None)[0],
        [
            "spec: Forbidden: failed rule: self.high != 13",
            "spec: Invalid: \"object\": division by zero evaluating rule: self.high / self.step > 0",
        ]
    );
    let (old, new) = (
        object(json!({"high": 9, "step": 1})),
        object(json!({"high": 8, "step": 1})),
    );
    assert_eq!(
        run(&new, Some(&old))[0],
        ["spec: Invalid: failed rule: self.high >= oldSelf.high"]
    );
}

fn evaluate(expression: &str) -> Option<String> {
    let env = Env::new().with("object", Type::Dyn).with_mutation();
    let program = compile(expression, &env).ok()?;
    let object = json!({"a": [1, 2, {"b": "c"}], "s": "text", "n": 1.5});
    let activation = Activation::new().with("object", Ok(Value::untyped(&object)));
    let mut budget = Budget::new(budget::PER_REQUEST);
    let answer = program.evaluate(&activation, &mut budget);
    Some(answer.map_or_else(|e| e.to_string(), |v| format!("{v:?}")))
}

#[test]
fn hostile_expressions_end_in_an_error() {
    let nested =
        |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    for n in [10, 100, 249, 300, 5000, 30000] {
        for (open, close) in [
            ("(", ")"),
            ("[", "]"),
            ("{'a': ", "}"),
            ("size(", ")"),
            ("-(", ")"),
            ("!(", ")"),
        ] {
            let _ = evaluate(&nested(open, close, n));
        }
        let _ = evaluate(&format!("1{}", " + 1".repeat(n)));
        let _ = evaluate(&format!("true{}", " && true".repeat(n)));
        let _ = evaluate(&format!("object{}", ".a".repeat(n)));
        let _ = evaluate(&format!("{}1", "true ? 1 : ".repeat(n)));
        let _ = evaluate(&"(".repeat(n));
        let _ = evaluate(&"[1].map(x, ".repeat(n));
        let _ = evaluate(&format!("{}1{}", "[1].map(x, ".repeat(n), ")".repeat(n)));
    }
    let limit = Some("operation cancelled: actual cost limit exceeded".to_owned());
    let many = "lists.range(100000)";
    assert_eq!(
        evaluate(&format!("{many}.all(x, {many}.all(y, x != -y - 1))")),
        limit
    );
    let doubled = format!(
        "lists.range(100).map(x, 'aaaaaaaaaa'.replace('', '{}'))",
        "x".repeat(5000)
    );
    assert!(evaluate(&doubled).is_some());
    assert_eq!(
        evaluate("9223372036854775807 * 2"),
        Some("integer overflow".to_owned())
    );
    assert_eq!(
        evaluate("-9223372036854775808 / -1"),
        Some("integer overflow".to_owned())
    );
    assert_eq!(
        evaluate("-9223372036854775808 % -1"),
        Some("integer overflow".to_owned())
    );
    let _ = evaluate("duration('-9223372036854775808ns') - duration('1ns')");
    let _ = evaluate("timestamp(9223372036854775807)");
    let _ = evaluate("timestamp('9999-12-31T23:59:59Z') + duration('24h')");
    let _ = evaluate("'%.999999999f'.format([1.0])");
    let _ = evaluate("[1].flatten(9223372036854775807)");
    let _ = evaluate("'a'.substring(9223372036854775807)");
    let _ = evaluate("'aé'.lastIndexOf('é', 1)");
}

/// Pieces that expressions are made of, so that random ones get past the parser now and then.
const PIECES: [&str; 58] = [
    "object",
    ".a",
    ".s",
    ".n",
    "[0]",
    "[?1]",
    ".?a",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    "+",
    "-",
    "*",
    "/",
    "%",
    "<",
    "==",
    "!=",
    "&&",
    "||",
    "!",
    "in",
    "1",
    "2u",
    "1.5",
    "'x'",
    "b'y'",
    "true",
    "null",
    "has(object.a)",
    ".all(x, ",
    ".map(x, x)",
    ".exists_one(i, v, v == 1)",
    ".size()",
    ".matches('a')",
    "duration('1s')",
    "timestamp(1)",
    "quantity('1Ki')",
    "ip('::1')",
    "x",
    "'%s'.format([1])",
    ".orValue(1)",
    "optional.of(1)",
    "Object{a: 1}",
    "JSONPatch{op: 'x'}",
    "'é'",
    ".charAt(0)",
    ".split('')",
    ".sort()",
    "semver('1.0.0')",
    ".reverse()",
    " ",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn pieces_never_panic(pieces in prop::collection::vec(0..PIECES.len(), 0..24)) {
        let text: String = pieces.iter().map(|i| PIECES[*i]).collect();
        let _ = evaluate(&text);
    }

    #[test]
    fn texts_never_panic(text in "\\PC{0,60}") {
        let _ = evaluate(&text);
    }

    #[test]
    fn bytes_never_panic(text in prop::collection::vec(prop::sample::select(b"'\"\\\\`xXuU0123ab.rRbB()[]{}?:+-*/%<>=!&|, \n\r\t".to_vec()), 0..40)) {
        let text: String = text.into_iter().map(char::from).collect();
        let _ = evaluate(&text);
    }

    #[test]
    fn regular_expressions_never_panic(pattern in "[\\[\\](){}*+?|^$\\\\.a-c0-9dwsQEpP:,-]{0,20}") {
        let quoted = pattern.replace('\\', "\\\\").replace('\'', "\\'");
        let _ = evaluate(&format!("'abc'.matches('{quoted}')"));
    }
}

//! Expressions and what they give, in the words of the original.

use knarr_cel::{Activation, Budget, Env, Schema, Type, Value, budget, compile};
use knarr_json::{Value as Json, json};

/// What an expression gives, or what is wrong with it.
fn run(expression: &str, object: &Json) -> String {
    let env = Env::new().with("object", Type::Dyn).with_mutation();
    let program = match compile(expression, &env) {
        Ok(program) => program,
        Err(errors) => return format!("{errors}"),
    };
    let activation = Activation::new().with("object", Ok(Value::untyped(object)));
    let mut budget = Budget::new(budget::PER_REQUEST);
    match program.evaluate(&activation, &mut budget) {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("error: {error}"),
    }
}

fn table(cases: &[(&str, &str)]) {
    let object = json!({
        "metadata": {"name": "web", "labels": {"app": "web", "a.b/c": "x"}},
        "spec": {"replicas": 3, "ratio": 0.5, "items": [{"name": "a", "n": 1}, {"name": "b", "n": 2}], "none": null},
        "namespace": "reserved",
    });
    let mut wrong = Vec::new();
    for (expression, expected) in cases {
        let got = run(expression, &object);
        if got != *expected {
            wrong.push(format!("{expression}\n   got {got}\n  want {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn arithmetic_and_comparison() {
    table(&[
        ("1 + 2 * 3 - 4 / 2 % 3", "5"),
        ("-(1 + 2)", "-3"),
        ("--1", "1"),
        ("1 < 2 && 2.5 >= 2 || false", "true"),
        ("1u + 2u", "3u"),
        ("dyn(1) == 1.0", "true"),
        ("1 < 1.5", "true"),
        ("'a' + 'b' == 'ab'", "true"),
        ("b'ab' == bytes('ab')", "true"),
        ("[1, 2] + [3]", "[1, 2, 3]"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("0u - 1u", "error: unsigned integer overflow"),
        ("1 / 0", "error: division by zero"),
        ("1 % 0", "error: modulus by zero"),
        ("1 / 0 == 1 || true", "true"),
        ("false && 1 / 0 == 1", "false"),
        ("true ? 1 : 2", "1"),
        ("0x1F", "31"),
        ("-0x1F", "-31"),
        ("1e3", "1000.0"),
        (".5", "0.5"),
        ("'\\u00e4\\x41\\101\\n'", "\"äAA\\n\""),
        ("r'\\n'", "\"\\\\n\""),
        ("\"\"\"a\nb\"\"\"", "\"a\\nb\""),
        ("null == null", "true"),
        ("{'a': 1}['a']", "1"),
        ("{'a': 1, 'b': 2}.size()", "2"),
        ("{1: 'a'}[dyn(1u)]", "\"a\""),
        ("[1, 2][5]", "error: index out of bounds: 5"),
        ("{'a': 1}['b']", "error: no such key: b"),
        ("object.spec.absent", "error: no such key: absent"),
        ("object.spec.replicas + 1", "4"),
        ("object.spec.replicas < 'a'", "error: no such overload"),
        ("object.spec.ratio", "0.5"),
        ("object['namespace']", "\"reserved\""),
        ("object.metadata.labels['a.b/c']", "\"x\""),
        ("object.metadata.labels.`a.b/c`", "\"x\""),
        ("has(object.spec) && !has(object.absent)", "true"),
        ("'app' in object.metadata.labels", "true"),
        ("2 in [1, 2]", "true"),
        ("object.spec.none == null", "true"),
        (
            "type(1) == int && type([]) == list && type(1) != uint",
            "true",
        ),
        ("type(ip('::1')) == net.IP", "true"),
        ("// a comment\n1 // another", "1"),
        ("matches('abc', '^a')", "true"),
        ("dyn(1) == 'a'", "false"),
        ("{'a': 1, 'a': 2}", "error: Failed with repeated key: a"),
    ]);
}

#[test]
fn macros() {
    table(&[
        ("[1, 2, 3].all(x, x > 0)", "true"),
        ("[1, 2, 3].exists(x, x > 2)", "true"),
        ("[1, 2, 3].exists_one(x, x > 2)", "true"),
        ("[1, 2, 3].map(x, x * 2)", "[2, 4, 6]"),
        ("[1, 2, 3].map(x, x > 1, x * 2)", "[4, 6]"),
        ("[1, 2, 3].filter(x, x > 1)", "[2, 3]"),
        ("[0, 1].exists(x, 1 / x == 1)", "true"),
        ("[0, 2].all(x, 2 / x == 1)", "error: division by zero"),
        ("{'a': 1, 'b': 2}.all(k, k < 'c')", "true"),
        ("{'a': 1}.map(k, k)", "[\"a\"]"),
        (
            "object.spec.items.filter(i, i.n > 1).map(i, i.name)",
            "[\"b\"]",
        ),
        ("[1, 2].map(x, [1, 2].map(y, x * y))", "[[1, 2], [2, 4]]"),
        ("[1, 2].all(i, v, i < v)", "true"),
        ("{'a': 1}.exists(k, v, k == 'a' && v == 1)", "true"),
        ("[5, 6].transformList(i, v, i + v)", "[5, 7]"),
        ("[5, 6].transformList(i, v, i > 0, i + v)", "[7]"),
        ("{'a': 1}.transformMap(k, v, v + 1)", "{\"a\": 2}"),
        (
            "['a', 'b'].transformMapEntry(i, v, {v: i})",
            "{\"a\": 0, \"b\": 1}",
        ),
        ("[3, 1, 2].sortBy(x, -x)", "[3, 2, 1]"),
        ("optional.of(1).optMap(x, x + 1)", "optional(2)"),
        ("optional.none().optMap(x, x + 1)", "optional.none()"),
        ("has(object.spec.items[0].name)", "true"),
    ]);
}

#[test]
fn optional_values() {
    table(&[
        ("object.?spec.?replicas.orValue(1)", "3"),
        ("object.?absent.?replicas.orValue(1)", "1"),
        ("object.?absent", "optional.none()"),
        ("object.?spec.replicas", "optional(3)"),
        ("[1][?0]", "optional(1)"),
        ("[1][?1].hasValue()", "false"),
        ("{'a': 1}[?'a'].value()", "1"),
        (
            "optional.none().value()",
            "error: optional.none() dereference",
        ),
        ("optional.of(1).or(optional.of(2)).value()", "1"),
        ("[?optional.none(), ?optional.of(1), 2]", "[1, 2]"),
        ("{?'a': optional.none(), 'b': 1}", "{\"b\": 1}"),
        ("optional.ofNonZeroValue('').hasValue()", "false"),
        ("[].first().hasValue()", "false"),
        ("[1, 2].last().value()", "2"),
    ]);
}

#[test]
fn strings_and_lists() {
    table(&[
        ("'Äbc'.size()", "3"),
        ("'abc'.charAt(1)", "\"b\""),
        ("'abc'.charAt(4)", "error: index out of range: 4"),
        ("'abcabc'.indexOf('c', 3)", "5"),
        ("'abcabc'.lastIndexOf('a')", "3"),
        ("'a,b,c'.split(',')", "[\"a\", \"b\", \"c\"]"),
        ("'a,b,c'.split(',', 2)", "[\"a\", \"b,c\"]"),
        ("['a', 'b'].join('-')", "\"a-b\""),
        ("'ABC'.lowerAscii() + 'd'.upperAscii()", "\"abcD\""),
        ("' a '.trim()", "\"a\""),
        ("'aaa'.replace('a', 'b', 2)", "\"bba\""),
        ("'hello'.substring(1, 3)", "\"el\""),
        (
            "'hello'.substring(3, 1)",
            "error: invalid substring range. start: 3, end: 1",
        ),
        (
            "'%s has %d of %.2f, %x'.format([dyn('a'), dyn(3), dyn(1.5), dyn(255)])",
            "\"a has 3 of 1.50, ff\"",
        ),
        (
            "'%s'.format([[dyn(1), dyn('a'), dyn({'k': true})]])",
            "\"[1, a, {k: true}]\"",
        ),
        (
            "'%d'.format(['a'])",
            "error: error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("strings.quote('a\"b')", "\"\\\"a\\\\\\\"b\\\"\""),
        ("'abc 123'.find('[0-9]+')", "\"123\""),
        ("'a1b22'.findAll('[0-9]+')", "[\"1\", \"22\"]"),
        ("'a1b22'.findAll('[0-9]+', 1)", "[\"1\"]"),
        ("[1, 2, 2].isSorted()", "true"),
        ("[1, 2].sum()", "3"),
        ("[1.5, 2.5].sum()", "4.0"),
        ("[3, 1].min() + [3, 1].max()", "4"),
        ("[].min() == 1", "error: min called on empty list"),
        ("[1, 2, 1].indexOf(1)", "0"),
        ("[1, 2, 1].lastIndexOf(1)", "2"),
        ("[1, 2, 3].slice(1, 3)", "[2, 3]"),
        ("[[1], [2, 3]].flatten()", "[1, 2, 3]"),
        ("lists.range(3)", "[0, 1, 2]"),
        ("[1, 2, 1].distinct()", "[1, 2]"),
        ("[1, 2].reverse()", "[2, 1]"),
        ("['b', 'a'].sort()", "[\"a\", \"b\"]"),
        ("sets.contains([1, 2], [2])", "true"),
        ("sets.equivalent([1, 2], [2, 1, 1])", "true"),
        ("sets.intersects([1], [2])", "false"),
    ]);
}

#[test]
fn kubernetes_libraries() {
    table(&[
        ("quantity('1.5Gi').isGreaterThan(quantity('1Gi'))", "true"),
        ("quantity('50k').add(20).asInteger()", "50020"),
        ("quantity('500m').asApproximateFloat()", "0.5"),
        ("quantity('1k') == quantity('1000')", "true"),
        ("isQuantity('x')", "false"),
        ("quantity('1.5').isInteger()", "false"),
        ("quantity('1').compareTo(quantity('2'))", "-1"),
        ("ip('192.168.0.1').family()", "4"),
        ("ip('::1').isLoopback()", "true"),
        ("isIP('::ffff:1.2.3.4')", "false"),
        ("ip.isCanonical('2001:DB8::1')", "false"),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", "true"),
        (
            "cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16'))",
            "true",
        ),
        ("cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')", "true"),
        ("cidr('10.1.2.3/8').ip() == ip('10.1.2.3')", "true"),
        ("string(cidr('10.1.2.3/8').masked())", "\"10.0.0.0/8\""),
        ("isCIDR('10.0.0.0/33')", "false"),
        (
            "url('https://user@example.com:80/a b?x=1&x=2').getHost()",
            "\"example.com:80\"",
        ),
        ("url('https://example.com:80/').getPort()", "\"80\""),
        ("url('https://[::1]:80/').getHostname()", "\"::1\""),
        (
            "url('https://example.com/a?x=1&x=2&y=%20').getQuery()",
            "{\"x\": [\"1\", \"2\"], \"y\": [\" \"]}",
        ),
        ("url('/path').getEscapedPath()", "\"/path\""),
        ("isURL('not a url')", "false"),
        ("isURL('https://a:b/')", "false"),
        ("semver('1.2.3').isLessThan(semver('1.10.0'))", "true"),
        ("semver('1.0.0-alpha').compareTo(semver('1.0.0'))", "-1"),
        ("isSemver('v1.0')", "false"),
        ("isSemver('v1.0', true)", "true"),
        ("semver('v1.02', true).minor()", "2"),
        (
            "format.dns1123Label().validate('my-name').hasValue()",
            "false",
        ),
        ("format.dns1123Label().validate('My').value().size()", "1"),
        ("format.named('labelValue').hasValue()", "true"),
        (
            "format.uuid().validate('x').value()",
            "[\"does not match the UUID format\"]",
        ),
        ("timestamp('2023-01-02T03:04:05Z').getFullYear()", "2023"),
        ("timestamp('2023-01-02T03:04:05Z').getDayOfWeek()", "1"),
        ("timestamp('2023-01-02T23:04:05Z').getHours('+02:00')", "1"),
        (
            "string(timestamp('2023-01-02T03:04:05.5Z') + duration('1h'))",
            "\"2023-01-02T04:04:05.5Z\"",
        ),
        ("string(duration('1h1.5s'))", "\"3601.5s\""),
        ("duration('90m').getHours()", "1"),
        (
            "timestamp('2023-01-02T00:00:00Z') - timestamp('2023-01-01T00:00:00Z') == duration('24h')",
            "true",
        ),
        ("int('12') + int(3.9) + int(2u)", "17"),
        (
            "int('x')",
            "error: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        ("string(1.0) + string(1.5) + string(true)", "\"11.5true\""),
        ("jsonpatch.escapeKey('a/b~c')", "\"a~1b~0c\""),
        (
            "Object{spec: Object.spec{replicas: 1}}",
            "{\"spec\": {\"replicas\": 1}}",
        ),
        (
            "[JSONPatch{op: 'add', path: '/a', value: 1}]",
            "[{\"op\": \"add\", \"path\": \"/a\", \"value\": 1}]",
        ),
    ]);
}

#[test]
fn mistakes_are_told_as_the_original_tells_them() {
    let expecting = "expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
    let cases = [
        ("nothing", "ERROR: <input>:1:1: undeclared reference to 'nothing' (in container '')\n | nothing\n | ^".to_owned()),
        ("1 + 'a'", "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^".to_owned()),
        ("1 && true", "ERROR: <input>:1:1: expected type 'bool' but found 'int'\n | 1 && true\n | ^".to_owned()),
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^".to_owned()),
        ("'a'.foo()", "ERROR: <input>:1:8: undeclared reference to 'foo' (in container '')\n | 'a'.foo()\n | .......^".to_owned()),
        ("1.size()", "ERROR: <input>:1:7: found no matching overload for 'size' applied to 'int.()'\n | 1.size()\n | ......^".to_owned()),
        ("'a'.b", "ERROR: <input>:1:4: type 'string' does not support field selection\n | 'a'.b\n | ...^".to_owned()),
        ("for", "ERROR: <input>:1:1: reserved identifier: for\n | for\n | ^".to_owned()),
        ("has(1)", "ERROR: <input>:1:5: invalid argument to has() macro\n | has(1)\n | ....^".to_owned()),
        ("[1].all(1, true)", "ERROR: <input>:1:9: argument must be a simple name\n | [1].all(1, true)\n | ........^".to_owned()),
        ("1.all(x, true)", "ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | 1.all(x, true)\n | ^".to_owned()),
        ("'a'.matches('(')", "ERROR: <input>:1:13: invalid matches argument\n | 'a'.matches('(')\n | ............^".to_owned()),
        ("duration('x')", "ERROR: <input>:1:10: invalid duration argument\n | duration('x')\n | .........^".to_owned()),
        ("1 +", format!("ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' {expecting}\n | 1 +\n | ...^")),
        ("1 + +", format!("ERROR: <input>:1:5: Syntax error: mismatched input '+' {expecting}\n | 1 + +\n | ....^\nERROR: <input>:1:6: Syntax error: mismatched input '<EOF>' {expecting}\n | 1 + +\n | .....^")),
        ("a b", "ERROR: <input>:1:3: Syntax error: extraneous input 'b' expecting <EOF>\n | a b\n | ..^".to_owned()),
        ("*@a | b", format!("ERROR: <input>:1:1: Syntax error: extraneous input '*' {expecting}\n | *@a | b\n | ^\nERROR: <input>:1:2: Syntax error: token recognition error at: '@'\n | *@a | b\n | .^\nERROR: <input>:1:5: Syntax error: token recognition error at: '| '\n | *@a | b\n | ....^\nERROR: <input>:1:7: Syntax error: extraneous input 'b' expecting <EOF>\n | *@a | b\n | ......^")),
        ("(1", "ERROR: <input>:1:3: Syntax error: missing ')' at '<EOF>'\n | (1\n | ..^".to_owned()),
        ("size(object", "ERROR: <input>:1:12: Syntax error: missing ')' at '<EOF>'\n | size(object\n | ...........^".to_owned()),
        ("object.", "ERROR: <input>:1:8: Syntax error: no viable alternative at input '.'\n | object.\n | .......^".to_owned()),
        ("object.true", "ERROR: <input>:1:8: Syntax error: mismatched input 'true' expecting IDENTIFIER\n | object.true\n | .......^".to_owned()),
        ("", format!("ERROR: <input>:1:1: Syntax error: mismatched input '<EOF>' {expecting}\n | \n | ^")),
        ("'abc", format!("ERROR: <input>:1:1: Syntax error: token recognition error at: ''abc'\n | 'abc\n | ^\nERROR: <input>:1:5: Syntax error: mismatched input '<EOF>' {expecting}\n | 'abc\n | ....^")),
        ("true ? 1", "ERROR: <input>:1:9: Syntax error: mismatched input '<EOF>' expecting ':'\n | true ? 1\n | ........^".to_owned()),
        ("f((1", "ERROR: <input>:1:5: Syntax error: mismatched input '<EOF>' expecting ')'\n | f((1\n | ....^".to_owned()),
        ("[1", "ERROR: <input>:1:3: Syntax error: mismatched input '<EOF>' expecting {']', ','}\n | [1\n | ..^".to_owned()),
        ("9223372036854775808", "ERROR: <input>:1:1: invalid int literal\n | 9223372036854775808\n | ^".to_owned()),
        ("a.\n  b + 1u", "ERROR: <input>:1:1: undeclared reference to 'a' (in container '')\n | a.\n | ^".to_owned()),
        ("Foo{a: 1}", "ERROR: <input>:1:4: undeclared reference to 'Foo' (in container '')\n | Foo{a: 1}\n | ...^".to_owned()),
    ];
    let cases: Vec<(&str, &str)> = cases.iter().map(|(e, m)| (*e, m.as_str())).collect();
    table(&cases);
}

#[test]
fn schemas_say_what_values_are() {
    let schema = json!({"type": "object", "properties": {
        "n": {"type": "number"}, "i": {"type": "integer"}, "when": {"type": "string", "format": "date-time"},
        "for": {"type": "string"}, "a-b": {"type": "string"}, "port": {"x-kubernetes-int-or-string": true},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}},
        "maybe": {"type": "string", "nullable": true}, "data": {"type": "string", "format": "byte"},
        "wait": {"type": "string", "format": "duration"},
        "embedded": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
    }});
    let schema = Schema::new(&schema, false, "T");
    let object = json!({"n": 1, "i": 2, "when": "2023-01-02T03:04:05Z", "for": "x", "a-b": "y", "port": "http",
        "set": ["a", "b"], "map": [{"k": "a", "v": 1}, {"k": "b", "v": 2}], "maybe": null, "data": "YWI=", "wait": "1h",
        "embedded": {"kind": "Pod", "metadata": {"name": "e"}}});
    let env = Env::new().with_schema("self", &schema);
    for (expression, expected) in [
        ("self.n / 2.0 == 0.5", "true"),
        ("self.i / 2", "1"),
        ("self.when.getFullYear()", "2023"),
        ("self.__for__ + self.a__dash__b", "\"xy\""),
        ("type(self.port) == string && self.port == 'http'", "true"),
        ("self.set == ['b', 'a']", "true"),
        ("self.set + ['b', 'c']", "[\"a\", \"b\", \"c\"]"),
        ("(self.map + self.map).map(m, m.v)", "[1, 2]"),
        ("self.maybe == null", "no"),
        ("self.data == b'ab'", "true"),
        ("self.wait.getMinutes()", "60"),
        ("self.embedded.metadata.name", "\"e\""),
        ("self.absent", "no"),
        ("has(self.i) && !has(self.embedded.apiVersion)", "true"),
    ] {
        let Ok(program) = compile(expression, &env) else {
            assert_eq!(expected, "no", "{expression}");
            continue;
        };
        let activation = Activation::new().with("self", Value::typed(&object, &schema));
        let value = program.evaluate(&activation, &mut Budget::new(budget::PER_REQUEST));
        let shown = value.map_or_else(|e| format!("error: {e}"), |v| format!("{v:?}"));
        assert_eq!(shown, expected, "{expression}");
    }
}

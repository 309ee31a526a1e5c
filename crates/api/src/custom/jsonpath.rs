//! JSON paths of printer columns, as `kubectl -o jsonpath` reads them: fields, elements, slices, filters, `..` and `*`.

use knarr_json::Value;

/// A parsed path. Only the values it finds are of interest, not where they are.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    /// `..`: the value and everything below it.
    Recursive,
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    Union(Vec<JsonPath>),
    Filter(Box<Operand>, Option<(Operator, Operand)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(JsonPath),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// Paths are nested by filters and unions; deeper ones are refused.
const DEEPEST: usize = 16;

/// Values that a look may come past. Each `..` multiplies what the one before it found.
const MOST: usize = 250_000;

impl JsonPath {
    /// None for text that is no path.
    pub fn parse(text: &str) -> Option<Self> {
        parse(text, 0)
    }

    /// The values that the path leads to; none when it leads past too many others.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        self.look(value, &mut Look(MOST)).unwrap_or_default()
    }

    fn look<'v>(&self, value: &'v Value, look: &mut Look) -> Option<Vec<&'v Value>> {
        let mut found = vec![value];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.from(value, look, &mut next)?;
            }
            found = next;
            if found.is_empty() {
                break;
            }
        }
        Some(found)
    }
}

/// How many values a look may still come past.
struct Look(usize);

impl Look {
    fn past<T>(&mut self, value: T) -> Option<T> {
        self.0 = self.0.checked_sub(1)?;
        Some(value)
    }
}

fn parse(text: &str, depth: usize) -> Option<JsonPath> {
    if depth > DEEPEST {
        return None;
    }
    let mut steps = Vec::new();
    let mut rest = text.strip_prefix(['$', '@']).unwrap_or(text);
    while !rest.is_empty() {
        rest = if let Some(after) = rest.strip_prefix("..") {
            steps.push(Step::Recursive);
            if after.starts_with(['[', '.']) || after.is_empty() {
                after
            } else {
                field(after, &mut steps)
            }
        } else if let Some(after) = rest.strip_prefix('.') {
            if after.starts_with('[') {
                after
            } else {
                field(after, &mut steps)
            }
        } else if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = bracket(after)?;
            steps.push(subscript(inside, depth)?);
            after
        } else {
            field(rest, &mut steps)
        };
    }
    Some(JsonPath(steps))
}

/// Reads a field's name; a backslash takes away the meaning of what follows.
fn field<'t>(text: &'t str, steps: &mut Vec<Step>) -> &'t str {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => {
                end = i;
                break;
            }
            c => name.push(c),
        }
    }
    match name.as_str() {
        "" => {}
        "*" => steps.push(Step::Wildcard),
        _ => steps.push(Step::Field(name)),
    }
    &text[end..]
}

/// What stands between the bracket that was opened and its end, and what follows.
fn bracket(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut quote) = (1, None);
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some((&text[..i], &text[i + 1..]));
                }
            }
            _ => {}
        }
    }
    None
}

fn subscript(inside: &str, depth: usize) -> Option<Step> {
    let inside = inside.trim();
    if inside == "*" {
        return Some(Step::Wildcard);
    }
    if let Some(filter) = inside.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        return condition(filter, depth);
    }
    if let Some(name) = quoted(inside) {
        return Some(Step::Field(name.to_owned()));
    }
    if inside.contains(',') {
        let parts = inside
            .split(',')
            .map(|part| Some(JsonPath(vec![subscript(part, depth + 1)?])));
        return Some(Step::Union(parts.collect::<Option<_>>()?));
    }
    if !inside.contains(':') {
        return inside.parse().ok().map(Step::Index);
    }
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        text => text.parse::<i64>().ok().map(Some),
    };
    let parts: Vec<Option<i64>> = inside.split(':').map(number).collect::<Option<_>>()?;
    match parts[..] {
        [from, to] => Some(Step::Slice(from, to, 1)),
        [from, to, step] => Some(Step::Slice(from, to, step.unwrap_or(1).max(1))),
        _ => None,
    }
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"']
        .iter()
        .find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))
        .filter(|inner| !inner.contains(['\'', '"']))
}

fn condition(text: &str, depth: usize) -> Option<Step> {
    let operators = [
        ("==", Operator::Eq),
        ("!=", Operator::Ne),
        ("<=", Operator::Le),
        (">=", Operator::Ge),
        ("<", Operator::Lt),
        (">", Operator::Gt),
    ];
    let split = operators
        .iter()
        .find_map(|(sign, operator)| Some((text.split_once(sign)?, *operator)));
    match split {
        None => Some(Step::Filter(operand(text, depth)?.into(), None)),
        Some(((left, right), operator)) => Some(Step::Filter(
            operand(left, depth)?.into(),
            Some((operator, operand(right, depth)?)),
        )),
    }
}

fn operand(text: &str, depth: usize) -> Option<Operand> {
    let text = text.trim();
    if text.starts_with(['@', '$', '.']) {
        return parse(text, depth + 1).map(Operand::Path);
    }
    if let Some(text) = quoted(text) {
        return Some(Operand::Literal(text.into()));
    }
    match serde_json::from_str(text) {
        Ok(literal @ (Value::Bool(_) | Value::Number(_))) => Some(Operand::Literal(literal)),
        _ => None,
    }
}

impl Step {
    /// Adds what the step leads to; none when that is too much.
    fn from<'v>(&self, value: &'v Value, look: &mut Look, out: &mut Vec<&'v Value>) -> Option<()> {
        let add = |value| {
            out.push(look.past(value)?);
            Some(())
        };
        match self {
            Step::Field(name) => value.get(name.as_str()).into_iter().try_for_each(add),
            Step::Wildcard => children(value).into_iter().try_for_each(add),
            Step::Recursive => {
                let mut i = out.len();
                out.push(look.past(value)?);
                while let Some(value) = out.get(i).copied() {
                    for child in children(value) {
                        out.push(look.past(child)?);
                    }
                    i += 1;
                }
                Some(())
            }
            Step::Index(i) => {
                let list = value.items();
                let found = list.get(position(*i, list.len()));
                found.into_iter().try_for_each(add)
            }
            Step::Slice(from, to, step) => {
                let list = value.items();
                let from = from.map_or(0, |i| position(i, list.len()));
                let to = to
                    .map_or(list.len(), |i| position(i, list.len()))
                    .min(list.len());
                let step = usize::try_from(*step).unwrap_or(1);
                let found = list.get(from..to).unwrap_or_default();
                found.iter().step_by(step).try_for_each(add)
            }
            Step::Union(paths) => {
                for path in paths {
                    out.extend(path.look(value, look)?);
                }
                Some(())
            }
            Step::Filter(left, right) => {
                for item in value.items() {
                    if holds(look.past(item)?, left, right.as_ref(), look)? {
                        out.push(item);
                    }
                }
                Some(())
            }
        }
    }
}

/// An index, counted from the end when it is negative; out of any list when it is before the start.
fn position(i: i64, length: usize) -> usize {
    let length_signed = i64::try_from(length).unwrap_or(i64::MAX);
    let i = if i < 0 { i + length_signed } else { i };
    usize::try_from(i).unwrap_or(usize::MAX)
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

/// Whether a filter's condition is true of an item; none when that takes too long to find out.
fn holds(
    item: &Value,
    left: &Operand,
    right: Option<&(Operator, Operand)>,
    look: &mut Look,
) -> Option<bool> {
    let mut value = |operand: &Operand| match operand {
        Operand::Path(path) => Some(path.look(item, look)?.first().map(|v| (*v).clone())),
        Operand::Literal(literal) => Some(Some(literal.clone())),
    };
    let left = value(left)?;
    let Some((operator, right)) = right else {
        return Some(left.is_some());
    };
    let (Some(left), Some(right)) = (left, value(right)?) else {
        return Some(false);
    };
    let order = match (&left, &right) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a
            .as_f64()
            .zip(b.as_f64())
            .and_then(|(a, b)| a.partial_cmp(&b)),
        _ => None,
    };
    Some(order.is_some_and(|order| match operator {
        Operator::Eq => order.is_eq(),
        Operator::Ne => order.is_ne(),
        Operator::Lt => order.is_lt(),
        Operator::Le => order.is_le(),
        Operator::Gt => order.is_gt(),
        Operator::Ge => order.is_ge(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({"metadata": {"labels": {"example.com/owner": "kim"}}, "spec": {
            "stops": [{"name": "dock"}, {"name": "mill"}],
            "checks": [{"type": "Brakes", "value": "no"}, {"type": "Ready", "value": "yes"}], "n": 3}});
        for (path, want) in [
            (".spec.n", json!([3])),
            (".spec.stops[0].name", json!(["dock"])),
            (".spec.stops[-1].name", json!(["mill"])),
            (".spec.stops[*].name", json!(["dock", "mill"])),
            (".spec.stops[0:1].name", json!(["dock"])),
            (".spec.checks[?(@.type==\"Ready\")].value", json!(["yes"])),
            (".spec.checks[?(@.value)].type", json!(["Brakes", "Ready"])),
            (r".metadata.labels.example\.com/owner", json!(["kim"])),
            (".metadata.labels['example.com/owner']", json!(["kim"])),
            ("..name", json!(["dock", "mill"])),
            (".spec.absent.more", json!([])),
        ] {
            let path = JsonPath::parse(path).unwrap();
            assert_eq!(json!(path.find(&object)), want, "{path:?}");
        }
        assert_eq!(JsonPath::parse(".spec.list[0"), None);
    }

    /// Each `..` finds all below all that the one before it found.
    #[test]
    fn paths_that_find_the_same_again_and_again_find_nothing() {
        let object = json!({"a": [{"b": 1}, {"b": [2, {"c": null}]}], "d": {"f": "g"}});
        for text in [
            "..".repeat(200),
            "..*".repeat(200),
            format!(".a[?(@{}==1)]", "..".repeat(200)),
            format!("['a','d']{}", "..".repeat(200)),
        ] {
            let path = JsonPath::parse(&text).unwrap();
            assert!(path.find(&object).is_empty(), "{text}");
        }
        let many: Value = (0..100_000).map(|n| json!({"n": n})).collect();
        let path = JsonPath::parse("[*].n").unwrap();
        assert_eq!(path.find(&many).len(), 100_000);
    }
}

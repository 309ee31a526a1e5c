//! JSON text into an object of a given type, with the semantics of the original's decoder (`sigs.k8s.io/json`): unknown
//! and repeated fields reported, Go's type errors, and the result as a Go server would print it again.

use std::{borrow::Cow, collections::HashSet};

use ::base64::{Engine, engine::general_purpose::STANDARD};
use knarr_json::{Array, Map, Text, Value};

use super::{
    base64,
    scan::{Next, Scanner, SyntaxError},
    time, yaml,
    zero::{emitted, empty, is_zero, zero},
};
use crate::{
    encode::protobuf::{self as encode, Choice},
    quantity::Quantity,
    schema::{Field, Presence, Struct, Type},
};

/// An object as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    pub value: Value,
    /// `unknown field "spec.foo"`, `duplicate field "metadata.name"`: at most 100, each once, in the order met.
    pub strict: Vec<String>,
}

/// Reads an object. The error is Go's message.
///
/// # Errors
/// Syntax errors, values of the wrong type, malformed quantities, times and base64.
pub fn read(schema: &Struct, text: &[u8]) -> Result<Read, String> {
    let mut reader = Reader::new(text);
    let value = reader.top(schema)?;
    reader.done(value)
}

/// Reads a list of objects of one type; `go` is what Go calls that type.
///
/// # Errors
/// As [`read`].
pub fn read_list(schema: &Struct, go: &str, text: &[u8]) -> Result<Read, String> {
    let mut reader = Reader::new(text);
    let value = match reader.scan.peek()? {
        Next::Array => {
            let mut out = Array::new();
            reader.scan.enter()?;
            while reader.scan.element(out.is_empty())? {
                reader.path.push(Step::Index(out.len()));
                let next = reader.scan.peek()?;
                if next == Next::Object {
                    out.push(Value::Object(reader.object(schema, Map::new())?));
                } else {
                    reader.scan.skip()?;
                    reader.save(|r| r.mismatch(next.word(), go));
                    out.push(Value::Null);
                }
                reader.path.pop();
            }
            Value::Array(out)
        }
        next => {
            reader.scan.skip()?;
            if next != Next::Null {
                reader.save(|r| r.mismatch(next.word(), &format!("[]{go}")));
            }
            Value::Null
        }
    };
    reader.done(value)
}

/// Reads JSON of any type, reporting repeated fields.
///
/// # Errors
/// Syntax errors.
pub fn read_any(text: &[u8]) -> Result<Read, String> {
    let mut reader = Reader::new(text);
    let value = reader.any()?;
    reader.done(value)
}

const MAX_STRICT_ERRORS: usize = 100;
/// Structs in structs beyond this are refused: each takes a good part of a small stack.
const MAX_STRUCTS: u32 = 220;

enum Step<'a> {
    Field(&'a str),
    Key(Cow<'a, str>),
    Index(usize),
}

struct Reader<'a> {
    scan: Scanner<'a>,
    path: Vec<Step<'a>>,
    /// The struct whose field is being read.
    owner: Option<&'a Struct>,
    /// How many structs that one is in.
    depth: u32,
    /// Fields that were read of the objects that are being read, those of the innermost last; by their places.
    given: Vec<(usize, Value)>,
    strict: Vec<String>,
    /// The first type error; reading goes on behind it, as a later syntax or format error wins.
    saved: Option<String>,
}

impl From<SyntaxError> for String {
    fn from(error: SyntaxError) -> String {
        error.0
    }
}

type Result<T, E = String> = std::result::Result<T, E>;

impl<'a> Reader<'a> {
    fn new(text: &'a [u8]) -> Self {
        Reader {
            scan: Scanner::new(text),
            path: Vec::new(),
            owner: None,
            depth: 0,
            given: Vec::new(),
            strict: Vec::new(),
            saved: None,
        }
    }

    /// Checks that the text ends, and gives what was read unless a type was wrong.
    fn done(mut self, value: Value) -> Result<Read> {
        self.scan.end()?;
        match self.saved {
            Some(error) => Err(error),
            None => Ok(Read {
                value,
                strict: self.strict,
            }),
        }
    }

    /// A value of any type.
    fn any(&mut self) -> Result<Value> {
        match self.scan.peek()? {
            Next::Object => self.map(&Type::Any, Map::new(), true),
            Next::Array => self.list(&Type::Any, true),
            _ => Ok(self.scan.value()?),
        }
    }

    fn top(&mut self, schema: &'a Struct) -> Result<Value> {
        match self.scan.peek()? {
            Next::Object => Ok(Value::Object(self.object(schema, Map::new())?)),
            Next::Null => {
                self.scan.literal(Next::Null)?;
                Ok(Value::Object(empty(schema)))
            }
            next => {
                self.scan.skip()?;
                Err(self.mismatch(next.word(), &schema.go))
            }
        }
    }

    /// Reads an object over what the same field said before, when it is given twice.
    fn object(&mut self, schema: &'a Struct, before: Map) -> Result<Map> {
        let outside = self.owner;
        self.depth += 1;
        if self.depth > MAX_STRUCTS {
            return Err("exceeded max depth".into());
        }
        let start = self.given.len();
        let mut seen = Seen::default();
        let mut unknown = Map::new();
        for (key, value) in before {
            match schema.place(&key) {
                Some(i) => self.given.push((i, value)),
                None => drop(unknown.insert(key, value)),
            }
        }
        let mut first = true;
        self.scan.enter()?;
        while let Some(key) = self.scan.key(std::mem::take(&mut first))? {
            let Some(i) = schema.place(&key) else {
                if schema.preserve_unknown {
                    let value = self.scan.value()?;
                    unknown.insert(key, value);
                } else {
                    self.report("unknown field", &key);
                    self.scan.skip()?;
                }
                continue;
            };
            let field = &schema.fields[i];
            if !seen.insert(i) {
                self.report("duplicate field", &field.name);
            }
            self.owner = Some(schema);
            self.path.push(Step::Field(&field.name));
            let before = self.given[start..].iter().position(|(at, _)| *at == i);
            let before = before.map(|at| self.given.swap_remove(start + at).1);
            if let Some(value) = self.field(field, before)? {
                self.given.push((i, value));
            }
            self.path.pop();
        }
        self.owner = outside;
        self.depth -= 1;
        Ok(self.gathered(schema, start, unknown))
    }

    /// The object of the fields that were read since `start`, and of what Go emits anyway.
    fn gathered(&mut self, schema: &Struct, start: usize, mut unknown: Map) -> Map {
        let given = &mut self.given;
        for (i, field) in schema.filled() {
            if !given[start..].iter().any(|(at, _)| *at == i) {
                given.push((i, emitted(field)));
            }
        }
        // Fields are sorted by their names.
        given[start..].sort_unstable_by_key(|(i, _)| *i);
        let entries = given
            .drain(start..)
            .map(|(i, value)| (schema.fields[i].key(), value));
        if unknown.is_empty() {
            return Map::from_rising(entries);
        }
        unknown.extend(entries);
        unknown
    }

    /// Reads a field; `None` when Go would not emit what was read.
    fn field(&mut self, field: &'a Field, before: Option<Value>) -> Result<Option<Value>> {
        let verbatim = field.presence == Presence::Verbatim;
        if self.scan.peek()? == Next::Null {
            self.scan.literal(Next::Null)?;
            return Ok(verbatim.then_some(Value::Null));
        }
        let choice = self.owner.and_then(|o| encode::choice(o, &field.name));
        let value = match (choice, &field.ty) {
            (Some(choice), Type::Any) => match self.either(choice)? {
                Some(value) => value,
                None => return Ok(None),
            },
            (Some(choice), Type::Map(_)) if self.scan.peek()? == Next::Object => {
                self.dependencies(choice)?
            }
            _ => self.value(&field.ty, before, verbatim)?,
        };
        Ok(match field.presence {
            Presence::OmitEmpty | Presence::OmitZero if is_zero(&value) => None,
            // An empty list or map comes back from storage as none at all.
            Presence::Always
                if matches!(field.ty, Type::List(_) | Type::Map(_)) && is_zero(&value) =>
            {
                None
            }
            _ => Some(value),
        })
    }

    /// A part of a JSON schema that is a schema or something else (see [`encode::choice`]); none when Go makes nothing of it.
    /// Its own decoder reads these parts, which does not report unknown fields.
    fn either(&mut self, choice: Choice) -> Result<Option<Value>> {
        let Some(schema) = self.owner else {
            return Ok(None);
        };
        let reported = self.strict.len();
        let value = match (choice, self.scan.peek()?) {
            (_, Next::Object) => Some(Value::Object(self.object(schema, Map::new())?)),
            (Choice::Boolean, next @ Next::Bool(yes)) => {
                self.scan.literal(next)?;
                Some(Value::Bool(yes))
            }
            (Choice::Boolean, _) => {
                self.scan.skip()?;
                return Err("boolean or JSON schema expected".into());
            }
            (Choice::Names, Next::Array) => Some(self.list(&Type::String(None), false)?),
            (Choice::Several, Next::Array) => Some(self.schemas(schema)?),
            _ => {
                self.scan.skip()?;
                None
            }
        };
        self.strict.truncate(reported);
        Ok(value)
    }

    /// Several schemas.
    fn schemas(&mut self, schema: &'a Struct) -> Result<Value> {
        let mut out = Array::new();
        self.scan.enter()?;
        while self.scan.element(out.is_empty())? {
            let next = self.scan.peek()?;
            out.push(match next {
                Next::Object => Value::Object(self.object(schema, Map::new())?),
                _ => {
                    self.scan.skip()?;
                    if next != Next::Null {
                        self.save(|r| r.mismatch(next.word(), &schema.go));
                    }
                    Value::Object(empty(schema))
                }
            });
        }
        Ok(Value::Array(out))
    }

    /// What properties depend on: a schema or a list of names for each.
    fn dependencies(&mut self, choice: Choice) -> Result<Value> {
        let mut out = Map::new();
        let mut first = true;
        self.scan.enter()?;
        while let Some(key) = self.scan.key(std::mem::take(&mut first))? {
            let value = self.either(choice)?;
            // Nothing is shown as an empty list of names.
            out.insert(key, value.unwrap_or(Value::Array(Array::new())));
        }
        Ok(Value::Object(out))
    }

    fn value(&mut self, ty: &'a Type, before: Option<Value>, verbatim: bool) -> Result<Value> {
        let next = self.scan.peek()?;
        match (ty, next) {
            (Type::Any, _) if verbatim => self.any(),
            (Type::Any | Type::Raw | Type::FieldsV1, _) => Ok(self.scan.value()?),
            (_, Next::Null) => {
                self.scan.literal(next)?;
                Ok(if verbatim { Value::Null } else { zero(ty) })
            }
            (Type::Struct(schema), Next::Object) => {
                Ok(Value::Object(self.object(schema, object_of(before))?))
            }
            (Type::Map(map), Next::Object) => self.map(&map.value, object_of(before), verbatim),
            (Type::List(list), Next::Array) => self.list(&list.elem, verbatim),
            (Type::String(_), Next::String) => Ok(self.scan.string()?.into()),
            (Type::Bool, Next::Bool(b)) => {
                self.scan.literal(next)?;
                Ok(Value::Bool(b))
            }
            _ if verbatim => Ok(self.scan.value()?),
            (Type::Int32 | Type::Int64 | Type::Double, Next::Number) => self.number(ty),
            (Type::Bytes, Next::String) => self.bytes(),
            (Type::Quantity, _) => self.quantity(next),
            (Type::IntOrString, _) => self.int_or_string(next),
            (Type::Time | Type::MicroTime, _) => self.time(ty, next),
            _ => {
                self.scan.skip()?;
                self.save(|r| r.mismatch(next.word(), &go_name(ty)));
                Ok(Value::Null)
            }
        }
    }

    fn map(&mut self, ty: &'a Type, mut out: Map, verbatim: bool) -> Result<Value> {
        // What the same field said before, when it is given twice, is no repetition of its keys.
        let mut before: HashSet<Text> = out.keys().cloned().collect();
        let mut first = true;
        self.scan.enter()?;
        while let Some(key) = self.scan.key(std::mem::take(&mut first))? {
            let name = Text::from(&*key);
            if out.contains_key(&key) && !before.remove(&name) {
                self.report("duplicate field", &key);
            }
            self.path.push(Step::Key(key));
            let value = self.value(ty, None, verbatim)?;
            self.path.pop();
            out.insert(name, value);
        }
        Ok(Value::Object(out))
    }

    fn list(&mut self, ty: &'a Type, verbatim: bool) -> Result<Value> {
        let mut out = Array::new();
        self.scan.enter()?;
        while self.scan.element(out.is_empty())? {
            self.path.push(Step::Index(out.len()));
            let value = self.value(ty, None, verbatim)?;
            self.path.pop();
            out.push(value);
        }
        Ok(Value::Array(out))
    }

    fn number(&mut self, ty: &Type) -> Result<Value> {
        let text = self.scan.number()?;
        let value = match ty {
            Type::Int32 => text.parse::<i32>().ok().map(Value::from),
            Type::Int64 => text.parse::<i64>().ok().map(Value::from),
            _ => text.parse::<f64>().ok().and_then(yaml::number),
        };
        Ok(value.unwrap_or_else(|| {
            self.save(|r| r.mismatch(&format!("number {text}"), &go_name(ty)));
            Value::Null
        }))
    }

    fn bytes(&mut self) -> Result<Value> {
        let text = self.scan.string()?;
        match base64::decode(text.as_bytes()) {
            Ok(bytes) => Ok(STANDARD.encode(bytes).into()),
            Err(at) => {
                self.save(|_| format!("illegal base64 data at input byte {at}"));
                Ok(Value::Null)
            }
        }
    }

    fn quantity(&mut self, next: Next) -> Result<Value> {
        let text = match next {
            Next::String => self.scan.string()?,
            _ => {
                let from = self.scan.offset();
                self.scan.skip()?;
                let to = self.scan.clone().offset();
                String::from_utf8_lossy(self.scan.text(from, to))
            }
        };
        let quantity: Quantity = text
            .trim()
            .parse()
            .map_err(|e: crate::quantity::ParseError| e.to_string())?;
        Ok(quantity.to_string().into())
    }

    fn int_or_string(&mut self, next: Next) -> Result<Value> {
        match next {
            Next::String => Ok(self.scan.string()?.into()),
            Next::Number => {
                let text = self.scan.number()?;
                let number = text
                    .parse::<i32>()
                    .map_err(|_| self.mismatch(&format!("number {text}"), "int32"))?;
                Ok(Value::from(number))
            }
            _ => {
                self.scan.skip()?;
                Err(self.mismatch(next.word(), "int32"))
            }
        }
    }

    fn time(&mut self, ty: &Type, next: Next) -> Result<Value> {
        if next != Next::String {
            self.scan.skip()?;
            return Err(self.mismatch(next.word(), "string"));
        }
        let text = self.scan.string()?;
        let precision = if *ty == Type::MicroTime {
            time::Precision::Micros
        } else {
            time::Precision::Seconds
        };
        time::canonical(&text, precision).map(Value::from)
    }

    fn save(&mut self, error: impl FnOnce(&Self) -> String) {
        if self.saved.is_none() {
            self.saved = Some(error(self));
        }
    }

    /// Go's `UnmarshalTypeError`. Its path names struct fields only, not map keys and list indices.
    fn mismatch(&self, what: &str, go: &str) -> String {
        let Some(owner) = self.owner else {
            return format!("json: cannot unmarshal {what} into Go value of type {go}");
        };
        let fields: Vec<&str> = self
            .path
            .iter()
            .filter_map(|s| {
                if let Step::Field(name) = s {
                    Some(*name)
                } else {
                    None
                }
            })
            .collect();
        let owner = owner.go.rsplit('.').next().unwrap_or_default();
        format!(
            "json: cannot unmarshal {what} into Go struct field {owner}.{} of type {go}",
            fields.join(".")
        )
    }

    /// Notes a strict error about `name` below the present path.
    fn report(&mut self, what: &str, name: &str) {
        if self.strict.len() >= MAX_STRICT_ERRORS {
            return;
        }
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Index(i) => path.push_str(&format!("[{i}]")),
                Step::Field(name) => push_name(&mut path, name),
                Step::Key(name) => push_name(&mut path, name),
            }
        }
        push_name(&mut path, name);
        let error = format!("{what} {path:?}");
        if !self.strict.contains(&error) {
            self.strict.push(error);
        }
    }
}

fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// Which fields of a struct were met.
#[derive(Default)]
struct Seen {
    low: u128,
    high: Vec<usize>,
}

impl Seen {
    /// False when it was there already.
    fn insert(&mut self, i: usize) -> bool {
        if i < 128 {
            let new = self.low & (1 << i) == 0;
            self.low |= 1 << i;
            return new;
        }
        let new = !self.high.contains(&i);
        self.high.push(i);
        new
    }
}

fn object_of(value: Option<Value>) -> Map {
    match value {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// What Go calls a type in its messages.
fn go_name(ty: &Type) -> Cow<'_, str> {
    match ty {
        Type::Bool => "bool".into(),
        Type::Int32 => "int32".into(),
        Type::Int64 => "int64".into(),
        Type::Double => "float64".into(),
        Type::String(name) => name.as_deref().unwrap_or("string").into(),
        Type::Bytes => "[]uint8".into(),
        Type::Quantity => "resource.Quantity".into(),
        Type::IntOrString => "intstr.IntOrString".into(),
        Type::Time => "v1.Time".into(),
        Type::MicroTime => "v1.MicroTime".into(),
        Type::Any => "v1.JSON".into(),
        Type::Raw => "runtime.RawExtension".into(),
        Type::FieldsV1 => "v1.FieldsV1".into(),
        Type::Struct(schema) => Cow::Owned(schema.go.to_string()),
        Type::List(list) => format!("[]{}", go_name(&list.elem)).into(),
        Type::Map(map) => match &map.go {
            Some(name) => Cow::Borrowed(name),
            None => format!("map[string]{}", go_name(&map.value)).into(),
        },
    }
}

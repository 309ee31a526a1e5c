//! Kubernetes' protobuf bodies (`application/vnd.kubernetes.protobuf`), read by the field numbers of the schema.
//!
//! A body is `k8s\0` and a `runtime.Unknown`: apiVersion and kind, and the bytes of the object's own message.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use knarr_json::{Array, Map, Number, Value};

use super::{settle, time};
use crate::{
    encode::protobuf::{self as encode, Choice},
    quantity::{ParseError, Quantity},
    schema::{Field, Presence, Struct, Type},
};

/// Bodies start with this.
const MAGIC: &[u8] = b"k8s\0";

/// Messages nest at most this deep, so that a small stack is enough.
const MAX_DEPTH: usize = 100;

/// What a body says it is, and its message.
#[derive(Debug, PartialEq)]
pub struct Envelope<'a> {
    pub api_version: String,
    pub kind: String,
    pub message: &'a [u8],
}

/// One field of a message on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Takes fields off a message one after another.
struct Fields<'a>(&'a [u8]);

type Result<T, E = String> = std::result::Result<T, E>;

fn cut() -> String {
    "unexpected EOF".to_owned()
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or_else(cut)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("proto: integer overflow".into())
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let len = usize::try_from(len)
            .ok()
            .filter(|l| *l <= self.0.len())
            .ok_or_else(cut)?;
        let (head, rest) = self.0.split_at(len);
        self.0 = rest;
        Ok(head)
    }

    /// The next field's number and value; none at the end.
    fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| "proto: illegal tag".to_owned())?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Number(u64::from_le_bytes(
                self.take(8)?.try_into().unwrap_or_default(),
            )),
            2 => {
                let len = self.varint()?;
                Wire::Bytes(self.take(len)?)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(
                self.take(4)?.try_into().unwrap_or_default(),
            ))),
            other => return Err(format!("proto: illegal wireType {other}")),
        };
        Ok(Some((number, wire)))
    }
}

impl<'a> Wire<'a> {
    fn bytes(&self) -> Result<&'a [u8]> {
        match self {
            Wire::Bytes(bytes) => Ok(bytes),
            Wire::Number(_) => Err("proto: wrong wireType".into()),
        }
    }

    fn number(&self) -> Result<u64> {
        match self {
            Wire::Number(number) => Ok(*number),
            Wire::Bytes(_) => Err("proto: wrong wireType".into()),
        }
    }

    fn text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }
}

/// Opens a body.
///
/// # Errors
/// When it is no such body.
pub fn open(body: &[u8]) -> Result<Envelope<'_>> {
    let rest = body.strip_prefix(MAGIC).ok_or(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
    )?;
    let mut out = Envelope {
        api_version: String::new(),
        kind: String::new(),
        message: &[],
    };
    let mut fields = Fields(rest);
    while let Some((number, wire)) = fields.next()? {
        match number {
            1 => {
                let mut meta = Fields(wire.bytes()?);
                while let Some((number, wire)) = meta.next()? {
                    match number {
                        1 => out.api_version = wire.text()?,
                        2 => out.kind = wire.text()?,
                        _ => {}
                    }
                }
            }
            2 => out.message = wire.bytes()?,
            _ => {}
        }
    }
    Ok(out)
}

/// Reads an object's message.
///
/// # Errors
/// When the bytes are no message of this type, or a quantity in it is none.
pub fn read(schema: &Struct, message: &[u8]) -> Result<Value> {
    let mut out = Value::Object(object(schema, message, 0)?);
    settle(schema, &mut out);
    Ok(out)
}

fn object(schema: &Struct, message: &[u8], depth: usize) -> Result<Map> {
    let mut out = Map::new();
    fields_into(schema, 0, message, depth, &mut out)?;
    Ok(out)
}

/// Reads the fields of `schema` that are in the embedded message `inside` (0 for the struct's own message).
fn fields_into(
    schema: &Struct,
    inside: u32,
    message: &[u8],
    depth: usize,
    out: &mut Map,
) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err("exceeded max depth".into());
    }
    let mut fields = Fields(message);
    while let Some((number, wire)) = fields.next()? {
        let known = schema
            .fields
            .iter()
            .find(|f| f.number == number && f.inside == inside);
        match known {
            Some(field) => take(schema, field, &wire, depth, out)?,
            None => {
                let Some(embedded) = embedded(inside, number) else {
                    continue;
                };
                if schema.fields.iter().any(|f| is_within(f.inside, embedded)) {
                    fields_into(schema, embedded, wire.bytes()?, depth + 1, out)?;
                }
            }
        }
    }
    Ok(())
}

/// The path of embedded message `number` of the one at `inside` (see [`Field::inside`]).
fn embedded(inside: u32, number: u32) -> Option<u32> {
    let number = u8::try_from(number).ok()?;
    (0..4)
        .map(|i| 8 * i)
        .find(|shift| inside >> shift == 0)
        .map(|shift| inside | u32::from(number) << shift)
}

/// Whether a field with the path `inside` is in `message` or deeper.
fn is_within(inside: u32, message: u32) -> bool {
    let bits = 32 - message.leading_zeros().div_euclid(8) * 8;
    let mask = if bits == 32 {
        u32::MAX
    } else {
        (1 << bits) - 1
    };
    inside & mask == message
}

fn take(owner: &Struct, field: &Field, wire: &Wire, depth: usize, out: &mut Map) -> Result<()> {
    let slot = out.entry(field.name.to_string()).or_insert(Value::Null);
    let choice = encode::choice(owner, &field.name);
    match &field.ty {
        Type::List(list) => {
            let items = match slot {
                Value::Array(items) => items,
                slot => {
                    *slot = Value::Array(Array::new());
                    let Value::Array(items) = slot else {
                        return Ok(());
                    };
                    items
                }
            };
            match wire {
                // Numbers may come many in one field.
                Wire::Bytes(packed) if is_varint(&list.elem) => {
                    let mut packed = Fields(packed);
                    while !packed.0.is_empty() {
                        let number = Wire::Number(packed.varint()?);
                        items.push(value(&list.elem, &number, depth)?);
                    }
                }
                wire => items.push(value(&list.elem, wire, depth)?),
            }
        }
        Type::Any if let Some(choice) = choice => {
            *slot = either(owner, choice, wire.bytes()?, depth)?;
        }
        Type::Map(map) => {
            let (key, entry) = entry(
                wire.bytes()?,
                || zero_of(&map.value),
                |wire| match choice {
                    Some(choice) => either(owner, choice, wire.bytes()?, depth),
                    None => value(&map.value, wire, depth),
                },
            )?;
            match slot {
                Value::Object(entries) => drop(entries.insert(key, entry)),
                slot => *slot = Value::Object(Map::from_iter([(key, entry)])),
            }
        }
        // An embedded object that holds nothing is none.
        Type::Raw if wire.bytes()?.is_empty() && field.presence != Presence::Optional => {}
        ty => *slot = value(ty, wire, depth)?,
    }
    Ok(())
}

fn is_varint(ty: &Type) -> bool {
    matches!(ty, Type::Bool | Type::Int32 | Type::Int64)
}

/// A part of a JSON schema that is a schema, several of them, a boolean, or names (see [`encode::choice`]).
fn either(schema: &Struct, choice: Choice, message: &[u8], depth: usize) -> Result<Value> {
    let mut fields = Fields(message);
    let (mut one, mut many, mut allows) = (None, Vec::new(), false);
    while let Some((number, wire)) = fields.next()? {
        match (choice, number) {
            (Choice::Boolean, 1) => allows = wire.number()? != 0,
            (Choice::Boolean, 2) | (_, 1) => {
                one = Some(Value::Object(object(schema, wire.bytes()?, depth + 1)?));
            }
            (Choice::Several, 2) => {
                many.push(Value::Object(object(schema, wire.bytes()?, depth + 1)?));
            }
            (Choice::Names, 2) => many.push(Value::from(wire.text()?)),
            _ => {}
        }
    }
    Ok(match (one, choice) {
        (Some(schema), _) => schema,
        (None, Choice::Boolean) => Value::Bool(allows),
        (None, _) => many.into(),
    })
}

/// One key and value of a map.
fn entry(
    message: &[u8],
    zero: impl Fn() -> Value,
    value: impl Fn(&Wire) -> Result<Value>,
) -> Result<(String, Value)> {
    let (mut key, mut found) = (String::new(), None);
    let mut fields = Fields(message);
    while let Some((number, wire)) = fields.next()? {
        match number {
            1 => key = wire.text()?,
            2 => found = Some(value(&wire)?),
            _ => {}
        }
    }
    Ok((key, found.unwrap_or_else(zero)))
}

/// What is left out of a map's entry is zero, which for a message is an empty one.
fn zero_of(ty: &Type) -> Value {
    match ty {
        Type::String(_) | Type::Bytes => Value::from(""),
        Type::Quantity => Value::from("0"),
        Type::Struct(schema) => Value::Object(super::empty(schema)),
        Type::Bool => Value::Bool(false),
        Type::Int32 | Type::Int64 | Type::IntOrString => Value::from(0),
        Type::List(_) => Value::Array(Array::new()),
        _ => Value::Null,
    }
}

fn value(ty: &Type, wire: &Wire, depth: usize) -> Result<Value> {
    Ok(match ty {
        Type::Bool => Value::Bool(wire.number()? != 0),
        // Negative numbers are sent as the 64 bits of their two's complement.
        Type::Int32 => Value::from(wire.number()? as i32),
        Type::Int64 => Value::from(wire.number()? as i64),
        Type::Double => {
            Number::from_f64(f64::from_bits(wire.number()?)).map_or(Value::Null, Value::Number)
        }
        Type::String(_) => Value::from(wire.text()?),
        Type::Bytes => STANDARD.encode(wire.bytes()?).into(),
        Type::Quantity => quantity(wire.bytes()?)?,
        Type::IntOrString => int_or_string(wire.bytes()?)?,
        Type::Time => timestamp(wire.bytes()?, time::Precision::Seconds)?,
        Type::MicroTime => timestamp(wire.bytes()?, time::Precision::Micros)?,
        Type::Any | Type::Raw | Type::FieldsV1 => raw(wire.bytes()?)?,
        Type::Struct(schema) => Value::Object(object(schema, wire.bytes()?, depth + 1)?),
        // A list where one value is expected (in a map) is a message of its items.
        Type::List(list) => {
            let mut items = Vec::new();
            let mut fields = Fields(wire.bytes()?);
            while let Some((number, wire)) = fields.next()? {
                if number == 1 {
                    items.push(value(&list.elem, &wire, depth + 1)?);
                }
            }
            items.into()
        }
        Type::Map(_) => return Err("proto: map of maps".into()),
    })
}

fn quantity(message: &[u8]) -> Result<Value> {
    let mut fields = Fields(message);
    let mut text = String::new();
    while let Some((number, wire)) = fields.next()? {
        if number == 1 {
            text = wire.text()?;
        }
    }
    if text.is_empty() {
        return Ok(Value::from("0"));
    }
    let quantity: Quantity = text.parse().map_err(|e: ParseError| e.to_string())?;
    Ok(quantity.to_string().into())
}

fn int_or_string(message: &[u8]) -> Result<Value> {
    let mut fields = Fields(message);
    let (mut is_text, mut int, mut text) = (false, 0, String::new());
    while let Some((number, wire)) = fields.next()? {
        match number {
            1 => is_text = wire.number()? == 1,
            2 => int = wire.number()? as i32,
            3 => text = wire.text()?,
            _ => {}
        }
    }
    Ok(if is_text {
        text.into()
    } else {
        Value::from(int)
    })
}

/// Seconds and nanoseconds since 1970; an empty message is no time.
fn timestamp(message: &[u8], precision: time::Precision) -> Result<Value> {
    if message.is_empty() {
        return Ok(Value::Null);
    }
    let mut fields = Fields(message);
    let (mut seconds, mut nanos) = (0, 0);
    while let Some((number, wire)) = fields.next()? {
        match number {
            1 => seconds = wire.number()? as i64,
            2 => nanos = wire.number()? as i32,
            _ => {}
        }
    }
    let time = Timestamp::new(seconds, nanos).ok();
    let time = time.filter(|time| time::readable(*time));
    let time = time.ok_or("proto: time out of range")?;
    Ok(time::print(time, precision).into())
}

/// JSON text inside a message.
fn raw(message: &[u8]) -> Result<Value> {
    let mut fields = Fields(message);
    let mut out = Value::Null;
    while let Some((number, wire)) = fields.next()? {
        if number == 1 {
            let text = wire.bytes()?;
            out = super::read_any(text)?.value;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schemas;
    use knarr_json::json;
    use proptest::prelude::*;

    /// A length-delimited field.
    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
        out.extend(content);
        out
    }

    fn number(field: u8, value: u8) -> Vec<u8> {
        vec![field << 3, value]
    }

    #[test]
    fn a_pod_is_read_by_field_numbers() {
        let meta = [
            bytes(1, b"p"),
            bytes(11, &[bytes(1, b"app"), bytes(2, b"web")].concat()),
        ]
        .concat();
        let limit = [bytes(1, b"cpu"), bytes(2, &bytes(1, b"1000m"))].concat();
        let http_get = [
            bytes(1, b"/"),
            bytes(2, &[number(1, 1), bytes(3, b"http")].concat()),
        ]
        .concat();
        let probe = [bytes(1, &bytes(2, &http_get)), number(2, 5)].concat();
        let port = [number(3, 80), bytes(4, b"TCP")].concat();
        let container = [
            bytes(1, b"c"),
            bytes(2, b"i"),
            bytes(6, &port),
            bytes(8, &bytes(1, &limit)),
            bytes(10, &probe),
            number(16, 0)[..0].to_vec(),
        ]
        .concat();
        let volume = [bytes(1, b"v"), bytes(2, &bytes(2, &[]))].concat();
        let spec = [
            bytes(1, &volume),
            bytes(2, &container),
            number(11, 0),
            number(4, 30),
        ]
        .concat();
        let message = [bytes(1, &meta), bytes(2, &spec), bytes(3, &[])].concat();
        let type_meta = [bytes(1, b"v1"), bytes(2, b"Pod")].concat();
        let mut unknown = bytes(1, &type_meta);
        unknown.extend([
            2 << 3 | 2,
            (message.len() & 0x7f) as u8 | 0x80,
            (message.len() >> 7) as u8,
        ]);
        unknown.extend(&message);
        let body = [b"k8s\0".to_vec(), unknown].concat();

        let envelope = open(&body).unwrap();
        assert_eq!(
            (envelope.api_version.as_str(), envelope.kind.as_str()),
            ("v1", "Pod")
        );
        let schema = Schemas::default().by_kind("", "v1", "Pod").unwrap();
        assert_eq!(
            read(&schema, envelope.message).unwrap(),
            json!({"metadata": {"name": "p", "labels": {"app": "web"}}, "status": {}, "spec": {
                "terminationGracePeriodSeconds": 30,
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "1"}},
                    "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "initialDelaySeconds": 5}}]}})
        );
    }

    #[test]
    fn most_fields_of_stable_kinds_have_numbers() {
        let schemas = Schemas::default();
        for (group, kind) in [
            ("", "Pod"),
            ("", "Service"),
            ("apps", "Deployment"),
            ("", "Node"),
            ("batch", "Job"),
        ] {
            let schema = schemas.by_kind(group, "v1", kind).unwrap();
            for field in ["metadata", "spec", "status"] {
                assert_ne!(schema.field(field).unwrap().number, 0, "{kind}.{field}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let schema = Schemas::default().by_kind("", "v1", "Pod").unwrap();
            let _ = open(&[MAGIC, &bytes].concat());
            let _ = read(&schema, &bytes);
        }
    }
}

//! Objects as Kubernetes' protobuf messages (`application/vnd.kubernetes.protobuf`), written straight from their JSON text
//! by the field numbers of the schema, without a tree in between.
//!
//! What is absent or null in JSON is left out; everything else is written, in the order in which it stands. Readers of
//! protobuf take fields in any order and see zero values for what is not there, as Go does for JSON.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    json::{Json, Malformed, Result as Read, Text},
    wire::{self, Kind},
};
use crate::{
    Schemas,
    decode::time,
    schema::{Field, Struct, StructRef, Type},
};

/// Bodies start with this.
pub const MAGIC: &[u8] = b"k8s\0";
/// Objects nest at most this deep.
const MAX_DEPTH: u32 = 512;

/// Why an object has no protobuf form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing is known of the kind, as of custom resources, or it has no message, as a Table.
    #[error(
        "object {0} does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
    )]
    NoMessage(String),
    #[error("stored object: {0}")]
    Malformed(#[from] Malformed),
}

/// A body: type, and message of an object that says its own type.
///
/// # Errors
/// When its kind has no message.
pub fn body(json: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(json.len());
    append_body(json, &mut out)?;
    Ok(out)
}

/// [`body`], appended.
///
/// # Errors
/// As [`body`].
pub fn append_body(json: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let (api_version, kind) = said(json)?;
    let schema = message_of(&api_version, &kind)?;
    out.extend_from_slice(&head(&api_version, &kind));
    let start = wire::open(out, 2);
    message(&schema, json, out)?;
    wire::close(out, start);
    out.extend_from_slice(TAIL);
    Ok(())
}

/// The message type of a built-in kind.
///
/// # Errors
/// When there is none.
pub fn message_of(api_version: &str, kind: &str) -> Result<StructRef, Error> {
    let none = || Error::NoMessage("*unstructured.Unstructured".into());
    if kind == "Table" {
        return Err(Error::NoMessage("*v1.Table".into()));
    }
    // Metadata of any object is told in a group of its own.
    let plain = api_version.strip_prefix("meta.k8s.io/");
    let found = match plain {
        Some(_) => Schemas::default().by_kind("", "v1", kind),
        None => Schemas::default().by_api_version(api_version, kind),
    };
    // Without a number for its metadata nothing of it can be told.
    let numbered = |schema: &StructRef| schema.field("metadata").is_none_or(|m| m.number != 0);
    found.filter(numbered).ok_or_else(none)
}

/// What follows the message in a body: no content encoding, no content type.
pub const TAIL: &[u8] = &[0x1a, 0, 0x22, 0];

/// What precedes the field with the message: the mark of the format, and the type.
pub fn head(api_version: &str, kind: &str) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let start = wire::open(&mut out, 1);
    wire::bytes(&mut out, 1, api_version.as_bytes());
    wire::bytes(&mut out, 2, kind.as_bytes());
    wire::close(&mut out, start);
    out
}

/// What precedes a list's items in a body; the items' fields (see [`append_item`]) are `items` bytes in all.
///
/// # Errors
/// When the metadata cannot be read.
pub fn list_head(
    api_version: &str,
    kind: &str,
    metadata: &[u8],
    items: usize,
) -> Result<Vec<u8>, Error> {
    let mut meta = Vec::new();
    let schema = Schemas::default().by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
    let start = wire::open(&mut meta, 1);
    if let Some(schema) = schema {
        message(&schema, metadata, &mut meta)?;
    }
    wire::close(&mut meta, start);
    let mut out = head(api_version, kind);
    wire::tag(&mut out, 2, Kind::Bytes);
    wire::varint(&mut out, (meta.len() + items) as u64);
    out.extend_from_slice(&meta);
    Ok(out)
}

/// Appends an object as an item of a list.
///
/// # Errors
/// When it cannot be read.
pub fn append_item(schema: &Struct, json: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let start = wire::open(out, 2);
    message(schema, json, out)?;
    wire::close(out, start);
    Ok(())
}

/// A frame of a watch: its length, and a `WatchEvent` around a whole body.
///
/// # Errors
/// As [`body`].
pub fn watch_frame(event: &str, json: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(json.len());
    out.extend_from_slice(&[0; 4]);
    wire::bytes(&mut out, 1, event.as_bytes());
    let object = wire::open(&mut out, 2);
    let raw = wire::open(&mut out, 1);
    append_body(json, &mut out)?;
    wire::close(&mut out, raw);
    wire::close(&mut out, object);
    let len = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&len.to_be_bytes());
    Ok(out)
}

/// Appends an object's own message.
///
/// # Errors
/// When the text is not an object of this type.
pub fn message(schema: &Struct, json: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut encoder = Encoder {
        json: Json::new(json),
        out,
        depth: 0,
    };
    encoder.object(schema).map_err(Error::from)
}

/// What an object says it is.
fn said(json: &[u8]) -> Read<(String, String)> {
    let (mut api_version, mut kind) = (String::new(), String::new());
    let mut json = Json::new(json);
    json.take(b'{')?;
    let mut first = true;
    while let Some(key) = json.key(&mut first)? {
        let slot = match key.raw {
            b"apiVersion" => &mut api_version,
            b"kind" => &mut kind,
            _ => {
                json.skip()?;
                continue;
            }
        };
        *slot = String::from_utf8_lossy(&json.string()?.bytes()).into_owned();
        if !api_version.is_empty() && !kind.is_empty() {
            break;
        }
    }
    Ok((api_version, kind))
}

struct Encoder<'a, 'o> {
    json: Json<'a>,
    out: &'o mut Vec<u8>,
    depth: u32,
}

impl<'a> Encoder<'a, '_> {
    fn object(&mut self, schema: &Struct) -> Read<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Malformed(0));
        }
        self.json.take(b'{')?;
        let (mut first, mut cursor) = (true, 0);
        while let Some(key) = self.json.key(&mut first)? {
            match find(schema, &key.bytes(), &mut cursor) {
                Some(field) if field.number != 0 => self.field(schema, field)?,
                _ => self.json.skip()?,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn field(&mut self, owner: &Struct, field: &Field) -> Read<()> {
        if self.json.null()? {
            return Ok(());
        }
        if field.inside == 0 {
            return self.value(owner, field);
        }
        // A struct that Go embeds is a message around its fields; readers join several of them.
        let around: Vec<usize> = field
            .path()
            .map(|number| wire::open(self.out, number))
            .collect();
        self.value(owner, field)?;
        for start in around.into_iter().rev() {
            wire::close(self.out, start);
        }
        Ok(())
    }

    fn value(&mut self, owner: &Struct, field: &Field) -> Read<()> {
        match (&field.ty, choice(owner, &field.name)) {
            (Type::Any, Some(choice)) => self.choice(owner, choice, field.number),
            (Type::Map(_), Some(choice)) => {
                self.map(field.number, |encoder| encoder.choice(owner, choice, 2))
            }
            (ty, _) => self.tagged(field.number, ty),
        }
    }

    /// A value as field `number` of the present message; lists and maps are as many fields as they have entries.
    fn tagged(&mut self, number: u32, ty: &Type) -> Read<()> {
        match ty {
            Type::Bool => {
                let value = self.json.scalar()? == b"true";
                self.number(number, u64::from(value));
            }
            Type::Int32 | Type::Int64 => {
                let value = self.integer()?;
                self.number(number, value as u64);
            }
            Type::Double => {
                let value = float(self.json.scalar()?).ok_or(Malformed(0))?;
                wire::tag(self.out, number, Kind::Fixed64);
                self.out.extend_from_slice(&value.to_bits().to_le_bytes());
            }
            Type::String(_) => {
                let text = self.json.string()?;
                self.text(number, text);
            }
            Type::Bytes => self.base64(number)?,
            Type::Quantity => self.within(number, |e| e.quantity())?,
            Type::IntOrString => self.within(number, |e| e.int_or_string())?,
            Type::Time | Type::MicroTime => {
                if !self.json.null()? {
                    self.within(number, |e| e.time())?;
                }
            }
            Type::Any | Type::Raw | Type::FieldsV1 => {
                let raw = self.json.raw()?;
                self.within(number, |e| {
                    wire::bytes(e.out, 1, raw);
                    Ok(())
                })?;
            }
            Type::Struct(schema) => self.within(number, |e| {
                if e.json.null()? {
                    return Ok(());
                }
                e.object(schema)
            })?,
            Type::List(list) => self.list(number, &list.elem)?,
            Type::Map(map) => self.map(number, |e| match &map.value {
                // Protobuf has no map of lists: each is a message of its items.
                Type::List(list) => e.within(2, |e| e.list(1, &list.elem)),
                ty => e.tagged(2, ty),
            })?,
        }
        Ok(())
    }

    fn list(&mut self, number: u32, elem: &Type) -> Read<()> {
        if self.json.null()? {
            return Ok(());
        }
        self.json.take(b'[')?;
        let mut first = true;
        while self.json.element(&mut first)? {
            self.tagged(number, elem)?;
        }
        Ok(())
    }

    fn map(&mut self, number: u32, value: impl Fn(&mut Self) -> Read<()>) -> Read<()> {
        self.json.take(b'{')?;
        let mut first = true;
        while let Some(key) = self.json.key(&mut first)? {
            self.within(number, |e| {
                e.text(1, key);
                value(e)
            })?;
        }
        Ok(())
    }

    /// A message as field `number`.
    fn within(&mut self, number: u32, content: impl FnOnce(&mut Self) -> Read<()>) -> Read<()> {
        let start = wire::open(self.out, number);
        content(self)?;
        wire::close(self.out, start);
        Ok(())
    }

    fn number(&mut self, number: u32, value: u64) {
        wire::tag(self.out, number, Kind::Varint);
        wire::varint(self.out, value);
    }

    fn text(&mut self, number: u32, text: Text<'a>) {
        if !text.escaped {
            return wire::bytes(self.out, number, text.raw);
        }
        let start = wire::open(self.out, number);
        text.write(self.out);
        wire::close(self.out, start);
    }

    fn integer(&mut self) -> Read<i64> {
        let text = self.json.scalar()?;
        integer(text).ok_or(Malformed(0))
    }

    fn base64(&mut self, number: u32) -> Read<()> {
        let text = self.json.string()?.bytes();
        let start = wire::open(self.out, number);
        STANDARD
            .decode_vec(&*text, self.out)
            .map_err(|_| Malformed(0))?;
        wire::close(self.out, start);
        Ok(())
    }

    fn quantity(&mut self) -> Read<()> {
        if self.json.peek()? == b'"' {
            let text = self.json.string()?;
            self.text(1, text);
        } else {
            let text = self.json.scalar()?;
            wire::bytes(self.out, 1, text);
        }
        Ok(())
    }

    fn int_or_string(&mut self) -> Read<()> {
        if self.json.peek()? == b'"' {
            self.number(1, 1);
            let text = self.json.string()?;
            self.text(3, text);
        } else {
            let value = self.integer()?;
            self.number(1, 0);
            self.number(2, value as u64);
        }
        Ok(())
    }

    fn time(&mut self) -> Read<()> {
        let text = self.json.string()?.bytes();
        let (seconds, nanos) = timestamp(&text).ok_or(Malformed(0))?;
        self.number(1, seconds as u64);
        if nanos != 0 {
            self.number(2, nanos as u64);
        }
        Ok(())
    }

    /// A part of a JSON schema that is one of several things. Nothing checked what it is: what fits none is nothing.
    fn choice(&mut self, schema: &Struct, choice: Choice, number: u32) -> Read<()> {
        self.within(number, |e| match (choice, e.json.peek()?) {
            (Choice::Boolean, b'{') => {
                e.number(1, 1);
                e.within(2, |e| e.object(schema))
            }
            (Choice::Boolean, b't' | b'f') => e.tagged(1, &Type::Bool),
            (Choice::Several | Choice::Names, b'{') => e.within(1, |e| e.object(schema)),
            (Choice::Several, b'[') => e.those(b'{', |e| e.within(2, |e| e.object(schema))),
            (Choice::Names, b'[') => e.those(b'"', |e| e.tagged(2, &Type::String(None))),
            _ => e.json.skip(),
        })
    }

    /// The elements of an array that begin with a byte.
    fn those(&mut self, begin: u8, each: impl Fn(&mut Self) -> Read<()>) -> Read<()> {
        self.json.take(b'[')?;
        let mut first = true;
        while self.json.element(&mut first)? {
            if self.json.peek()? == begin {
                each(self)?;
            } else {
                self.json.skip()?;
            }
        }
        Ok(())
    }
}

/// Parts of a JSON schema that are a schema or something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Boolean,
    Several,
    Names,
}

/// Which choice a field of a JSON schema is.
pub(crate) fn choice(owner: &Struct, field: &str) -> Option<Choice> {
    let choice = match field {
        "additionalItems" | "additionalProperties" => Choice::Boolean,
        "items" => Choice::Several,
        "dependencies" => Choice::Names,
        _ => return None,
    };
    owner.name.ends_with(".JSONSchemaProps").then_some(choice)
}

/// The field with this name. Keys mostly come in order, so the search goes on where the last one was found.
fn find<'s>(schema: &'s Struct, key: &[u8], cursor: &mut usize) -> Option<&'s Field> {
    let fields = &schema.fields;
    for (i, field) in fields.iter().enumerate().skip(*cursor) {
        match field.name.as_bytes().cmp(key) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => {
                *cursor = i + 1;
                return Some(field);
            }
            std::cmp::Ordering::Greater => break,
        }
    }
    let at = fields
        .binary_search_by(|f| f.name.as_bytes().cmp(key))
        .ok()?;
    *cursor = at + 1;
    fields.get(at)
}

fn integer(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse()
        .ok()
        .or_else(|| text.parse::<f64>().ok().map(|f| f as i64))
}

fn float(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds and nanoseconds since 1970.
fn timestamp(text: &[u8]) -> Option<(i64, i32)> {
    let digits = |from: usize, len: usize| {
        text.get(from..from + len)?.iter().try_fold(0i64, |n, b| {
            b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0'))
        })
    };
    let whole = match text {
        [.., b'Z'] if text.len() == 20 => 0,
        [.., b'Z'] if text.len() == 27 && text[19] == b'.' => digits(20, 6)? as i32 * 1000,
        _ => {
            let text = std::str::from_utf8(text).ok()?;
            let at = time::parse(text, time::Precision::Seconds).ok()?;
            return Some((at.as_second(), at.subsec_nanosecond()));
        }
    };
    let (year, month, day) = (digits(0, 4)?, digits(5, 2)?, digits(8, 2)?);
    let (hour, minute, second) = (digits(11, 2)?, digits(14, 2)?, digits(17, 2)?);
    let seconds = days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    Some((seconds, whole))
}

/// Days from 1970-01-01 to a date: years are counted from March, so that the leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

//! Request bodies into objects: what kind the body says it is, whether that fits the endpoint, and its fields by schema.

mod base64;
mod object;
mod protobuf;
mod scan;
mod settle;
pub mod time;
pub mod yaml;
mod zero;

use std::borrow::Cow;

use knarr_json::Value;

pub use object::{Read, read, read_any, read_list};
pub use scan::{Next, Scanner, SyntaxError};
pub use settle::settle;
pub use zero::empty;

use crate::{Status, schema::Schemas};

/// Bodies beyond this are refused, in bytes.
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// What is done about unknown and repeated fields (`?fieldValidation=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    Ignore,
    /// Told in `Warning` headers; what a request without the parameter gets.
    #[default]
    Warn,
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter; `None` for a value that does not exist.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(FieldValidation::Warn),
            "Ignore" => Some(FieldValidation::Ignore),
            "Strict" => Some(FieldValidation::Strict),
            _ => None,
        }
    }
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
    /// `application/vnd.kubernetes.protobuf`; built-in kinds only.
    Protobuf,
}

/// What an endpoint takes.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// Empty for core.
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    /// A custom resource: kind and apiVersion must be given, and fields without a schema are kept.
    pub custom: bool,
}

impl Expect<'_> {
    fn api_version(&self) -> String {
        join(self.group, self.version)
    }
}

/// A decoded body.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// `apiVersion` and `kind` are those of the endpoint.
    pub object: Value,
    /// Texts for `Warning: 299` headers.
    pub warnings: Vec<String>,
}

/// Brings a custom resource to its schema. Gives strict errors.
pub type Coerce<'c> = dyn Fn(&mut Value) -> Result<Vec<String>, String> + 'c;

/// Decodes the body of a create, an update or an options object.
///
/// # Errors
/// 400 with the original's words.
pub fn decode(
    schemas: &Schemas,
    body: &[u8],
    format: Format,
    expect: &Expect,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    decode_with(schemas, body, format, expect, validation, &|_| {
        Ok(Vec::new())
    })
}

/// [`decode`] of a custom resource, which `coerce` brings to its schema.
///
/// # Errors
/// As [`decode`].
pub fn decode_with(
    schemas: &Schemas,
    body: &[u8],
    format: Format,
    expect: &Expect,
    validation: FieldValidation,
    coerce: &Coerce<'_>,
) -> Result<Decoded, Status> {
    let unrecognized = |why: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            expect.kind,
            summary(body)
        ))
    };
    if let Some(read) = as_expected(schemas, body, format, expect)
        && (read.strict.is_empty() || validation == FieldValidation::Ignore)
    {
        return Ok(Decoded {
            object: read.value,
            warnings: Vec::new(),
        });
    }
    let Opened {
        said,
        content,
        mut strict,
    } = open(body, format).map_err(unrecognized)?;
    if expect.custom && said.kind.is_empty() {
        let shown = String::from_utf8_lossy(&content);
        return Err(unrecognized(format!(
            "Object 'Kind' is missing in '{shown}'"
        )));
    }
    let said = said.or(expect);
    let cannot = |why: String| {
        Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {why}",
            said.kind, said.version, expect.kind
        ))
    };
    let mut read = content_of(schemas, &content, format, &said, expect).map_err(cannot)?;
    strict.extend(read.strict);
    if expect.custom && said.fits(expect) {
        strict.extend(coerce(&mut read.value).map_err(cannot)?);
    }
    if said.kind != expect.kind && !expect.custom {
        return Err(cannot(unknown_conversion(&said, expect)));
    }
    if !strict.is_empty() && validation == FieldValidation::Strict {
        return Err(cannot(strict_error(&strict)));
    }
    if (said.group.as_str(), said.version.as_str()) != (expect.group, expect.version)
        && expect.kind != "DeleteOptions"
    {
        return Err(Status::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            join(&said.group, &said.version),
            expect.api_version()
        )));
    }
    let mut object = read.value;
    object["apiVersion"] = Value::from(expect.api_version());
    object["kind"] = Value::from(said.kind.as_str());
    let warnings = if validation == FieldValidation::Warn {
        warnings(&strict)
    } else {
        Vec::new()
    };
    Ok(Decoded { object, warnings })
}

/// A body that is just what the endpoint takes, which nearly all are, read at once. Anything else is looked at in the original's
/// order: first what it says it is, then the rest.
fn as_expected(schemas: &Schemas, body: &[u8], format: Format, expect: &Expect) -> Option<Read> {
    if format != Format::Json || expect.custom {
        return None;
    }
    let schema = schemas.by_kind(expect.group, expect.version, expect.kind)?;
    let read = read(&schema, body).ok()?;
    let api_version = read.value["apiVersion"].as_str()?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let fits =
        read.value["kind"] == expect.kind && (group, version) == (expect.group, expect.version);
    fits.then_some(read)
}

/// Checks that an object is still what is expected, or can be converted to it.
///
/// # Errors
/// The original's words for a kind that is another one or unknown.
pub fn check_identity(schemas: &Schemas, object: &Value, expect: &Expect) -> Result<(), String> {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let said = Said::new(text("apiVersion"), text("kind").to_owned())?.or(expect);
    let known = || {
        is_list_of_anything(&said)
            || schemas
                .by_kind(&said.group, &said.version, &said.kind)
                .is_some()
    };
    if said.fits(expect) || converts(&said, expect) {
        return Ok(());
    }
    match known() {
        true if said.kind == expect.kind => Ok(()),
        true => Err(unknown_conversion(&said, expect)),
        false => Err(not_registered(&said)),
    }
}

fn unknown_conversion(said: &Said, expect: &Expect) -> String {
    format!(
        "converting ({}.{}) to ({}.{}): unknown conversion",
        said.version,
        said.kind,
        internal_package(expect.group),
        expect.kind
    )
}

/// A body whose kind is known and whose fields are still to be read.
struct Opened<'a> {
    said: Said,
    /// JSON, or a protobuf message.
    content: Cow<'a, [u8]>,
    strict: Vec<String>,
}

fn open(body: &[u8], format: Format) -> Result<Opened<'_>, String> {
    match format {
        Format::Json => Ok(Opened {
            said: probe(body)?,
            content: body.into(),
            strict: Vec::new(),
        }),
        Format::Yaml => {
            let document = yaml::read(body)?;
            let json = document.value.to_string().into_bytes();
            Ok(Opened {
                said: probe(&json)?,
                content: json.into(),
                strict: repeated(&document.duplicates),
            })
        }
        Format::Protobuf => {
            let envelope = protobuf::open(body)?;
            let said = Said::new(&envelope.api_version, envelope.kind)?;
            Ok(Opened {
                said,
                content: envelope.message.into(),
                strict: Vec::new(),
            })
        }
    }
}

fn content_of(
    schemas: &Schemas,
    content: &[u8],
    format: Format,
    said: &Said,
    expect: &Expect,
) -> Result<Read, String> {
    let schema = schemas
        .by_kind(&said.group, &said.version, &said.kind)
        .filter(|_| !expect.custom);
    match (schema, format) {
        (Some(schema), Format::Protobuf) => Ok(Read {
            value: protobuf::read(&schema, content)?,
            strict: Vec::new(),
        }),
        (Some(schema), _) => read(&schema, content),
        (None, Format::Json | Format::Yaml) if expect.custom || said.fits(expect) => {
            let mut read = read_any(content)?;
            if read.value.is_null() {
                read.value = Value::Object(knarr_json::Map::new());
            }
            Ok(read)
        }
        (None, _) if converts(said, expect) || is_list_of_anything(said) => Ok(Read {
            value: Value::Null,
            strict: Vec::new(),
        }),
        (None, _) => Err(not_registered(said)),
    }
}

/// Strict errors as one: `strict decoding error: unknown field "a", duplicate field "b"`.
pub fn strict_error(errors: &[String]) -> String {
    format!("strict decoding error: {}", errors.join(", "))
}

/// Strict errors as the texts of `Warning` headers; repeated YAML keys one by one.
pub fn warnings(errors: &[String]) -> Vec<String> {
    let lines = |e: &String| {
        e.strip_prefix(YAML_ERRORS)
            .unwrap_or(e)
            .lines()
            .map(|l| l.trim().to_owned())
            .collect::<Vec<_>>()
    };
    errors.iter().flat_map(lines).collect()
}

const YAML_ERRORS: &str = "yaml: unmarshal errors:\n";

/// Repeated YAML keys as the one error that they are.
fn repeated(duplicates: &[String]) -> Vec<String> {
    if duplicates.is_empty() {
        return Vec::new();
    }
    let lines: Vec<String> = duplicates.iter().map(|d| format!("  {d}")).collect();
    vec![format!("{YAML_ERRORS}{}", lines.join("\n"))]
}

/// What a body says it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Said {
    group: String,
    version: String,
    kind: String,
}

impl Said {
    fn new(api_version: &str, kind: String) -> Result<Self, String> {
        let (group, version) = match api_version.matches('/').count() {
            0 => ("", api_version),
            1 => api_version.split_once('/').unwrap_or_default(),
            _ => return Err(format!("unexpected GroupVersion string: {api_version}")),
        };
        Ok(Said {
            group: group.to_owned(),
            version: version.to_owned(),
            kind,
        })
    }

    /// Takes from the endpoint what the body does not say.
    fn or(mut self, expect: &Expect) -> Self {
        if self.kind.is_empty() {
            self.kind = expect.kind.to_owned();
        }
        if self.version.is_empty() && self.group.is_empty() {
            self.group = expect.group.to_owned();
            self.version = expect.version.to_owned();
        }
        self
    }

    fn fits(&self, expect: &Expect) -> bool {
        (
            self.group.as_str(),
            self.version.as_str(),
            self.kind.as_str(),
        ) == (expect.group, expect.version, expect.kind)
    }
}

/// Checks the whole text's syntax and reads its `kind` and `apiVersion`.
fn probe(json: &[u8]) -> Result<Said, String> {
    let failed = |why: String| format!("couldn't get version/kind; json parse error: {why}");
    let syntax = |e: SyntaxError| failed(e.0);
    let mut scan = Scanner::new(json);
    let (mut api_version, mut kind) = (String::new(), String::new());
    match scan.peek().map_err(syntax)? {
        Next::Object => {
            scan.enter().map_err(syntax)?;
            let (mut first, mut wrong) = (true, None);
            while let Some(key) = scan.key(std::mem::take(&mut first)).map_err(syntax)? {
                let slot = match &*key {
                    "apiVersion" => &mut api_version,
                    "kind" => &mut kind,
                    _ => {
                        scan.skip().map_err(syntax)?;
                        continue;
                    }
                };
                match scan.peek().map_err(syntax)? {
                    Next::String => *slot = scan.string().map_err(syntax)?.into_owned(),
                    next => {
                        scan.skip().map_err(syntax)?;
                        if next != Next::Null && wrong.is_none() {
                            wrong = Some(format!(
                                "json: cannot unmarshal {} into Go struct field .{key} of type string",
                                next.word()
                            ));
                        }
                    }
                }
            }
            scan.end().map_err(syntax)?;
            if let Some(why) = wrong {
                return Err(failed(why));
            }
        }
        next => {
            scan.skip().map_err(syntax)?;
            scan.end().map_err(syntax)?;
            if next != Next::Null {
                let go = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
                return Err(failed(format!(
                    "json: cannot unmarshal {} into Go value of type {go}",
                    next.word()
                )));
            }
        }
    }
    Said::new(&api_version, kind)
}

/// Whether the original still knows this old version of the kind, so that only the version is wrong.
fn converts(said: &Said, expect: &Expect) -> bool {
    let old_group = said.group == expect.group || said.group == "extensions";
    let old_version = said.version.contains("alpha") || said.version.contains("beta");
    said.kind == expect.kind && old_group && old_version
}

/// A kind that the original knows and that nothing takes.
fn is_list_of_anything(said: &Said) -> bool {
    said.group.is_empty() && said.version == "v1" && said.kind == "List"
}

fn not_registered(said: &Said) -> String {
    let version = join(&said.group, &said.version);
    if said.version.is_empty() {
        return format!(
            "no kind {:?} is registered for the internal version of group {:?} in scheme {SCHEME:?}",
            said.kind, said.group
        );
    }
    format!(
        "no kind {:?} is registered for version {version:?} in scheme {SCHEME:?}",
        said.kind
    )
}

/// Where the original says its types are registered.
const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";

/// What the original calls the package of a group's internal types.
fn internal_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or(group),
    }
}

fn join(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// The start of a body for messages: JSON as it is, anything else in hexadecimal.
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let (start, more) = if body.len() > SHOWN {
        (&body[..SHOWN], " ...")
    } else {
        (body, "")
    };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(start)),
        Some(_) => format!(
            "{}{more}",
            start.iter().map(|b| format!("{b:02x}")).collect::<String>()
        ),
    }
}

#[cfg(test)]
mod tests;

//! Paths into an object and what can be wrong there, worded as Kubernetes words it (`k8s.io/apimachinery/pkg/util/validation/field`).

use std::{cell::Cell, fmt};

use knarr_json::Value;

use crate::go;

thread_local! {
    /// Whether this thread makes no paths; see [`found`].
    static PATHLESS: Cell<bool> = const { Cell::new(false) };
}

/// What `check` finds, which is the same each time.
///
/// Checks make a path for every field that they look at and show hardly any of them, which is much of what they cost. So
/// they run without paths first, and once more with them when there is something to tell.
pub fn found<T>(check: impl Fn() -> Vec<T>) -> Vec<T> {
    let pathless = Pathless::begin();
    let found = check();
    drop(pathless);
    if found.is_empty() { found } else { check() }
}

/// While it lives, paths stay empty on this thread.
struct Pathless {
    before: bool,
}

impl Pathless {
    fn begin() -> Self {
        Pathless {
            before: PATHLESS.replace(true),
        }
    }
}

impl Drop for Pathless {
    fn drop(&mut self) {
        PATHLESS.set(self.before);
    }
}

/// Where in an object: `spec.containers[0].env[2].name`, `metadata.labels[app]`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    pub fn new(root: &str) -> Self {
        Path::default().with(["", root, ""])
    }

    /// This path and `parts` behind it.
    #[inline]
    fn with(&self, parts: [&str; 3]) -> Self {
        match PATHLESS.get() {
            true => Path::default(),
            false => self.longer(parts),
        }
    }

    fn longer(&self, parts: [&str; 3]) -> Self {
        let added: usize = parts.iter().map(|part| part.len()).sum();
        let mut out = String::with_capacity(self.0.len() + added);
        out.push_str(&self.0);
        parts.iter().for_each(|part| out.push_str(part));
        Path(out)
    }

    /// The field `name` below this one.
    #[inline]
    pub fn child(&self, name: &str) -> Self {
        match self.0.is_empty() {
            true => Path::new(name),
            false => self.with([".", name, ""]),
        }
    }

    /// Element `i` of this list.
    pub fn index(&self, i: usize) -> Self {
        match PATHLESS.get() {
            true => Path::default(),
            false => self.longer(["[", itoa::Buffer::new().format(i), "]"]),
        }
    }

    /// The value under `key` of this map.
    #[inline]
    pub fn key(&self, key: &str) -> Self {
        self.with(["[", key, "]"])
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({:?})", self.as_str())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.as_str() {
            "" => "<nil>",
            path => path,
        })
    }
}

/// Kinds of field errors, named on the wire as `FieldValue…` causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    TooFew,
    Internal,
    TypeInvalid,
}

impl Kind {
    /// The cause's `reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Kind::NotFound => "FieldValueNotFound",
            Kind::Required => "FieldValueRequired",
            Kind::Duplicate => "FieldValueDuplicate",
            Kind::Invalid => "FieldValueInvalid",
            Kind::NotSupported => "FieldValueNotSupported",
            Kind::Forbidden => "FieldValueForbidden",
            Kind::TooLong => "FieldValueTooLong",
            Kind::TooMany => "FieldValueTooMany",
            Kind::TooFew => "FieldValueTooFew",
            Kind::Internal => "InternalError",
            Kind::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Kind::NotFound => "Not found",
            Kind::Required => "Required value",
            Kind::Duplicate => "Duplicate value",
            Kind::Invalid => "Invalid value",
            Kind::NotSupported => "Unsupported value",
            Kind::Forbidden => "Forbidden",
            Kind::TooLong => "Too long",
            Kind::TooMany => "Too many",
            Kind::TooFew => "Too few",
            Kind::Internal => "Internal error",
            Kind::TypeInvalid => "Invalid value",
        }
    }
}

/// One thing wrong with one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    pub kind: Kind,
    pub field: String,
    /// The offending value; shown for the kinds that show one.
    pub value: Value,
    pub detail: String,
    /// How the value is shown where `value` alone does not say it: an object in its Go field order.
    pub shown: Option<String>,
    /// The value is not worth showing: an object that broke a rule.
    pub omits_value: bool,
}

pub type Errors = Vec<Error>;

impl Error {
    fn make(kind: Kind, path: &Path, value: Value, detail: impl Into<String>) -> Self {
        Error {
            kind,
            field: path.to_string(),
            value,
            detail: detail.into(),
            shown: None,
            omits_value: false,
        }
    }

    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::make(Kind::Required, path, Value::Null, detail)
    }

    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::make(Kind::Invalid, path, value.into(), detail)
    }

    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::make(Kind::TypeInvalid, path, value.into(), detail)
    }

    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::make(Kind::Duplicate, path, value.into(), "")
    }

    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::make(Kind::NotFound, path, value.into(), "")
    }

    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::make(Kind::Forbidden, path, Value::Null, detail)
    }

    /// `supported` is listed quoted, in the order given (the original sorts where its set is unordered). The value is of a
    /// type of its own, which Go writes as JSON writes text, not as it quotes plain text.
    pub fn not_supported<S: AsRef<str>>(
        path: &Path,
        value: impl Into<Value>,
        supported: &[S],
    ) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| go::quote(s.as_ref())).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        let value = value.into();
        let shown = go::json(&value);
        Self::make(Kind::NotSupported, path, value, detail).showing(shown)
    }

    pub fn too_long(path: &Path, max: usize) -> Self {
        Self::make(
            Kind::TooLong,
            path,
            Value::Null,
            format!("may not be more than {max} bytes"),
        )
    }

    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        Self::make(
            Kind::TooMany,
            path,
            Value::from(actual),
            format!(
                "must have at most {max} item{}",
                if max == 1 { "" } else { "s" }
            ),
        )
    }

    /// Shows `text` in place of the value: what Go's encoder makes of a struct, whose fields keep their order.
    pub fn showing(mut self, text: impl Into<String>) -> Self {
        self.shown = Some(text.into());
        self
    }

    /// Leaves the value out: it is too big to be shown.
    pub fn without_value(mut self) -> Self {
        self.omits_value = true;
        self
    }

    /// Adds words to an error that has none.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::make(Kind::Internal, path, Value::Null, detail)
    }

    /// What the cause's `message` says: everything but the field.
    pub fn body(&self) -> String {
        let shows_value = !self.omits_value
            && !matches!(
                self.kind,
                Kind::Required | Kind::Forbidden | Kind::TooLong | Kind::TooFew | Kind::Internal
            );
        let mut out = self.kind.words().to_owned();
        if shows_value {
            out.push_str(": ");
            match &self.shown {
                Some(text) => out.push_str(text),
                None => out.push_str(&shown(&self.value)),
            }
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

/// A value as error messages show it: strings quoted, null as `null`, the rest as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(s) => go::quote(s),
        other => go::json(other),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// Errors as one sentence: alone as it is, several in brackets, repeated ones once.
pub fn aggregate(errors: &[Error]) -> String {
    let mut seen: Vec<String> = Vec::new();
    for e in errors {
        let text = e.to_string();
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    match seen.len() {
        1 => seen.remove(0),
        _ => format!("[{}]", seen.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_told_with_its_path() {
        let runs = Cell::new(0);
        let check = |wrong: bool| {
            runs.set(runs.get() + 1);
            let path = Path::new("spec").child("ports").index(1).key("a");
            wrong
                .then(|| Error::required(&path, ""))
                .into_iter()
                .collect::<Errors>()
        };
        assert!(found(|| check(false)).is_empty());
        assert_eq!(runs.get(), 1);
        let errors = found(|| found(|| check(true)));
        assert_eq!(errors[0].field, "spec.ports[1][a]");
        let gone = std::panic::catch_unwind(|| found::<()>(|| panic!("a check goes wrong")));
        assert!(gone.is_err());
        assert_eq!(Path::new("spec").as_str(), "spec");
    }

    #[test]
    fn errors_read_as_kubernetes_words_them() {
        let p = Path::new("spec").child("containers").index(0).child("name");
        assert_eq!(
            Error::required(&p, "").to_string(),
            "spec.containers[0].name: Required value"
        );
        assert_eq!(
            Error::invalid(&p, "a=b", "no").to_string(),
            "spec.containers[0].name: Invalid value: \"a=b\": no"
        );
        assert_eq!(
            Error::duplicate(&p, "x").to_string(),
            "spec.containers[0].name: Duplicate value: \"x\""
        );
        assert_eq!(Error::invalid(&p, -1, "").body(), "Invalid value: -1");
        assert_eq!(
            Error::not_supported(&p, "<\u{1}>", &["a"]).body(),
            "Unsupported value: \"\\u003c\\u0001\\u003e\": supported values: \"a\""
        );
        let same = vec![Error::required(&p, ""), Error::required(&p, "")];
        assert_eq!(aggregate(&same), "spec.containers[0].name: Required value");
    }
}

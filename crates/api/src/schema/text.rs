//! The text that built-in types are written in: facts only, one line per type or field.
//!
//! ```text
//! package io.k8s.api.core.v1 core/v1          full OpenAPI prefix, and group/version its kinds are in (`core` is "")
//! import meta io.k8s.apimachinery.pkg.apis.meta.v1
//! type ContainerPort                          a struct; then, in any order:
//! type Pod kind                               … that is a kind of the group and version
//! type LabelSelector atomic                   … that is owned as a whole
//!  name str - #1                              field: JSON name, type, presence, then flags
//! ```
//!
//! Types: `bool i32 i64 f64 str bytes qty intstr time microtime any raw fieldsv1`, a struct `PodSpec` or
//! `meta.ObjectMeta`, `str:PullPolicy` (text whose Go type has a name), `[]T`, `{}T`, `{ResourceList}T` (a map with a name).
//! Presence: `?` Optional, `^` Nullable, `-` OmitEmpty, `=` Always, `0` OmitZero.
//! Flags: `req`, `atomic`, `set`, `map=key,key`, `merge`, `merge=key`, `replace`, `retain`, `default=JSON`, `#N` protobuf number (`#M.N` in the embedded message M, and so on).

use super::{
    Places,
    types::{Field, List, ListKind, Map, Name, Patch, Presence, Struct, Type},
};

/// What names mean inside one file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Package {
    /// `io.k8s.api.core.v1`
    pub prefix: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    pub text: &'static str,
}

impl Package {
    /// Reads the `package` line.
    pub fn of(text: &'static str) -> Option<Self> {
        let mut words = text
            .lines()
            .find_map(|l| l.strip_prefix("package "))?
            .split(' ');
        let prefix = words.next()?;
        let (group, version) = words.next().unwrap_or("/").split_once('/')?;
        Some(Package {
            prefix,
            group: if group == "core" { "" } else { group },
            version,
            text,
        })
    }

    /// Full name of a type as written in this file.
    fn full(&self, name: &str) -> String {
        match name.split_once('.') {
            None => format!("{}.{name}", self.prefix),
            Some((alias, rest)) => {
                let prefix = self.text.lines().find_map(|l| {
                    let (a, p) = l.strip_prefix("import ")?.split_once(' ')?;
                    (a == alias).then_some(p)
                });
                format!("{}.{rest}", prefix.unwrap_or(alias))
            }
        }
    }

    fn go(&self, name: &str) -> String {
        match name.split_once('.') {
            None => format!(
                "{}.{name}",
                self.prefix.rsplit('.').next().unwrap_or_default()
            ),
            Some(_) => {
                let full = self.full(name);
                let mut parts = full.rsplit('.');
                let short = parts.next().unwrap_or_default();
                format!("{}.{short}", parts.next().unwrap_or_default())
            }
        }
    }
}

/// Where the body of one type is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub package: u16,
    pub name: &'static str,
    pub kind: bool,
    /// The rest of the `type` line.
    pub flags: &'static str,
    /// Lines of its fields.
    pub body: &'static str,
}

/// Finds the types of a file without reading their fields.
pub(super) fn index(package: u16, text: &'static str) -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::new();
    for part in text.split("\ntype ").skip(1) {
        let (head, body) = part.split_once('\n').unwrap_or((part, ""));
        let (name, flags) = head.split_once(' ').unwrap_or((head, ""));
        out.push(Entry {
            package,
            name,
            kind: flags.split(' ').any(|f| f == "kind"),
            flags,
            body,
        });
    }
    out
}

/// Reads a type. `resolve` turns a full name into a reference.
pub(super) fn parse(
    package: &Package,
    entry: &Entry,
    resolve: &dyn Fn(&str) -> Option<Type>,
) -> Struct {
    let mut fields: Vec<Field> = entry
        .body
        .lines()
        .filter_map(|line| field(package, line.strip_prefix(' ')?, resolve))
        .collect();
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    Struct {
        name: Name::Owned(package.full(entry.name)),
        go: Name::Owned(package.go(entry.name)),
        fields,
        atomic: entry.flags.split(' ').any(|f| f == "atomic"),
        preserve_unknown: entry.flags.split(' ').any(|f| f == "open"),
        embedded: false,
        places: Places::default(),
    }
}

fn field(
    package: &Package,
    line: &'static str,
    resolve: &dyn Fn(&str) -> Option<Type>,
) -> Option<Field> {
    let (line, default) = match line.split_once(" default=") {
        Some((line, json)) => (line, serde_json::from_str(json).ok()),
        None => (line, None),
    };
    let mut words = line.split(' ');
    let name = words.next()?;
    let mut ty = type_of(package, words.next()?, resolve)?;
    let presence = match words.next()? {
        "?" => Presence::Optional,
        "^" => Presence::Nullable,
        "-" => Presence::OmitEmpty,
        "=" => Presence::Always,
        "0" => Presence::OmitZero,
        _ => return None,
    };
    let mut out = Field {
        name: Name::Borrowed(name),
        ty: Type::Any,
        presence,
        required: false,
        atomic: false,
        patch: Patch::default(),
        default,
        number: 0,
        inside: 0,
    };
    for flag in words {
        flag_of(flag, &mut out, &mut ty)?;
    }
    out.ty = ty;
    Some(out)
}

fn flag_of(flag: &'static str, out: &mut Field, ty: &mut Type) -> Option<()> {
    let (word, value) = flag.split_once('=').unwrap_or((flag, ""));
    match (word, ty) {
        ("req", _) => out.required = true,
        ("merge", _) => {
            out.patch.merge = true;
            out.patch.key = (!value.is_empty()).then_some(Name::Borrowed(value));
        }
        ("replace", _) => out.patch.replace = true,
        ("retain", _) => out.patch.retain_keys = true,
        ("atomic", Type::Map(map)) => map.atomic = true,
        ("atomic", Type::List(_)) => {}
        ("atomic", _) => out.atomic = true,
        ("set", Type::List(list)) => list.kind = ListKind::Set,
        ("map", Type::List(list)) => {
            list.kind = ListKind::Map(value.split(',').map(Name::Borrowed).collect())
        }
        (number, _) => {
            let path = number.strip_prefix('#')?;
            let (around, number) = path.rsplit_once('.').unwrap_or(("", path));
            out.number = number.parse().ok()?;
            for (i, outer) in around.split('.').filter(|o| !o.is_empty()).enumerate() {
                out.inside |= u32::from(outer.parse::<u8>().ok()?) << (8 * i);
            }
        }
    }
    Some(())
}

fn type_of(
    package: &Package,
    word: &'static str,
    resolve: &dyn Fn(&str) -> Option<Type>,
) -> Option<Type> {
    if let Some(elem) = word.strip_prefix("[]") {
        return Some(Type::List(Box::new(List {
            elem: type_of(package, elem, resolve)?,
            kind: ListKind::Atomic,
        })));
    }
    if let Some(rest) = word.strip_prefix('{') {
        let (go, value) = rest.split_once('}')?;
        let go = (!go.is_empty()).then(|| Name::Owned(package.go(go)));
        return Some(Type::Map(Box::new(Map {
            value: type_of(package, value, resolve)?,
            atomic: false,
            go,
        })));
    }
    if let Some(go) = word.strip_prefix("str:") {
        return Some(Type::String(Some(Name::Owned(package.go(go)))));
    }
    Some(match word {
        "bool" => Type::Bool,
        "i32" => Type::Int32,
        "i64" => Type::Int64,
        "f64" => Type::Double,
        "str" => Type::String(None),
        "bytes" => Type::Bytes,
        "qty" => Type::Quantity,
        "intstr" => Type::IntOrString,
        "time" => Type::Time,
        "microtime" => Type::MicroTime,
        "any" => Type::Any,
        "raw" => Type::Raw,
        "fieldsv1" => Type::FieldsV1,
        name => return resolve(&package.full(name)),
    })
}

//! `spec` of a definition.
//!
//! What all versions share is checked once and told at the top of the spec (`spec.validation.openAPIV3Schema`), where
//! older versions of this API had it and the original still looks for it.

use knarr_json::Value;

use super::{columns, conversion, internal, names, schema, structural};
use crate::{
    field::{Error, Errors, Path},
    go, names as rules_of_names,
    validation::{At, list, one_of},
};

/// What an update does not have to get right because it was wrong before.
pub struct Leniency {
    /// Schemas must be structural.
    pub structural: bool,
    /// Types must be those of OpenAPI.
    pub types: bool,
    /// Defaults must be pruned.
    pub pruned_defaults: bool,
    /// Elements of sets must be atomic.
    pub atomic_sets: bool,
    /// Keys of lists that are maps must be there.
    pub map_keys: bool,
}

impl Leniency {
    fn of(object: &Value, old: Option<&Value>) -> Self {
        let Some(old) = old else {
            return Leniency {
                structural: true,
                types: true,
                pruned_defaults: true,
                atomic_sets: true,
                map_keys: true,
            };
        };
        let schemas: Vec<&Value> = versions_of(old)
            .map(|v| &v["schema"]["openAPIV3Schema"])
            .collect();
        let none = |wrong: &dyn Fn(&Value) -> bool| {
            let mut found = false;
            for schema in &schemas {
                each_schema(schema, &mut |s| found |= wrong(s));
            }
            !found
        };
        Leniency {
            structural: schemas.iter().all(|s| is_structural(s)) || needs_structure(object),
            types: none(&|s| !schema::has_known_type(s)),
            pruned_defaults: schemas.iter().all(|s| super::value_defaults::are_pruned(s)),
            atomic_sets: none(&super::lists::is_bad_set),
            map_keys: none(&|s| {
                let mut errors = Errors::new();
                super::lists::keys(&At::new(s, ""), &mut errors);
                !errors.is_empty()
            }),
        }
    }
}

/// Whether a schema is structural; none at all is.
pub fn is_structural(schema: &Value) -> bool {
    !schema.is_object()
        || (structural::unsupported(schema).is_none()
            && structural::validate(&At::new(schema, "")).is_empty())
}

fn has_schema_with(object: &Value, has: &dyn Fn(&Value) -> bool) -> bool {
    let mut found = false;
    for version in versions_of(object) {
        each_schema(&version["schema"]["openAPIV3Schema"], &mut |s| {
            found |= has(s)
        });
    }
    found
}

/// Whether only structural schemas will do, whatever there was before: for pruning, defaults and extensions.
fn needs_structure(object: &Value) -> bool {
    const EXTENSIONS: [&str; 6] = [
        "x-kubernetes-embedded-resource",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-validations",
    ];
    let given = |s: &Value, key: &str| s.get(key).is_some_and(|v| !v.is_null() && *v != false);
    object["spec"]["preserveUnknownFields"] != true
        || has_schema_with(object, &|s| {
            given(s, "default") || EXTENSIONS.iter().any(|key| given(s, key))
        })
}

fn versions_of(object: &Value) -> impl Iterator<Item = &Value> {
    list(&object["spec"]["versions"]).iter()
}

/// Calls `work` with a schema and all schemas inside it.
pub fn each_schema<'v>(schema: &'v Value, work: &mut dyn FnMut(&'v Value)) {
    if !schema.is_object() {
        return;
    }
    work(schema);
    for key in ["items", "not", "additionalProperties", "additionalItems"] {
        match &schema[key] {
            Value::Array(many) => many.iter().for_each(|s| each_schema(s, work)),
            one => each_schema(one, work),
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        list(&schema[key]).iter().for_each(|s| each_schema(s, work));
    }
    for key in [
        "properties",
        "patternProperties",
        "definitions",
        "dependencies",
    ] {
        let children = schema[key].as_object().into_iter().flatten();
        children.for_each(|(_, s)| each_schema(s, work));
    }
}

/// Checks the spec of a definition.
pub fn validate(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let spec = At::root(object, "spec");
    group_and_scope(&spec, errors);
    schemas_given(&spec, old, errors);
    let preserves = spec.flag("preserveUnknownFields");
    if preserves && has_schema_with(object, &|s| s.get("default").is_some_and(|d| !d.is_null())) {
        let why = "must be false in order to use defaults in the schema";
        errors.push(spec.get("preserveUnknownFields").invalid(why));
    }
    let lenient = Leniency::of(object, old);
    let shared = Shared::of(&spec);
    versions(&spec, &shared, &lenient, errors);
    required_names(&spec, errors);
    names::validate(&spec.get("names"), errors);
    shared.validate(&spec, &lenient, errors);
    let strategy = spec.get("conversion").get("strategy");
    if preserves && !["", "None"].contains(&strategy.str()) {
        errors.push(strategy.invalid("must be None if spec.preserveUnknownFields is true"));
    }
    let established = old.is_some_and(is_established);
    let old_conversion = old.map(|o| &o["spec"]["conversion"]);
    let recognized = old_conversion.is_none_or(conversion::recognizes);
    let checked = established && !old_conversion.is_some_and(conversion::has_bad_bundle);
    conversion::validate(&spec, recognized, checked, errors);
    if let Some(old) = old {
        immutable(&spec, &old["spec"], established, errors);
    }
}

fn is_established(object: &Value) -> bool {
    list(&object["status"]["conditions"])
        .iter()
        .any(|c| c["type"] == "Established" && c["status"] == "True")
}

fn immutable(spec: &At, old: &Value, established: bool, errors: &mut Errors) {
    let mut check = |new: At, old: &Value| {
        if new.v != old {
            errors.push(new.invalid("field is immutable"));
        }
    };
    let names = spec.get("names");
    if established {
        check(spec.get("scope"), &old["scope"]);
        check(names.get("kind"), &old["names"]["kind"]);
    }
    check(spec.get("group"), &old["group"]);
    check(names.get("plural"), &old["names"]["plural"]);
}

fn group_and_scope(spec: &At, errors: &mut Errors) {
    let group = spec.get("group");
    let wrong = rules_of_names::dns1123_subdomain(group.str());
    match group.str() {
        "" => errors.push(group.required("")),
        _ if !wrong.is_empty() => errors.push(group.invalid(wrong.join(","))),
        text if !text.contains('.') => {
            errors.push(group.invalid("should be a domain with at least one dot"));
        }
        _ => {}
    }
    one_of(spec, "scope", &["Cluster", "Namespaced"], errors);
}

/// Every version has a schema; in a definition that had versions without, only those served must have one.
fn schemas_given(spec: &At, old: Option<&Value>, errors: &mut Errors) {
    let has = |v: &Value| v["schema"]["openAPIV3Schema"].is_object();
    let strict = old.is_none_or(|old| versions_of(old).all(has));
    let prunes = spec.v["preserveUnknownFields"] != true;
    for version in spec.items("versions").filter(|v| !has(v.v)) {
        let path = version.path.child("schema").child("openAPIV3Schema");
        if strict {
            errors.push(Error::required(&path, ""));
        } else if prunes && version.flag("served") {
            errors.push(Error::required(
                &path,
                "because otherwise all fields are pruned",
            ));
        }
    }
}

/// What is the same in all versions.
struct Shared<'a> {
    first: Option<At<'a>>,
    schema: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
    any_status: bool,
}

impl<'a> Shared<'a> {
    fn of(spec: &At<'a>) -> Self {
        let versions = list(spec.get("versions").v);
        // Empty lists are absent ones.
        let given = |v: &&Value| v.as_array().is_none_or(|list| !list.is_empty());
        let same = |key: &str| {
            let of = |v: &'a Value| v.get(key).filter(given);
            versions.iter().all(|v| of(v) == of(&versions[0]))
        };
        Shared {
            first: spec.items("versions").next(),
            schema: same("schema"),
            subresources: same("subresources"),
            columns: same("additionalPrinterColumns"),
            selectable: same("selectableFields"),
            any_status: versions
                .iter()
                .any(|v| v["subresources"]["status"].is_object()),
        }
    }

    /// Whether a field of versions is the same in all of them, and told of at the top.
    fn hoists(&self, key: &str) -> bool {
        match key {
            "schema" => self.schema,
            "subresources" => self.subresources,
            "additionalPrinterColumns" => self.columns,
            _ => self.selectable,
        }
    }

    fn validate(&self, spec: &At, lenient: &Leniency, errors: &mut Errors) {
        let Some(first) = &self.first else { return };
        let at = |key: &str, shown: &str| At {
            v: first.get(key).v,
            path: spec.path.child(shown),
        };
        let validation = at("schema", "validation");
        if self.schema {
            schema::validate(&validation, self.any_status, lenient, errors);
        }
        if self.subresources {
            columns::subresources(&at("subresources", "subresources"), errors);
        }
        if self.columns {
            let key = "additionalPrinterColumns";
            columns::printer(&at(key, key), errors);
        }
        let fields = at("selectableFields", "selectableFields");
        if !self.selectable || list(fields.v).is_empty() {
            return;
        }
        if !self.schema || !validation.v.is_object() {
            let why = "may only be set when validations.schema is included";
            errors.push(Error::invalid(&fields.path, "", why));
            return;
        }
        columns::selectable(&fields, &validation.v["openAPIV3Schema"], errors);
    }
}

fn versions(spec: &At, shared: &Shared, lenient: &Leniency, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    let mut unique = true;
    let mut storage = 0;
    for version in spec.items("versions") {
        storage += usize::from(version.flag("storage"));
        let name = version.get("name");
        unique &= !seen.contains(&name.str());
        seen.push(name.str());
        let wrong = rules_of_names::dns1035_label(name.str());
        if !wrong.is_empty() {
            errors.push(name.invalid(wrong.join(",")));
        }
        one_version(&version, shared, lenient, errors);
    }
    let versions = spec.get("versions");
    let mut wrong = |why: &str| {
        let text = internal::versions(versions.v, &|key| shared.hoists(key));
        errors.push(versions.invalid(why).showing(text));
    };
    if !unique {
        wrong("must contain unique version names");
    }
    if storage != 1 {
        wrong("must have exactly one version marked as storage version");
    }
    // The original knows the first version by a field of its own, too.
    let first = seen.first().copied().unwrap_or_default();
    let wrong = rules_of_names::dns1035_label(first);
    if !first.is_empty() && !wrong.is_empty() {
        let path = spec.path.child("version");
        errors.push(Error::invalid(&path, first, wrong.join(",")));
    }
}

fn one_version(version: &At, shared: &Shared, lenient: &Leniency, errors: &mut Errors) {
    deprecation(version, errors);
    if !shared.schema {
        let status = version.v["subresources"]["status"].is_object();
        schema::validate(&version.get("schema"), status, lenient, errors);
    }
    if !shared.subresources {
        columns::subresources(&version.get("subresources"), errors);
    }
    if !shared.columns {
        columns::printer(&version.get("additionalPrinterColumns"), errors);
    }
    let fields = version.get("selectableFields");
    if shared.selectable || list(fields.v).is_empty() {
        return;
    }
    let schema = &version.v["schema"]["openAPIV3Schema"];
    if shared.schema || !schema.is_object() {
        let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
        errors.push(Error::invalid(&fields.path, "", why));
        return;
    }
    columns::selectable(&fields, schema, errors);
}

fn deprecation(version: &At, errors: &mut Errors) {
    let Some(warning) = version.some("deprecationWarning") else {
        return;
    };
    let text = warning.str();
    if !version.flag("deprecated") {
        errors.push(warning.invalid("can only be set for deprecated versions"));
        return;
    }
    if text.len() > 256 {
        errors.push(warning.invalid("must be <= 256 characters long"));
    }
    if text.is_empty() {
        errors.push(warning.invalid("must not be an empty string"));
    }
    if let Some((i, _)) = text.char_indices().find(|(_, c)| !go::is_print(*c)) {
        errors.push(warning.invalid(format!("must only contain printable UTF-8 characters; non-printable character found at index {i}")));
    }
}

fn required_names(spec: &At, errors: &mut Errors) {
    let names = spec.get("names");
    for key in ["plural", "singular", "kind", "listKind"] {
        if names.text(key).is_empty() {
            errors.push(Error::required(
                &Path::new("spec").child("names").child(key),
                "",
            ));
        }
    }
}

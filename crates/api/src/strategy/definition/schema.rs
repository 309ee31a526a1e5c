//! `openAPIV3Schema` of a version.

use knarr_json::Value;

use super::{internal, keywords, rules, spec::Leniency, structural, value_defaults};
use crate::{
    field::{Error, Errors},
    strategy::custom::field_error,
    validation::At,
};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];

/// What may stand at the root of a schema whose `status` is taken out of it, as the original's errors list it.
const AT_ROOT: &[&str] = &[
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
];

/// Whether `type` is absent or one of OpenAPI's.
pub fn has_known_type(schema: &Value) -> bool {
    let kind = schema["type"].as_str().unwrap_or_default();
    kind.is_empty() || TYPES.contains(&kind)
}

/// Checks a `CustomResourceValidation`.
pub fn validate(validation: &At, status: bool, lenient: &Leniency, errors: &mut Errors) {
    let Some(schema) = validation.some("openAPIV3Schema") else {
        return;
    };
    let before = errors.len();
    if status {
        root_with_status(validation, &schema, errors);
    }
    if schema.flag("nullable") {
        errors.push(
            schema
                .get("nullable")
                .forbidden("nullable cannot be true at the root"),
        );
    }
    let mut rules_make_sense = false;
    let mut unread = None;
    if lenient.structural {
        match structural::unsupported(schema.v) {
            Some(why) => unread = Some(Error::invalid(&schema.path, "", why)),
            None => {
                let mut found = structural::validate(&schema);
                if found.is_empty() {
                    found = value_defaults::validate(&schema, lenient.pruned_defaults);
                }
                rules_make_sense = found.is_empty();
                errors.extend(found);
            }
        }
    }
    let mut found = Errors::new();
    keywords::Walk::new(lenient).schema(&schema, true, &mut found);
    let wrong: Vec<String> = found.iter().map(|e| e.field.clone()).collect();
    errors.extend(found);
    if errors.len() == before {
        errors.extend(unread);
    }
    if rules_make_sense {
        let violations = knarr_cel::rules::check(schema.v, schema.path.as_str(), &wrong);
        errors.extend(violations.into_iter().map(field_error));
    }
}

fn root_with_status(validation: &At, schema: &At, errors: &mut Errors) {
    for (shown, key) in internal::keywords() {
        let value = &schema.v[key];
        if value.is_null() || *value == false || *value == "" {
            continue;
        }
        if key == "type" {
            if value != "object" {
                let path = validation.path.child("openAPIV3Schema.type");
                errors.push(Error::invalid(&path, value.clone(), "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled"));
                return;
            }
            continue;
        }
        if !AT_ROOT.contains(&shown) {
            let why = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                AT_ROOT.join(" ")
            );
            errors.push(schema.invalid(why).showing(internal::schema(schema.v)));
            return;
        }
    }
}

/// `type` of OpenAPI.
pub(super) fn kind(schema: &At, errors: &mut Errors) {
    if !has_known_type(schema.v) {
        errors.push(schema.get("type").not_supported(TYPES));
    }
}

pub(super) use rules::validate as validate_rules;

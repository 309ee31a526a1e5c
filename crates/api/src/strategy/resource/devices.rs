//! What claims, classes and slices say of devices alike: requests, selectors, tolerations, configuration.

use knarr_json::Value;

use super::{each_of, names, set_of};
use crate::{
    field::{Error, Errors, Path},
    names as text_names,
    strategy::{
        Context,
        defaults::{at, each, set, set_text, set_zero},
        expressions::{Expression, Use},
    },
    validation::{At, labels, list, text},
};

const REQUESTS: usize = 32;
const CONSTRAINTS: usize = 32;
const CONFIGS: usize = 32;
const SELECTORS: usize = 32;
const ALTERNATIVES: usize = 8;
const CONDITIONS: usize = 4;
/// Longest expression of a selector, in bytes.
const LONGEST_EXPRESSION: usize = 10 * 1024;
/// Largest configuration that is opaque to the server, in bytes.
const LARGEST_PARAMETERS: usize = 10 * 1024;
const NO_REQUEST: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// Fills in how many devices each request of a claim asks for, and how its tolerations compare.
pub fn default(devices: &mut Value) {
    for request in each(devices, "requests") {
        if let Some(exactly) = at(request, "exactly") {
            default_request(exactly);
        }
        each(request, "firstAvailable").for_each(default_request);
    }
}

fn default_request(request: &mut Value) {
    set_text(request, "allocationMode", "ExactCount");
    if request["allocationMode"] == "ExactCount" {
        set_zero(request, "count", 1);
    }
    each(request, "tolerations").for_each(|t| set(t, "operator", "Equal"));
}

/// Names that constraints, configurations and results may refer to.
pub fn request_names(devices: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for request in list(&devices["requests"]) {
        let name = text(request, "name");
        out.push(name.to_owned());
        let alternatives = list(&request["firstAvailable"]);
        out.extend(
            alternatives
                .iter()
                .map(|s| format!("{name}/{}", text(s, "name"))),
        );
    }
    out
}

/// `spec.devices` of a claim.
pub fn claim(ctx: &Context, devices: &At, errs: &mut Errors) {
    let known = request_names(devices.v);
    let name = |at: &At| at.text("name").to_owned();
    let requests = devices.get("requests");
    set_of(&requests, REQUESTS, &name, errs, &mut |at, errs| {
        request(ctx, at, errs)
    });
    each_of(
        &devices.get("constraints"),
        CONSTRAINTS,
        errs,
        &mut |at, errs| {
            constraint(at, &known, errs);
        },
    );
    each_of(&devices.get("config"), CONFIGS, errs, &mut |at, errs| {
        references(&at.get("requests"), &known, errs);
        configuration(at, errs);
    });
}

fn request(ctx: &Context, at: &At, errs: &mut Errors) {
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    names::label(&at.get("name"), errs);
    let alternatives = at.get("firstAvailable");
    match (at.some("exactly"), list(alternatives.v).is_empty()) {
        (None, true) => errs.push(at.required(ONE)),
        (Some(_), false) => {
            let words = format!("{ONE}, but multiple fields are set");
            errs.push(Error::invalid(&at.path, Value::Null, words));
        }
        (Some(exactly), true) => exact(ctx, &exactly, errs),
        (None, false) => {
            let name = |at: &At| at.text("name").to_owned();
            set_of(&alternatives, ALTERNATIVES, &name, errs, &mut |at, errs| {
                names::label(&at.get("name"), errs);
                exact(ctx, at, errs);
            });
        }
    }
}

/// One way to satisfy a request.
fn exact(ctx: &Context, at: &At, errs: &mut Errors) {
    let class = at.get("deviceClassName");
    if class.str().is_empty() {
        errs.push(class.required(""));
    } else {
        class.push(text_names::dns1123_subdomain(class.str()), errs);
    }
    selectors(ctx, &at.get("selectors"), &Value::Null, errs);
    let count = at.int("count").unwrap_or(0);
    let path = at.path.child("count");
    match at.text("allocationMode") {
        "All" if count != 0 => {
            let words = "must not be specified when allocationMode is 'All'";
            errs.push(Error::invalid(&path, count, words));
        }
        "All" => {}
        "ExactCount" if count <= 0 => {
            errs.push(Error::invalid(&path, count, "must be greater than zero"));
        }
        "ExactCount" => {}
        _ => errs.push(
            at.get("allocationMode")
                .not_supported(&["All", "ExactCount"]),
        ),
    }
    for t in at.items("tolerations") {
        toleration(&t, errs);
    }
}

/// Selectors of a request or class. What stands in `known` is not compiled again.
pub fn selectors(ctx: &Context, all: &At, known: &Value, errs: &mut Errors) {
    let stored = known == all.v;
    each_of(all, SELECTORS, errs, &mut |at, errs| {
        let Some(cel) = at.some("cel") else {
            errs.push(at.get("cel").required(""));
            return;
        };
        let text = cel.get("expression");
        if stored {
            return;
        }
        if text.str().len() > LONGEST_EXPRESSION {
            errs.push(Error::too_long(&text.path, LONGEST_EXPRESSION));
            return;
        }
        let expression = Expression {
            text: text.str(),
            used: Use::Device,
            has_params: false,
            variables: &[],
        };
        errs.extend(ctx.expressions.check(&text, &expression));
    });
}

pub fn toleration(t: &At, errs: &mut Errors) {
    let key = t.get("key");
    if !key.str().is_empty() {
        labels::label_key(&key, key.str(), errs);
    }
    let value = t.get("value");
    match t.text("operator") {
        "Exists" => {
            if !value.str().is_empty() {
                errs.push(value.invalid("must be empty for operator `Exists`"));
            }
        }
        "Equal" => value.push(text_names::label_value(value.str()), errs),
        "" => errs.push(t.get("operator").required("")),
        _ => errs.push(t.get("operator").not_supported(&["Equal", "Exists"])),
    }
    let effect = t.get("effect");
    if !effect.str().is_empty() && !EFFECTS.contains(&effect.str()) {
        errs.push(effect.not_supported(&EFFECTS));
    }
}

pub fn taint(t: &At, errs: &mut Errors) {
    labels::label_key(&t.get("key"), t.text("key"), errs);
    let (value, effect) = (t.get("value"), t.get("effect"));
    if !value.str().is_empty() {
        value.push(text_names::label_value(value.str()), errs);
    }
    if effect.str().is_empty() {
        errs.push(effect.required(""));
    } else if !EFFECTS.contains(&effect.str()) {
        errs.push(effect.not_supported(&EFFECTS));
    }
}

fn constraint(at: &At, known: &[String], errs: &mut Errors) {
    references(&at.get("requests"), known, errs);
    if let Some(attribute) = at
        .some("matchAttribute")
        .or_else(|| at.some("distinctAttribute"))
    {
        names::fully_qualified(&attribute, errs);
    } else {
        errs.push(at.required(
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
        ));
    }
}

/// A list of names of requests.
pub fn references(all: &At, known: &[String], errs: &mut Errors) {
    let key = |at: &At| at.str().to_owned();
    set_of(all, REQUESTS, &key, errs, &mut |at, errs| {
        reference(at, known, errs)
    });
}

/// The name of a request, or of one of its alternatives.
pub fn reference(at: &At, known: &[String], errs: &mut Errors) {
    let parts: Vec<&str> = at.str().split('/').collect();
    if parts.len() > 2 {
        errs.push(Error::invalid(&at.path, at.str(), NO_REQUEST));
        return;
    }
    for part in parts {
        for m in text_names::dns1123_label(part) {
            errs.push(Error::invalid(&at.path, part, m));
        }
    }
    if !known.iter().any(|k| k == at.str()) {
        errs.push(Error::invalid(&at.path, at.str(), NO_REQUEST));
    }
}

/// What a driver is told: `opaque`.
pub fn configuration(at: &At, errs: &mut Errors) {
    let Some(opaque) = at.some("opaque") else {
        errs.push(at.get("opaque").required(""));
        return;
    };
    names::driver(&opaque.get("driver"), errs);
    raw(&opaque.get("parameters"), LARGEST_PARAMETERS, errs);
}

/// JSON of somebody else: an object of at most so many bytes.
pub fn raw(at: &At, most: usize, errs: &mut Errors) {
    if at.v.is_null() {
        errs.push(at.required(""));
    } else if at.v.to_string().len() > most {
        errs.push(Error::too_long(&at.path, most));
    } else if !at.v.is_object() {
        errs.push(Error::invalid(
            &at.path,
            "<value omitted>",
            "must be a valid JSON object",
        ));
    }
}

/// A list of configurations of a class.
pub fn configurations(all: &At, errs: &mut Errors) {
    each_of(all, CONFIGS, errs, &mut |at, errs| configuration(at, errs));
}

/// `config` of an allocation: that of claim and class together.
pub fn allocated_configurations(all: &At, known: &[String], errs: &mut Errors) {
    each_of(all, 2 * CONFIGS, errs, &mut |at, errs| {
        let source = at.get("source");
        match source.str() {
            "" => errs.push(source.required("")),
            "FromClaim" | "FromClass" => {}
            _ => errs.push(source.not_supported(&["FromClaim", "FromClass"])),
        }
        references(&at.get("requests"), known, errs);
        configuration(at, errs);
    });
}

/// Conditions that binding waits for, and those that end it: none twice, none in both, both or neither.
pub fn binding(at: &At, errs: &mut Errors) {
    let (wanted, failed) = (
        at.get("bindingConditions"),
        at.get("bindingFailureConditions"),
    );
    for all in [&wanted, &failed] {
        each_of(all, CONDITIONS, errs, &mut |at, errs| {
            labels::label_key(at, at.str(), errs)
        });
    }
    for (all, others) in [(&wanted, None), (&failed, Some(&wanted))] {
        let mut seen: Vec<&str> = Vec::new();
        for condition in all.each() {
            if seen.contains(&condition.str()) {
                errs.push(condition.duplicate());
            }
            seen.push(condition.str());
            if others.is_some_and(|o| list(o.v).contains(condition.v)) {
                let words = "bindingFailureConditions must not overlap with bindingConditions";
                errs.push(condition.invalid(words));
            }
        }
    }
    match (list(wanted.v).is_empty(), list(failed.v).is_empty()) {
        (true, false) => errs
            .push(wanted.invalid("bindingConditions are required to use bindingFailureConditions")),
        (false, true) => errs
            .push(failed.invalid("bindingFailureConditions are required to use bindingConditions")),
        _ => {}
    }
}

/// The first that wants to use a device that others hold. Only namespaces made for it may. `base` is what paths begin with:
/// the original names the place in a claim also where it speaks of a template.
pub fn admin_access(ctx: &Context, all: &Value, base: &Path, errs: &mut Errors) {
    const WORDS: &str = "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    let first = list(all).iter().position(wants_admin_access);
    if let Some(i) = first.filter(|_| !ctx.admin_access) {
        errs.push(Error::forbidden(&base.index(i).child("adminAccess"), WORDS));
    }
}

/// Of a request, or of what was allocated for one.
pub fn wants_admin_access(of: &Value) -> bool {
    of["adminAccess"] == true || of["exactly"]["adminAccess"] == true
}

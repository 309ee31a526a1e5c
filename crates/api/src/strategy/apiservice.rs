//! APIServices: which group and version is served here, and which by somebody else.

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{Column, Context, Strategy, common, defaults::set};
use crate::{
    field::{Error, Errors},
    names, table,
    validation::{At, list, meta, text},
};

/// `apiregistration.k8s.io/v1/APIService`.
pub struct ApiService;

/// A time as objects have it: whole seconds.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Strategy for ApiService {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        if let Some(service) = object["spec"].get_mut("service").filter(|s| s.is_object()) {
            set(service, "port", 443);
        }
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
        if object["spec"]["service"].is_null() {
            object["status"]["conditions"] = json!([{
                "type": "Available", "status": "True", "lastTransitionTime": now(),
                "reason": "Local", "message": "Local APIServices are always available",
            }]);
        }
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        let metadata = At::root(object, "metadata");
        meta::create_any(&metadata, false, meta::path_segment, &mut errs);
        if errs.is_empty() {
            name(object, &mut errs);
        }
        spec(&At::root(object, "spec"), &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
        if ctx.subresource == "status" {
            common::keep_meta(object, old, "labels");
        }
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update(object, old, &mut errs);
        if ctx.subresource != "status" {
            name(object, &mut errs);
            spec(&At::root(object, "spec"), &mut errs);
        }
        errs
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        names::path_segment(name)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Service",
                "The reference to the service that hosts this API endpoint.",
            ),
            table::column("Available", "Whether this service is available."),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let service = &object["spec"]["service"];
        let shown = if service.is_object() {
            format!("{}/{}", text(service, "namespace"), text(service, "name"))
        } else {
            "Local".to_owned()
        };
        vec![
            table::name_of(object),
            shown.into(),
            available(&object["status"]).into(),
            table::age_of(object, now),
        ]
    }
}

fn available(status: &Value) -> String {
    let found = list(&status["conditions"])
        .iter()
        .find(|c| c["type"] == "Available");
    match found {
        None => "Unknown".to_owned(),
        Some(c) if c["status"] == "True" => "True".to_owned(),
        Some(c) if text(c, "reason").is_empty() => text(c, "status").to_owned(),
        Some(c) => format!("{} ({})", text(c, "status"), text(c, "reason")),
    }
}

fn name(object: &Value, errs: &mut Errors) {
    let (spec, name) = (&object["spec"], text(&object["metadata"], "name"));
    let wanted = format!("{}.{}", text(spec, "version"), text(spec, "group"));
    if name != wanted {
        let path = At::root(object, "metadata").get("name").path;
        let words = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errs.push(Error::invalid(&path, name, words));
    }
}

fn spec(spec: &At, errs: &mut Errors) {
    let (group, version) = (spec.get("group"), spec.get("version"));
    if group.str().is_empty() && version.str() != "v1" {
        let words = "only v1 may have an empty group and it better be legacy kube";
        errs.push(group.required(words));
    }
    if !group.str().is_empty() {
        group.push(names::dns1123_subdomain(group.str()), errs);
    }
    version.push(names::dns1035_label(version.str()), errs);
    for (key, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        let n = spec.int(key).unwrap_or(0);
        if n <= 0 || n > most {
            let words = format!("must be positive and less than {most}");
            errs.push(Error::invalid(&spec.path.child(key), n, words));
        }
    }
    let bundle = spec.text("caBundle");
    let insecure = spec.get("insecureSkipTLSVerify");
    let Some(service) = spec.some("service") else {
        if !bundle.is_empty() {
            let shown = format!("{} bytes", bundle.len() / 4 * 3);
            let path = spec.path.child("caBundle");
            errs.push(Error::invalid(
                &path,
                shown,
                "local APIServices may not have a caBundle",
            ));
        }
        if *insecure.v == true {
            errs.push(insecure.invalid("local APIServices may not have insecureSkipTLSVerify"));
        }
        return;
    };
    for key in ["namespace", "name"] {
        if service.text(key).is_empty() {
            errs.push(service.get(key).required(""));
        }
    }
    let port = service.get("port");
    let wrong = names::port_number(port.v.as_i64().unwrap_or(0));
    if !wrong.is_empty() {
        errs.push(port.invalid(format!("port is not valid: {}", wrong.join(", "))));
    }
    if *insecure.v == true && !bundle.is_empty() {
        errs.push(insecure.invalid("may not be true if caBundle is present"));
    }
}

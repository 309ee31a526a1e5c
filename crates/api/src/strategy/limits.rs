//! LimitRanges, ResourceQuotas and PodTemplates.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Column, Context, Strategy, common,
    defaults::{each, ensure, set},
    pod,
};
use crate::{
    field::{Error, Errors},
    names, table,
    validation::{At, amount::Amount, is_empty, list, map, meta, text},
};

/// `v1/LimitRange`.
pub struct LimitRange;

impl Strategy for LimitRange {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        for limit in each(ensure(object, "spec"), "limits") {
            if limit["type"] != "Container" {
                continue;
            }
            for (from, to) in [
                ("max", "default"),
                ("default", "defaultRequest"),
                ("min", "defaultRequest"),
            ] {
                let given = map(limit, from).cloned().unwrap_or_default();
                if given.is_empty() {
                    continue;
                }
                let filled = ensure(limit, to);
                for (name, quantity) in given {
                    set(filled, &name, quantity);
                }
            }
        }
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        limit_range(object, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        limit_range(object, &mut errs);
        meta::update_core(object, old, &mut errs);
        errs
    }

    fn create_on_update(&self) -> bool {
        true
    }
}

const STANDARD_TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];

fn limit_range(object: &Value, errs: &mut Errors) {
    let mut types: Vec<&str> = Vec::new();
    for limit in At::root(object, "spec").items("limits") {
        let kind = limit.get("type");
        let before = errs.len();
        kind.push(names::qualified_name(kind.str()), errs);
        if errs.len() == before
            && !kind.str().contains('/')
            && !STANDARD_TYPES.contains(&kind.str())
        {
            errs.push(kind.invalid("must be a standard limit type or fully qualified"));
        }
        if types.contains(&kind.str()) {
            errs.push(kind.duplicate());
        }
        types.push(kind.str());
        for key in ["default", "defaultRequest"] {
            if kind.str() == "Pod" && !is_empty(&limit.v[key]) {
                errs.push(
                    limit
                        .get(key)
                        .forbidden("may not be specified when `type` is 'Pod'"),
                );
            }
        }
        let storage = ["min", "max"]
            .iter()
            .any(|k| limit.v[*k].get("storage").is_some());
        if kind.str() == "PersistentVolumeClaim" && !storage {
            let words =
                "either minimum or maximum storage value is required, but neither was provided";
            errs.push(limit.get("limits").required(words));
        }
        relations(&limit, errs);
    }
}

/// How the amounts of one resource relate to each other.
fn relations(limit: &At, errs: &mut Errors) {
    let kinds = [
        "max",
        "min",
        "default",
        "defaultRequest",
        "maxLimitRequestRatio",
    ];
    let mut resources: Vec<&String> = kinds
        .iter()
        .filter_map(|k| map(limit.v, k))
        .flat_map(|m| m.keys())
        .collect();
    resources.sort();
    resources.dedup();
    for name in resources {
        let amount = |key: &str| match limit.v["type"] == "Pod" && key.starts_with("default") {
            true => None,
            false => limit.v[key].get(name).map(Amount::of),
        };
        let [max, min, default, request, ratio] = kinds.map(amount);
        let mut greater = |a: Option<Amount>,
                           b: Option<Amount>,
                           at: &str,
                           shown: Option<Amount>,
                           words: [&str; 2]| {
            if let (Some(a), Some(b), Some(shown)) = (a, b, shown)
                && a > b
            {
                let words = format!(
                    "{} value {a} is greater than {} value {b}",
                    words[0], words[1]
                );
                errs.push(Error::invalid(
                    &limit.path.child(at).key(name),
                    shown.to_string(),
                    words,
                ));
            }
        };
        greater(min, max, "min", min, ["min", "max"]);
        greater(
            min,
            request,
            "defaultRequest",
            request,
            ["min", "default request"],
        );
        greater(
            request,
            max,
            "defaultRequest",
            request,
            ["default request", "max"],
        );
        greater(
            request,
            default,
            "defaultRequest",
            request,
            ["default request", "default limit"],
        );
        greater(min, default, "default", min, ["min", "default"]);
        greater(default, max, "default", max, ["default", "max"]);
        if let Some(ratio) = ratio.filter(|r| r.nanos < 1_000_000_000) {
            let path = limit.path.child("maxLimitRequestRatio").key(name);
            errs.push(Error::invalid(
                &path,
                ratio.to_string(),
                format!("ratio {ratio} is less than 1"),
            ));
        }
    }
}

/// `v1/ResourceQuota`.
pub struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        quota(&At::root(object, "spec"), &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        if ctx.subresource != "status" {
            let spec = At::root(object, "spec");
            quota(&spec, &mut errs);
            if *spec.get("scopes").v != old["spec"]["scopes"] {
                errs.push(spec.get("scopes").invalid("field is immutable"));
            }
        }
        errs
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Request",
                "Request represents a minimum amount of cpu/memory that a container may consume.",
            ),
            table::column(
                "Limit",
                "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let status = &object["status"];
        let shown = |limits: bool| {
            let all = map(status, "hard")
                .into_iter()
                .flatten()
                .filter(|(name, _)| name.starts_with("limits.") == limits);
            let each = all.map(|(name, hard)| {
                format!(
                    "{name}: {}/{}",
                    Amount::of(&status["used"][name]),
                    Amount::of(hard)
                )
            });
            Value::from(each.collect::<Vec<_>>().join(", "))
        };
        vec![
            table::name_of(object),
            shown(false),
            shown(true),
            table::age_of(object, now),
        ]
    }
}

/// Resources that a quota may limit by name alone.
const QUOTA: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
    "storage",
];

fn quota(spec: &At, errs: &mut Errors) {
    for (name, at) in spec.get("hard").entries() {
        quota_name(&at, name, errs);
        let amount = Amount::of(at.v);
        if amount.nanos < 0 {
            errs.push(Error::invalid(
                &at.path,
                amount.to_string(),
                "must be greater than or equal to 0",
            ));
        }
        if !amount.is_whole() && pod::resources::is_integer(name) {
            errs.push(Error::invalid(
                &at.path,
                amount.to_string(),
                "must be an integer",
            ));
        }
    }
    scopes(spec, errs);
    scope_selector(spec, errs);
}

fn quota_name(at: &At, name: &str, errs: &mut Errors) {
    let wrong = names::qualified_name(name);
    if !wrong.is_empty() {
        for m in wrong {
            errs.push(Error::invalid(&at.path, name, m));
        }
        return;
    }
    let fine = name.contains('/')
        || QUOTA.contains(&name)
        || ["hugepages-", "requests.hugepages-"]
            .iter()
            .any(|p| name.starts_with(p));
    if !fine {
        errs.push(Error::invalid(
            &at.path,
            name,
            "must be a standard resource type or fully qualified",
        ));
        errs.push(Error::invalid(
            &at.path,
            name,
            "must be a standard resource for quota",
        ));
    }
}

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

fn scopes(spec: &At, errs: &mut Errors) {
    let scopes = spec.get("scopes");
    let has = |s: &str| list(scopes.v).iter().any(|v| v == s);
    for scope in list(scopes.v).iter().filter_map(Value::as_str) {
        if !SCOPES.contains(&scope) {
            errs.push(scopes.invalid("unsupported scope"));
        }
        let counted = |name: &String| match scope {
            "BestEffort" => name == "pods",
            "Terminating" | "NotTerminating" | "NotBestEffort" => [
                "pods",
                "cpu",
                "memory",
                "requests.cpu",
                "requests.memory",
                "limits.cpu",
                "limits.memory",
            ]
            .contains(&name.as_str()),
            _ => true,
        };
        if !map(spec.v, "hard").is_none_or(|m| m.keys().all(counted)) {
            errs.push(scopes.invalid("unsupported scope applied to resource"));
        }
    }
    for (a, b) in [
        ("BestEffort", "NotBestEffort"),
        ("Terminating", "NotTerminating"),
    ] {
        if has(a) && has(b) {
            errs.push(scopes.invalid("conflicting scopes"));
        }
    }
}

fn scope_selector(spec: &At, errs: &mut Errors) {
    let expressions = spec.get("scopeSelector").get("matchExpressions");
    for e in expressions.each() {
        let (scope, operator, values) = (e.text("scopeName"), e.text("operator"), &e.v["values"]);
        let at = |key: &str| expressions.path.child(key);
        if !SCOPES.contains(&scope) {
            errs.push(Error::invalid(&at("scopeName"), scope, "unsupported scope"));
        }
        if !["PriorityClass", "VolumeAttributesClass"].contains(&scope) && operator != "Exists" {
            let words = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errs.push(Error::invalid(&at("operator"), operator, words));
        }
        match operator {
            "In" | "NotIn" if list(values).is_empty() => {
                errs.push(Error::required(&at("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"));
            }
            "Exists" | "DoesNotExist" if !list(values).is_empty() => {
                let words = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errs.push(Error::invalid(&at("values"), values.clone(), words));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errs.push(Error::invalid(
                &at("operator"),
                operator,
                "not a valid selector operator",
            )),
        }
    }
}

/// `v1/PodTemplate`.
pub struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        pod::defaults::template(object);
        pod::round_template(object);
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        pod::validate::template(&At::root(object, "template"), None, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        pod::validate::template(
            &At::root(object, "template"),
            Some(&old["template"]),
            &mut errs,
        );
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some() {
            Vec::new()
        } else {
            pod::warnings::template(&At::root(object, "template"), None)
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        object["template"] != old["template"]
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column("Containers", "Names of each container in the template."),
            table::column(
                "Images",
                "Images referenced by each container in the template.",
            ),
            table::column("Pod Labels", "The labels for the pod template."),
        ]
    }

    fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let (names, images) = table::containers(&object["template"]["spec"]["containers"]);
        let labels = table::labels(&object["template"]["metadata"]["labels"]);
        vec![
            text(&object["metadata"], "name").into(),
            names.into(),
            images.into(),
            labels.into(),
        ]
    }
}

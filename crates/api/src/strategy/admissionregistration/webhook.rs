//! ValidatingWebhookConfigurations and MutatingWebhookConfigurations.

use jiff::Timestamp;
use knarr_json::Value;

use super::{client, conditions::conditions, matching};
use crate::{
    field::{Error, Errors},
    names,
    strategy::{
        Column, Context, Strategy,
        defaults::{each, ensure, set},
    },
    table,
    validation::{At, list, meta, text},
};

/// `admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration`, or with `true` `MutatingWebhookConfiguration`.
pub struct WebhookConfiguration(pub bool);

const REVIEWS: [&str; 2] = ["v1", "v1beta1"];
const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
/// What older versions let in, and an update may keep.
const ALL_SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];

/// How strict an update is: what the object before got wrong may stay wrong.
struct Strictness {
    side_effects: bool,
    review_versions: bool,
    unique_names: bool,
}

impl Strictness {
    fn of(old: Option<&Value>) -> Self {
        let hooks = old.map(|o| list(&o["webhooks"])).unwrap_or_default();
        let known = |hook: &Value| {
            let versions = list(&hook["admissionReviewVersions"]);
            versions.is_empty()
                || versions
                    .iter()
                    .any(|v| v.as_str().is_some_and(|v| REVIEWS.contains(&v)))
        };
        let mut names: Vec<&str> = hooks.iter().map(|h| text(h, "name")).collect();
        names.sort_unstable();
        Strictness {
            side_effects: hooks
                .iter()
                .all(|h| SIDE_EFFECTS.contains(&text(h, "sideEffects"))),
            review_versions: hooks.iter().all(known),
            unique_names: names.windows(2).all(|w| w[0] != w[1]),
        }
    }
}

impl WebhookConfiguration {
    fn check(&self, ctx: &Context, object: &Value, old: Option<&Value>, errs: &mut Errors) {
        let strict = Strictness::of(old);
        let mut seen: Vec<&str> = Vec::new();
        for (i, hook) in At::root(object, "webhooks").each().enumerate() {
            self.hook(&hook, &strict, errs);
            let before = old.map(|o| list(&o["webhooks"]));
            let known = before.and_then(|hooks| Some(&hooks.get(i)?["matchConditions"]));
            let all = hook.get("matchConditions");
            conditions(ctx, &all, false, known.unwrap_or(&Value::Null), errs);
            review_versions(&hook.get("admissionReviewVersions"), &strict, errs);
            let name = hook.get("name");
            if strict.unique_names && !name.str().is_empty() {
                if seen.contains(&name.str()) {
                    errs.push(name.duplicate());
                }
                seen.push(name.str());
            }
        }
    }

    fn hook(&self, hook: &At, strict: &Strictness, errs: &mut Errors) {
        full_name(&hook.get("name"), errs);
        for rule in hook.items("rules") {
            matching::rule(&rule, errs);
        }
        let set = |key: &str, supported: &[&str], errs: &mut Errors| {
            matching::one_of_if_set(&hook.get(key), supported, errs);
        };
        set("failurePolicy", &matching::FAILURE_POLICIES, errs);
        set("matchPolicy", &matching::MATCH_POLICIES, errs);
        let effects = hook.get("sideEffects");
        let allowed: &[&str] = if strict.side_effects {
            &SIDE_EFFECTS
        } else {
            &ALL_SIDE_EFFECTS
        };
        if effects.v.is_null() {
            errs.push(effects.required(&format!("must specify one of {}", allowed.join(", "))));
        } else if !allowed.contains(&effects.str()) {
            errs.push(effects.not_supported(allowed));
        }
        let timeout = hook.get("timeoutSeconds");
        if timeout.v.as_i64().is_some_and(|n| !(1..=30).contains(&n)) {
            errs.push(timeout.invalid("the timeout value must be between 1 and 30 seconds"));
        }
        matching::selectors(hook, errs);
        if self.0 {
            set("reinvocationPolicy", &["IfNeeded", "Never"], errs);
        }
        client::config(&hook.get("clientConfig"), errs);
    }
}

/// A name of at least three parts.
fn full_name(at: &At, errs: &mut Errors) {
    let wrong = names::dns1123_subdomain(at.str());
    if at.str().is_empty() {
        errs.push(at.required(""));
    } else if !wrong.is_empty() {
        errs.push(at.invalid(wrong.join(",")));
    } else if at.str().split('.').count() < 3 {
        let words = "should be a domain with at least three segments separated by dots";
        errs.push(at.invalid(words));
    }
}

fn review_versions(all: &At, strict: &Strictness, errs: &mut Errors) {
    if list(all.v).is_empty() {
        errs.push(all.required(&format!("must specify one of {}", REVIEWS.join(", "))));
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for version in all.each() {
        if seen.contains(&version.str()) {
            errs.push(Error::invalid(
                &version.path,
                version.str(),
                "duplicate version",
            ));
            continue;
        }
        seen.push(version.str());
        version.push(names::dns1035_label(version.str()), errs);
    }
    if strict.review_versions && !seen.iter().any(|v| REVIEWS.contains(v)) {
        errs.push(all.invalid(format!(
            "must include at least one of {}",
            REVIEWS.join(", ")
        )));
    }
}

impl Strategy for WebhookConfiguration {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        for hook in each(object, "webhooks") {
            set(hook, "failurePolicy", "Fail");
            matching::default(hook, &["rules"]);
            set(hook, "timeoutSeconds", 10);
            if self.0 {
                set(hook, "reinvocationPolicy", "Never");
            }
            client::default(ensure(hook, "clientConfig"));
        }
    }

    fn validate_create(&self, ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        self.check(ctx, object, None, &mut errs);
        errs
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        self.check(ctx, object, Some(old), &mut errs);
        errs
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        object["webhooks"] != old["webhooks"]
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::count(
                "Webhooks",
                "Webhooks indicates the number of webhooks registered in this configuration",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            table::name_of(object),
            list(&object["webhooks"]).len().into(),
            table::age_of(object, now),
        ]
    }
}

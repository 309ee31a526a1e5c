//! Annotations that mean something to pods.

use knarr_json::{Map, Text, Value};

use super::volume::descending;
use crate::{
    field::{Error, Errors, Path},
    validation::{At, map, taints, text},
};

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Whether a pod stands for one that the kubelet has from elsewhere.
pub fn is_mirror(object: &Value) -> bool {
    object["metadata"]["annotations"].get(MIRROR).is_some()
}

/// Checks a pod's annotations.
pub fn check(object: &Value, errs: &mut Errors) {
    let path = Path::new("metadata").child("annotations");
    all(
        &object["metadata"]["annotations"],
        &object["spec"],
        &path,
        errs,
    );
}

/// Checks a template's annotations.
pub fn check_template(template: &At, errs: &mut Errors) {
    let path = template.path.child("annotations");
    all(
        &template.v["metadata"]["annotations"],
        &template.v["spec"],
        &path,
        errs,
    );
}

fn all(annotations: &Value, spec: &Value, path: &Path, errs: &mut Errors) {
    if let Some(mirror) = annotations.get(MIRROR)
        && text(spec, "nodeName").is_empty()
    {
        let words = "must set spec.nodeName if mirror pod annotation is set";
        errs.push(Error::invalid(&path.key(MIRROR), mirror.clone(), words));
    }
    tolerations(annotations, path, errs);
    if let Some(cost) = annotations.get(DELETION_COST)
        && !is_cost(cost.as_str().unwrap_or_default())
    {
        let words = "must be a 32bit integer";
        errs.push(Error::invalid(
            &path.key(DELETION_COST),
            cost.clone(),
            words,
        ));
    }
    seccomp(annotations, path, errs);
    app_armor(annotations, spec, path, errs);
}

/// Tolerations of a time when they had no field.
fn tolerations(annotations: &Value, path: &Path, errs: &mut Errors) {
    let written = text(annotations, TOLERATIONS);
    if !written.is_empty()
        && let Ok(list @ Value::Array(_)) = serde_json::from_str::<Value>(written)
    {
        taints::tolerations(
            &At {
                v: &list,
                path: path.child(TOLERATIONS),
            },
            errs,
        );
    }
}

/// A number as it is usually written: `-1`, `0`, `10`.
fn is_cost(value: &str) -> bool {
    let plain = value == "0" || value.starts_with(|c: char| c == '-' || ('1'..='9').contains(&c));
    plain && value.parse::<i32>().is_ok()
}

fn seccomp(annotations: &Value, path: &Path, errs: &mut Errors) {
    for (key, profile) in annotations.as_object().into_iter().flatten() {
        if key != SECCOMP_POD && !key.starts_with(SECCOMP) {
            continue;
        }
        let (path, profile) = (path.child(key), profile.as_str().unwrap_or_default());
        match profile.strip_prefix("localhost/") {
            _ if ["runtime/default", "docker/default", "unconfined"].contains(&profile) => {}
            Some(local) => descending(local, &path, errs),
            None => errs.push(Error::invalid(
                &path,
                profile,
                "must be a valid seccomp profile",
            )),
        }
    }
}

fn app_armor(annotations: &Value, spec: &Value, path: &Path, errs: &mut Errors) {
    for (key, profile) in annotations.as_object().into_iter().flatten() {
        let Some(container) = key.strip_prefix(APP_ARMOR) else {
            continue;
        };
        if !super::container::any(spec, |c| text(c, "name") == container) {
            errs.push(Error::invalid(
                &path.key(key),
                container,
                "container not found",
            ));
        }
        let profile = profile.as_str().unwrap_or_default();
        let known = profile.is_empty()
            || ["runtime/default", "unconfined"].contains(&profile)
            || profile.starts_with("localhost/");
        if !known {
            errs.push(Error::invalid(
                &path.key(key),
                profile,
                format!("invalid AppArmor profile name: {profile:?}"),
            ));
        }
    }
}

/// Checks what an update does to annotations that stay as they are, and then the annotations themselves once more.
pub fn update(object: &Value, old: &Value, errs: &mut Errors) {
    let path = Path::new("metadata").child("annotations");
    let empty = Map::new();
    let of = |o: &'_ Value| map(&o["metadata"], "annotations").cloned();
    let (new, before) = (
        of(object).unwrap_or_else(|| empty.clone()),
        of(old).unwrap_or(empty),
    );
    let mut refuse = |key: &str, what: &str| {
        if key.starts_with(APP_ARMOR) {
            let words = format!("may not {what} AppArmor annotations");
            errs.push(Error::forbidden(&path.key(key), words));
        }
        if key == MIRROR {
            let words = format!("may not {what} mirror pod annotation");
            errs.push(Error::forbidden(&path.key(key), words));
        }
    };
    for (key, value) in &before {
        if new.get(key) != Some(value) {
            refuse(key, "remove or update");
        }
    }
    for key in new.keys().filter(|k| !before.contains_key(k)) {
        refuse(key, "add");
    }
    check(object, errs);
}

/// How profiles are written in annotations.
struct Words {
    what: &'static str,
    default: &'static [&'static str],
}

const SECCOMP_WORDS: Words = Words {
    what: "seccomp",
    default: &["runtime/default", "docker/default"],
};
const APP_ARMOR_WORDS: Words = Words {
    what: "apparmor",
    default: &["runtime/default"],
};

/// What is said in an annotation and in a field must be the same.
pub fn agree(meta: &Value, spec: &At, errs: &mut Errors) {
    let Some(annotations) = map(meta, "annotations") else {
        return;
    };
    let tells =
        |key: &Text| key == SECCOMP_POD || key.starts_with(SECCOMP) || key.starts_with(APP_ARMOR);
    if !annotations.keys().any(tells) {
        return;
    }
    let said = |key: &str| annotations.get(key).and_then(Value::as_str);
    let containers = || {
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(|key| spec.items(key))
    };
    let context = spec.get("securityContext");
    if let Some(annotation) = said(SECCOMP_POD) {
        same(
            annotation,
            &context.get("seccompProfile"),
            &SECCOMP_WORDS,
            errs,
        );
    }
    for c in containers() {
        if let Some(annotation) = said(&format!("{SECCOMP}{}", c.text("name"))) {
            let field = c.get("securityContext").get("seccompProfile");
            same(annotation, &field, &SECCOMP_WORDS, errs);
        }
    }
    if text(&spec.v["os"], "name") == "windows" {
        return;
    }
    for c in containers() {
        if let Some(annotation) = said(&format!("{APP_ARMOR}{}", c.text("name"))) {
            let own = c.get("securityContext").get("appArmorProfile");
            let field = match own.v.is_null() {
                true => At {
                    v: context.get("appArmorProfile").v,
                    path: own.path,
                },
                false => own,
            };
            same(annotation, &field, &APP_ARMOR_WORDS, errs);
        }
    }
}

fn same(annotation: &str, field: &At, words: &Words, errs: &mut Errors) {
    let local = annotation.strip_prefix("localhost/");
    let fits = match field.text("type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => words.default.contains(&annotation),
        "Localhost" => local.is_some(),
        _ => return,
    };
    let what = words.what;
    if !fits {
        errs.push(
            field
                .get("type")
                .forbidden(format!("{what} type in annotation and field must match")),
        );
    } else if field.text("type") == "Localhost" && local != field.v["localhostProfile"].as_str() {
        errs.push(
            field
                .get("localhostProfile")
                .forbidden(format!("{what} profile in annotation and field must match")),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn pod(annotations: Value) -> Value {
        json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "c"}]}})
    }

    #[test]
    fn annotations_that_are_refused() {
        for (annotations, want) in [
            (json!({DELETION_COST: "-5"}), ""),
            (
                json!({DELETION_COST: "+5"}),
                "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+5\": must be a 32bit integer",
            ),
            (
                json!({SECCOMP_POD: "odd"}),
                "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"odd\": must be a valid seccomp profile",
            ),
            (
                json!({MIRROR: "x"}),
                "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
            ),
        ] {
            let mut errs = Errors::new();
            check(&pod(annotations), &mut errs);
            let all: Vec<String> = errs.iter().map(ToString::to_string).collect();
            assert_eq!(all.join(""), want);
        }
    }

    #[test]
    fn annotations_that_stay() {
        let key = format!("{APP_ARMOR}c");
        let (with, without) = (pod(json!({(key.clone()): "unconfined"})), pod(json!({})));
        for (new, old, want) in [
            (&with, &without, "may not add AppArmor annotations"),
            (
                &without,
                &with,
                "may not remove or update AppArmor annotations",
            ),
        ] {
            let mut errs = Errors::new();
            update(new, old, &mut errs);
            assert_eq!(errs[0].detail, want);
        }
    }

    #[test]
    fn annotations_and_fields_say_the_same() {
        let spec = json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Localhost", "localhostProfile": "a"}},
            "containers": [{"name": "c"}]});
        let meta = json!({"annotations": {SECCOMP_POD: "runtime/default", (format!("{APP_ARMOR}c")): "localhost/b"}});
        let mut errs = Errors::new();
        agree(&meta, &At::new(&spec, "spec"), &mut errs);
        let all: Vec<String> = errs.iter().map(ToString::to_string).collect();
        assert_eq!(
            all,
            [
                "spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
                "spec.containers[0].securityContext.appArmorProfile.localhostProfile: Forbidden: apparmor profile in annotation and field must match"
            ]
        );
    }
}

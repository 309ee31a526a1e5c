//! Annotations that mean something to pods.

use serde_json::Value;

use crate::{
    field::{Error, Errors, Path},
    validation::{At, map, text},
};

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Checks a pod's annotations.
pub fn check(object: &Value, errs: &mut Errors) {
    let path = Path::new("metadata").child("annotations");
    let annotations = &object["metadata"]["annotations"];
    if let Some(mirror) = annotations.get(MIRROR)
        && text(&object["spec"], "nodeName").is_empty()
    {
        let words = "must set spec.nodeName if mirror pod annotation is set";
        errs.push(Error::invalid(&path.key(MIRROR), mirror.clone(), words));
    }
    app_armor(annotations, &object["spec"], &path, errs);
}

/// Checks a template's annotations.
pub fn check_template(template: &At, errs: &mut Errors) {
    let path = template.path.child("annotations");
    app_armor(
        &template.v["metadata"]["annotations"],
        &template.v["spec"],
        &path,
        errs,
    );
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

/// What a new pod says in an annotation and in a field must be the same.
pub fn agree(object: &Value, errs: &mut Errors) {
    let Some(annotations) = map(&object["metadata"], "annotations") else {
        return;
    };
    let spec = At::root(object, "spec");
    for key in ["initContainers", "containers"] {
        for c in spec.items(key) {
            let field = c.get("securityContext").get("appArmorProfile");
            let annotation = annotations
                .get(&format!("{APP_ARMOR}{}", c.text("name")))
                .and_then(Value::as_str);
            let (Some(annotation), false) = (annotation, field.v.is_null()) else {
                continue;
            };
            let wanted = match annotation {
                "runtime/default" => "RuntimeDefault",
                "unconfined" => "Unconfined",
                a if a.starts_with("localhost/") => "Localhost",
                _ => continue,
            };
            if field.text("type") != wanted {
                errs.push(Error::forbidden(
                    &field.path.child("type"),
                    "apparmor type in annotation and field must match",
                ));
            } else if wanted == "Localhost"
                && annotation.strip_prefix("localhost/") != Some(field.text("localhostProfile"))
            {
                let words = "apparmor profile in annotation and field must match";
                errs.push(Error::forbidden(
                    &field.path.child("localhostProfile"),
                    words,
                ));
            }
        }
    }
}

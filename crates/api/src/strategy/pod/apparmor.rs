//! AppArmor profiles, told in annotations before there were fields.

use knarr_json::{Map, Value, json};

use crate::{
    strategy::defaults::{each, ensure},
    validation::text,
};

const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// What a new pod says in annotations only, it says in fields too, unless it says so for all its containers already.
pub fn fields(object: &mut Value) {
    if text(&object["spec"]["os"], "name") == "windows" {
        return;
    }
    let annotations = object["metadata"]["annotations"].clone();
    if !tells(&annotations) {
        return;
    }
    let pod_wide = object["spec"]["securityContext"]["appArmorProfile"].clone();
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        for c in each(&mut object["spec"], key) {
            let annotation = annotations
                .get(format!("{ANNOTATION}{}", text(c, "name")))
                .and_then(Value::as_str);
            if let Some(profile) = annotation.and_then(field)
                && c["securityContext"]["appArmorProfile"].is_null()
                && profile != pod_wide
            {
                ensure(c, "securityContext")["appArmorProfile"] = profile;
            }
        }
    }
}

/// Whether there is such an annotation at all, which hardly any pod has.
fn tells(annotations: &Value) -> bool {
    let keys = annotations.as_object().into_iter().flat_map(Map::keys);
    keys.into_iter().any(|key| key.starts_with(ANNOTATION))
}

/// The field for an annotation, if it can be one.
fn field(annotation: &str) -> Option<Value> {
    match annotation {
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        "unconfined" => Some(json!({"type": "Unconfined"})),
        other => other
            .strip_prefix("localhost/")
            .filter(|p| !p.is_empty() && p.trim() == *p && p.len() <= 4095)
            .map(|p| json!({"type": "Localhost", "localhostProfile": p})),
    }
}

/// Annotations of a pod, or template of one, that a field should stand for, in the order of the containers. Of a pod, whose
/// fields are filled by now, only those are told of which the field was filled from them, or that no field can stand for.
pub fn outdated(annotations: &Value, spec: &Value, is_pod: bool) -> Vec<String> {
    if !tells(annotations) || (is_pod && text(&spec["os"], "name") == "windows") {
        return Vec::new();
    }
    let pod_wide = &spec["securityContext"]["appArmorProfile"];
    let mut out = Vec::new();
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        for c in crate::validation::list(&spec[key]) {
            let name = format!("{ANNOTATION}{}", text(c, "name"));
            let Some(annotation) = annotations.get(&name).and_then(Value::as_str) else {
                continue;
            };
            let own = &c["securityContext"]["appArmorProfile"];
            let told = match is_pod {
                true => match field(annotation) {
                    Some(field) => field == *own,
                    None => own.is_null(),
                },
                false => own.is_null() && pod_wide.is_null(),
            };
            if told {
                out.push(name);
            }
        }
    }
    out
}

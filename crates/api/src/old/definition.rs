//! CustomResourceDefinitions of `v1beta1`: one schema, one set of columns and subresources for all versions, or one each.

use knarr_json::{Map, Value, json};

/// Fields that stood beside the versions and are now in each, by their names then and now.
const SHARED: [(&str, &str); 3] = [
    ("validation", "schema"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
];

pub fn up(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let version = spec.remove("version");
    if !spec.contains_key("versions")
        && let Some(version) = version
    {
        let only = json!([{"name": version, "served": true, "storage": true}]);
        spec.insert("versions", only);
    }
    let shared: Vec<(&str, Option<Value>)> = SHARED
        .iter()
        .map(|(old, new)| (*new, spec.remove(old)))
        .collect();
    let keeps_unknown = spec.remove("preserveUnknownFields") != Some(json!(false));
    let versions = spec.get_mut("versions").and_then(Value::as_array_mut);
    for version in versions
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        for (name, value) in &shared {
            if let Some(value) = value {
                version.entry(*name).or_insert_with(|| value.clone());
            }
        }
        version_up(version, keeps_unknown);
    }
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut) {
        conversion_up(conversion);
    }
}

fn version_up(version: &mut Map, keeps_unknown: bool) {
    let schema = version.entry("schema").or_insert_with(|| json!({}));
    if schema["openAPIV3Schema"].is_null() {
        schema["openAPIV3Schema"] = json!({"type": "object"});
    }
    let root = &mut schema["openAPIV3Schema"];
    if root["type"].is_null() {
        root["type"] = "object".into();
    }
    if keeps_unknown {
        root["x-kubernetes-preserve-unknown-fields"] = true.into();
    }
    rename_paths(version, "JSONPath", "jsonPath");
}

fn rename_paths(version: &mut Map, from: &str, to: &str) {
    let columns = version
        .get_mut("additionalPrinterColumns")
        .and_then(Value::as_array_mut);
    for column in columns
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        if let Some(path) = column.remove(from) {
            column.insert(to.to_owned(), path);
        }
    }
}

fn conversion_up(conversion: &mut Map) {
    let config = conversion.remove("webhookClientConfig");
    let versions = conversion.remove("conversionReviewVersions");
    if let Some(config) = config {
        let versions = versions.unwrap_or_else(|| json!(["v1beta1"]));
        let webhook = json!({"clientConfig": config, "conversionReviewVersions": versions});
        conversion.insert("webhook", webhook);
    }
}

pub fn down(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let versions = spec.get_mut("versions").and_then(Value::as_array_mut);
    let mut first = None;
    for version in versions
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        rename_paths(version, "jsonPath", "JSONPath");
        first = first.or_else(|| version.get("name").cloned());
    }
    if let Some(first) = first {
        spec.insert("version", first);
    }
    let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(Value::Object(webhook)) = conversion.remove("webhook") {
        for (now, then) in [
            ("clientConfig", "webhookClientConfig"),
            ("conversionReviewVersions", "conversionReviewVersions"),
        ] {
            if let Some(value) = webhook.get(now) {
                conversion.insert(then, value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shared_is_in_every_version() {
        let mut object = json!({"spec": {
            "group": "g.io", "version": "v1",
            "validation": {"openAPIV3Schema": {"properties": {"spec": {"type": "object"}}}},
            "subresources": {"status": {}},
            "additionalPrinterColumns": [{"name": "A", "type": "string", "JSONPath": ".a"}],
        }});
        up(&mut object);
        let version = &object["spec"]["versions"][0];
        assert_eq!(
            (&version["name"], &version["storage"]),
            (&json!("v1"), &json!(true))
        );
        assert_eq!(version["schema"]["openAPIV3Schema"]["type"], "object");
        assert_eq!(
            version["schema"]["openAPIV3Schema"]["x-kubernetes-preserve-unknown-fields"],
            true
        );
        assert_eq!(version["additionalPrinterColumns"][0]["jsonPath"], ".a");
        assert!(
            object["spec"].get("validation").is_none() && object["spec"].get("version").is_none()
        );
        down(&mut object);
        assert_eq!(object["spec"]["version"], "v1");
    }
}

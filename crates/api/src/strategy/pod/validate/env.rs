//! Environment variables, and references to fields of the pod.

use crate::{
    field::{Error, Errors},
    names,
    validation::{At, amount::Amount},
};

/// Fields that an environment variable may have, sorted as messages list them.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that a file of a volume may have.
pub const VOLUME_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
/// Fields that field references know at all.
const KNOWN_FIELDS: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// The list `env`.
pub fn variables(all: &At, errs: &mut Errors) {
    for variable in all.each() {
        let name = variable.get("name");
        if name.str().is_empty() {
            errs.push(name.required(""));
        } else {
            name.push(names::env_name(name.str()), errs);
        }
        if let Some(from) = variable.some("valueFrom") {
            value_from(&from, !variable.text("value").is_empty(), errs);
        }
    }
}

fn value_from(from: &At, has_value: bool, errs: &mut Errors) {
    let mut sources = 0;
    let mut each = |key: &str, check: &dyn Fn(&At, &mut Errors), errs: &mut Errors| {
        if let Some(source) = from.some(key) {
            sources += 1;
            check(&source, errs);
        }
    };
    each(
        "fieldRef",
        &|at, errs| field_ref(at, &ENV_FIELDS, errs),
        errs,
    );
    each(
        "resourceFieldRef",
        &|at, errs| resource_ref(at, false, errs),
        errs,
    );
    each("configMapKeyRef", &key_ref, errs);
    each("secretKeyRef", &key_ref, errs);
    each("fileKeyRef", &file_ref, errs);
    if sources == 0 {
        let words = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errs.push(Error::invalid(&from.path, "", words));
    } else if has_value {
        errs.push(Error::invalid(
            &from.path,
            "",
            "may not be specified when `value` is not empty",
        ));
    } else if sources > 1 {
        errs.push(Error::invalid(
            &from.path,
            "",
            "may not have more than one field specified at a time",
        ));
    }
}

/// A reference to a field of the pod: `metadata.labels['app']`.
pub fn field_ref(at: &At, allowed: &[&str], errs: &mut Errors) {
    if at.text("apiVersion").is_empty() {
        errs.push(at.get("apiVersion").required(""));
        return;
    }
    let path = at.get("fieldPath");
    if path.str().is_empty() {
        errs.push(path.required(""));
        return;
    }
    let (field, subscript) = match path
        .str()
        .strip_suffix("']")
        .and_then(|p| p.split_once("['"))
    {
        Some((field, subscript)) => (field, Some(subscript)),
        None => (path.str(), None),
    };
    // the old name of a field
    let field = if field == "spec.host" {
        "spec.nodeName"
    } else {
        field
    };
    let subscripted = ["metadata.annotations", "metadata.labels"].contains(&field);
    let wrong = if at.text("apiVersion") != "v1" {
        Some(format!(
            "unsupported pod version: {}",
            at.text("apiVersion")
        ))
    } else if subscript.is_some() && !subscripted {
        Some(format!(
            "field label does not support subscript: {}",
            path.str()
        ))
    } else if !KNOWN_FIELDS.contains(&field) {
        Some(format!("field label not supported: {field}"))
    } else {
        None
    };
    if let Some(wrong) = wrong {
        errs.push(path.invalid(format!("error converting fieldPath: {wrong}")));
        return;
    }
    match subscript {
        Some(key) => {
            let key = if field == "metadata.annotations" {
                key.to_lowercase()
            } else {
                key.to_owned()
            };
            for m in names::qualified_name(&key) {
                errs.push(Error::invalid(&at.path, key.as_str(), m));
            }
        }
        None if allowed.contains(&field) => {}
        None => errs.push(Error::not_supported(&path.path, field, allowed)),
    }
}

/// A reference to a container's request or limit.
pub fn resource_ref(at: &At, volume: bool, errs: &mut Errors) {
    let resource = at.get("resource");
    if volume && at.text("containerName").is_empty() {
        errs.push(at.get("containerName").required(""));
    } else if resource.str().is_empty() {
        errs.push(resource.required(""));
    } else if !RESOURCES.contains(&resource.str())
        && !["limits.hugepages-", "requests.hugepages-"]
            .iter()
            .any(|p| resource.str().starts_with(p))
    {
        errs.push(resource.not_supported(&RESOURCES));
    }
    divisor(at, resource.str(), errs);
}

fn divisor(at: &At, resource: &str, errs: &mut Errors) {
    let divisor = Amount::of(&at.v["divisor"]);
    if divisor.is_zero() {
        return;
    }
    const SIZES: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
    let (allowed, words) = match resource.split_once('.').map_or("", |(_, r)| r) {
        "cpu" => (
            "1m, 1",
            "only divisor's values 1m and 1 are supported with the cpu resource".to_owned(),
        ),
        "memory" => (
            SIZES,
            format!("only divisor's values {SIZES} are supported with the memory resource"),
        ),
        "ephemeral-storage" => (
            SIZES,
            format!(
                "only divisor's values {SIZES} are supported with the local ephemeral storage resource"
            ),
        ),
        r if r.starts_with("hugepages-") => (
            SIZES,
            format!("only divisor's values {SIZES} are supported with the hugepages resource"),
        ),
        _ => return,
    };
    if !allowed.split(", ").any(|a| a == divisor.to_string()) {
        errs.push(Error::invalid(&at.path.child("divisor"), resource, words));
    }
}

fn key_ref(at: &At, errs: &mut Errors) {
    at.get("name")
        .push(names::dns1123_subdomain(at.text("name")), errs);
    let key = at.get("key");
    if key.str().is_empty() {
        errs.push(key.required(""));
    } else {
        key.push(names::config_key(key.str()), errs);
    }
}

fn file_ref(at: &At, errs: &mut Errors) {
    let key = at.get("key");
    if key.str().is_empty() {
        errs.push(key.required(""));
    } else {
        key.push(names::env_name(key.str()), errs);
    }
    let volume = at.get("volumeName");
    if volume.str().is_empty() {
        errs.push(volume.required(""));
    } else {
        volume.push(names::dns1123_label(volume.str()), errs);
    }
    let path = at.get("path");
    if path.str().is_empty() {
        errs.push(path.required(""));
    } else {
        super::volume::local_path(&path, errs);
    }
}

/// Files with variables are only read from volumes that belong to the pod alone.
pub fn file_volumes(spec: &At, errs: &mut Errors) {
    let kinds = ["initContainers", "containers", "ephemeralContainers"];
    let containers = kinds.into_iter().flat_map(|kind| spec.items(kind));
    for variable in containers.flat_map(|c| c.items("env")) {
        let Some(file) = variable.get("valueFrom").some("fileKeyRef") else {
            continue;
        };
        let name = file.get("volumeName");
        let volume = spec.items("volumes").find(|v| v.text("name") == name.str());
        match volume {
            None => errs.push(Error::not_found(&name.path, name.str())),
            Some(volume) if !volume.has("emptyDir") => {
                errs.push(name.invalid("referenced volume must be of type emptyDir"));
            }
            Some(_) => {}
        }
    }
}

/// The list `envFrom`. The original leaves the index out of two of its paths.
pub fn sources(all: &At, errs: &mut Errors) {
    for source in all.each() {
        let prefix = source.get("prefix");
        if !prefix.str().is_empty() {
            prefix.push(names::env_name(prefix.str()), errs);
        }
        let mut found = 0;
        for key in ["configMapRef", "secretRef"] {
            let Some(reference) = source.some(key) else {
                continue;
            };
            found += 1;
            let name = reference.get("name");
            if name.str().is_empty() {
                errs.push(name.required(""));
            } else {
                name.push(names::dns1123_subdomain(name.str()), errs);
            }
        }
        match found {
            0 => errs.push(Error::invalid(
                &all.path,
                "",
                "must specify one of: `configMapRef` or `secretRef`",
            )),
            1 => {}
            _ => errs.push(Error::invalid(
                &all.path,
                "",
                "may not have more than one field specified at a time",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::{Value, json};

    fn wrong(f: fn(&At, &mut Errors), v: Value) -> Vec<String> {
        let mut errs = Errors::new();
        f(&At::new(&v, "e"), &mut errs);
        errs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn variables_that_are_refused() {
        let field = |path: &str| json!([{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}]);
        assert!(wrong(variables, field("metadata.labels['app']")).is_empty());
        for (env, want) in [
            (json!([{"name": ""}]), "e[0].name: Required value"),
            (
                field("spec.hostname"),
                "e[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.hostname\": error converting fieldPath: field label not supported: spec.hostname",
            ),
            (
                field("metadata.name['x']"),
                "e[0].valueFrom.fieldRef.fieldPath: Invalid value: \"metadata.name['x']\": error converting fieldPath: field label does not support subscript: metadata.name['x']",
            ),
            (
                json!([{"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "3m"}}}]),
                "e[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource",
            ),
            (
                json!([{"name": "N", "valueFrom": {}}]),
                "e[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            ),
        ] {
            assert_eq!(wrong(variables, env), [want]);
        }
        assert_eq!(
            wrong(sources, json!([{}])),
            ["e: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"]
        );
    }

    #[test]
    fn files_with_variables_are_in_volumes_of_the_pod_alone() {
        let env = |volume: &str| json!([{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": volume, "path": "p", "key": "K"}}}]);
        let volumes =
            json!([{"name": "own", "emptyDir": {}}, {"name": "given", "configMap": {"name": "m"}}]);
        for (volume, want) in [
            ("own", vec![]),
            ("none", vec!["Not found: \"none\""]),
            (
                "given",
                vec!["Invalid value: \"given\": referenced volume must be of type emptyDir"],
            ),
        ] {
            for key in ["initContainers", "containers", "ephemeralContainers"] {
                let spec = json!({"volumes": volumes, key: [{"name": "c", "env": env(volume)}]});
                let place = format!("e.{key}[0].env[0].valueFrom.fileKeyRef.volumeName");
                let want: Vec<String> = want.iter().map(|w| format!("{place}: {w}")).collect();
                assert_eq!(wrong(file_volumes, spec), want);
            }
        }
    }
}

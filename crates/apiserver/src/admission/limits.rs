//! LimitRanger: what containers leave out is filled in from the namespace's LimitRanges, and what they ask for must lie
//! within them.

use knarr_api::Quantity;
use knarr_json::{Map, Text, Value};
use knarr_store::Range;

use super::{
    Attributes, Operation,
    amounts::{self, Amounts},
};
use crate::Outcome;

const NOTE: &str = "kubernetes.io/limit-ranger";

/// Whether LimitRanges have a say: in new pods and claims, and in resizes.
fn concerns(a: &Attributes<'_>) -> bool {
    if a.group() != "" {
        return false;
    }
    match (a.resource(), a.subresource, a.operation) {
        ("pods", "", Operation::Create) | ("pods", "resize", Operation::Update) => true,
        ("persistentvolumeclaims", "", operation) => {
            matches!(operation, Operation::Create | Operation::Update)
        }
        _ => false,
    }
}

fn ranges(a: &Attributes<'_>) -> Vec<Value> {
    let prefix = format!("/registry/limitranges/{}/", a.namespace());
    let listing = a.call.shared.store.list(Range {
        prefix: &prefix,
        ..Range::default()
    });
    let items = listing.map(|l| l.items).unwrap_or_default();
    let parsed = items.iter().map(|s| serde_json::from_slice(&s.json));
    parsed.filter_map(Result::ok).collect()
}

/// Fills in what containers leave out.
pub fn mutate(a: &Attributes<'_>, pod: &mut Value) {
    if !concerns(a) || a.resource() != "pods" || !pod["spec"].is_object() {
        return;
    }
    for range in ranges(a) {
        fill_pod(pod, &range);
    }
}

/// # Errors
/// 403 with everything that lies outside of a LimitRange.
pub fn validate(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    let leaving =
        a.operation == Operation::Update && object["metadata"]["deletionTimestamp"].is_string();
    if !concerns(a) || leaving {
        return Ok(());
    }
    for range in ranges(a) {
        let errors = match a.resource() {
            "pods" => check_pod(&object["spec"], &range),
            _ => check_claim(&object["spec"], &range),
        };
        if let Some(why) = aggregate(&errors) {
            return Err(a.forbidden(object, &why));
        }
    }
    Ok(())
}

/// Several reasons as one, each told once.
fn aggregate(errors: &[String]) -> Option<String> {
    let mut told: Vec<&str> = Vec::new();
    for error in errors {
        if !told.contains(&error.as_str()) {
            told.push(error);
        }
    }
    match told[..] {
        [] => None,
        [one] => Some(one.to_owned()),
        _ => Some(format!("[{}]", told.join(", "))),
    }
}

fn limits<'a>(range: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let limits = range["spec"]["limits"].as_array().into_iter().flatten();
    limits.filter(move |limit| limit["type"] == kind)
}

fn fill_pod(pod: &mut Value, range: &Value) {
    let (mut requests, mut maxima) = (Map::new(), Map::new());
    for limit in limits(range, "Container") {
        let own = |key: &str| limit[key].as_object().cloned().unwrap_or_default();
        requests.extend(own("defaultRequest"));
        maxima.extend(own("default"));
    }
    let mut notes: Vec<String> = Vec::new();
    for (list, what) in [
        ("containers", "container"),
        ("initContainers", "init container"),
    ] {
        let Some(containers) = pod["spec"].get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers.iter_mut().filter(|c| c.is_object()) {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            for (key, defaults, word) in [
                ("requests", &requests, "request"),
                ("limits", &maxima, "limit"),
            ] {
                let added = fill(container, key, defaults);
                if !added.is_empty() {
                    notes.push(format!("{} {word} for {what} {name}", added.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        let meta = crate::rest::meta::of(pod);
        let annotations = meta
            .entry("annotations")
            .or_insert_with(|| Value::Object(Map::new()));
        if !annotations.is_object() {
            *annotations = Value::Object(Map::new());
        }
        annotations[NOTE] = note.into();
    }
}

/// Adds what is missing; the names of that, sorted.
fn fill(container: &mut Value, key: &str, defaults: &Map) -> Vec<Text> {
    let given = |name: &str| container["resources"][key].get(name).is_some();
    let mut missing: Vec<Text> = defaults.keys().filter(|n| !given(n)).cloned().collect();
    missing.sort();
    if missing.is_empty() {
        return missing;
    }
    let resources = &mut container["resources"];
    if !resources.is_object() {
        *resources = Value::Object(Map::new());
    }
    if !resources[key].is_object() {
        resources[key] = Value::Object(Map::new());
    }
    for name in &missing {
        resources[key][name.as_str()] = defaults[name].clone();
    }
    missing
}

/// What is compared with a limit.
struct Asked {
    requests: Amounts,
    limits: Amounts,
}

fn check_pod(spec: &Value, range: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in range["spec"]["limits"].as_array().into_iter().flatten() {
        match limit["type"].as_str() {
            Some("Container") => {
                let lists = ["containers", "initContainers"];
                for container in lists.iter().filter_map(|l| spec[l].as_array()).flatten() {
                    let resources = &container["resources"];
                    let asked = Asked {
                        requests: amounts::read(&resources["requests"]),
                        limits: amounts::read(&resources["limits"]),
                    };
                    check(limit, "Container", &asked, &mut errors);
                }
            }
            Some("Pod") => {
                let asked = Asked {
                    requests: amounts::of_pod(spec, "requests"),
                    limits: amounts::of_pod(spec, "limits"),
                };
                check(limit, "Pod", &asked, &mut errors);
            }
            _ => {}
        }
    }
    errors
}

fn check(limit: &Value, kind: &str, asked: &Asked, errors: &mut Vec<String>) {
    let each = |key: &str| amounts::read(&limit[key]).into_iter();
    errors.extend(each("min").filter_map(|(name, floor)| below(kind, &name, &floor, asked)));
    errors.extend(each("max").filter_map(|(name, ceiling)| above(kind, &name, &ceiling, asked)));
    errors.extend(
        each("maxLimitRequestRatio")
            .filter_map(|(name, most)| stretched(kind, &name, &most, asked)),
    );
}

fn below(kind: &str, name: &str, floor: &Quantity, asked: &Asked) -> Option<String> {
    let what = format!("minimum {name} usage per {kind} is {floor}");
    match (asked.requests.get(name), asked.limits.get(name)) {
        (None, _) => Some(format!("{what}.  No request is specified")),
        (Some(request), _) if request < floor => Some(format!("{what}, but request is {request}")),
        (_, Some(limit)) if limit < floor => Some(format!("{what}, but limit is {limit}")),
        _ => None,
    }
}

fn above(kind: &str, name: &str, ceiling: &Quantity, asked: &Asked) -> Option<String> {
    let what = format!("maximum {name} usage per {kind} is {ceiling}");
    match (asked.requests.get(name), asked.limits.get(name)) {
        (_, None) => Some(format!("{what}.  No limit is specified")),
        (_, Some(limit)) if limit > ceiling => Some(format!("{what}, but limit is {limit}")),
        (Some(request), _) if request > ceiling => {
            Some(format!("{what}, but request is {request}"))
        }
        _ => None,
    }
}

fn stretched(kind: &str, name: &str, most: &Quantity, asked: &Asked) -> Option<String> {
    let what = format!("{name} max limit to request ratio per {kind} is {most}, but");
    let given = |amounts: &Amounts| amounts.get(name).filter(|q| !q.is_zero()).cloned();
    let Some(request) = given(&asked.requests) else {
        return Some(format!("{what} no request is specified or request is 0"));
    };
    let Some(limit) = given(&asked.limits) else {
        return Some(format!("{what} no limit is specified or limit is 0"));
    };
    let ratio = limit.as_f64() / request.as_f64();
    (ratio > most.as_f64()).then(|| format!("{what} provided ratio is {ratio:.6}"))
}

/// Claims have requests only, whatever else is written in them.
fn check_claim(spec: &Value, range: &Value) -> Vec<String> {
    let kind = "PersistentVolumeClaim";
    let asked = Asked {
        requests: amounts::read(&spec["resources"]["requests"]),
        limits: Amounts::new(),
    };
    let mut errors = Vec::new();
    for limit in limits(range, kind) {
        let floors = amounts::read(&limit["min"]).into_iter();
        errors.extend(floors.filter_map(|(name, floor)| below(kind, &name, &floor, &asked)));
        for (name, ceiling) in amounts::read(&limit["max"]) {
            let what = format!("maximum {name} usage per {kind} is {ceiling}");
            match asked.requests.get(&name) {
                None => errors.push(format!("{what}.  No request is specified")),
                Some(request) if *request > ceiling => {
                    errors.push(format!("{what}, but request is {request}"));
                }
                Some(_) => {}
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn range(limit: Value) -> Value {
        json!({"spec": {"limits": [limit]}})
    }

    #[test]
    fn what_is_left_out_is_filled_in_and_noted() {
        let mut pod = json!({"spec": {
            "containers": [{"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "1"}}}],
            "initContainers": [{"name": "i", "resources": {"limits": {"cpu": "3", "memory": "1Gi"}}}],
        }});
        let range = range(
            json!({"type": "Container", "default": {"cpu": "2", "memory": "1Gi"}, "defaultRequest": {"cpu": "1"}}),
        );
        fill_pod(&mut pod, &range);
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}})
        );
        assert_eq!(
            pod["metadata"]["annotations"][NOTE],
            "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; cpu, memory limit for container b; cpu request for init container i"
        );
        let filled = pod.clone();
        fill_pod(&mut pod, &range);
        assert_eq!(pod, filled, "once is enough");
    }

    #[test]
    fn limits_are_kept() {
        let container = |requests: Value, limits: Value| json!({"containers": [{"resources": {"requests": requests, "limits": limits}}]});
        let table = [
            (
                json!({"type": "Container", "min": {"memory": "16Mi"}}),
                container(json!({"memory": "8Mi"}), json!({})),
                "minimum memory usage per Container is 16Mi, but request is 8Mi",
            ),
            (
                json!({"type": "Container", "min": {"memory": "16Mi"}}),
                container(json!({}), json!({})),
                "minimum memory usage per Container is 16Mi.  No request is specified",
            ),
            (
                json!({"type": "Pod", "max": {"memory": "16Mi"}}),
                container(json!({}), json!({})),
                "maximum memory usage per Pod is 16Mi.  No limit is specified",
            ),
            (
                json!({"type": "Pod", "max": {"memory": "16Mi", "cpu": "1"}}),
                container(json!({}), json!({"memory": "17Mi", "cpu": "2"})),
                "[maximum cpu usage per Pod is 1, but limit is 2, maximum memory usage per Pod is 16Mi, but limit is 17Mi]",
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}),
                container(json!({"cpu": "100m"}), json!({"cpu": "300m"})),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}),
                container(json!({"cpu": "0"}), json!({})),
                "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
            ),
        ];
        for (limit, spec, wanted) in table {
            let errors = check_pod(&spec, &range(limit));
            assert_eq!(aggregate(&errors).as_deref(), Some(wanted));
        }
        let claim = json!({"resources": {"requests": {"storage": "1Mi"}}});
        let limit = json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}});
        assert_eq!(
            check_claim(&claim, &range(limit)),
            ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"]
        );
    }
}

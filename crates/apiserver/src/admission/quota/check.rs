//! Whether a request fits into the quotas of its namespace, and what they have used up then. Pure.

use knarr_api::{
    Quantity,
    quantity::Format,
    selector::{Operator, Requirement},
};
use knarr_json::Value;

use super::{
    super::amounts::{self, Amounts},
    usage::{Counted, compute},
};

/// A ResourceQuota as far as admission reads it.
#[derive(Debug, Clone, Default)]
pub struct Quota {
    pub name: String,
    /// `spec.scopes` and `spec.scopeSelector`.
    pub scopes: Vec<Scope>,
    /// `status.hard`
    hard: Amounts,
    /// `status.used`
    pub used: Amounts,
}

/// One of `spec.scopeSelector`.
#[derive(Debug, Clone)]
pub struct Scope {
    pub name: String,
    pub operator: String,
    pub values: Vec<String>,
}

impl Quota {
    pub fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let plain = spec["scopes"].as_array().into_iter().flatten();
        let plain = plain.map(|name| Scope {
            name: text(name),
            operator: "Exists".into(),
            values: Vec::new(),
        });
        let chosen = spec["scopeSelector"]["matchExpressions"].as_array();
        let chosen = chosen.into_iter().flatten().map(Scope::of);
        Quota {
            name: text(&object["metadata"]["name"]),
            scopes: plain.chain(chosen).collect(),
            hard: amounts::read(&object["status"]["hard"]),
            used: amounts::read(&object["status"]["used"]),
        }
    }

    /// Names of what this quota limits of such objects.
    pub fn limited(&self, counted: &Counted) -> Vec<&String> {
        self.hard.keys().filter(|name| counted.has(name)).collect()
    }

    pub fn matches(&self, counted: &Counted, object: &Value) -> bool {
        !self.limited(counted).is_empty()
            && self.scopes.iter().all(|scope| scope.has(counted, object))
    }
}

impl Scope {
    pub fn of(requirement: &Value) -> Self {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let values = requirement["values"].as_array();
        Scope {
            name: text(&requirement["scopeName"]),
            operator: text(&requirement["operator"]),
            values: values.into_iter().flatten().map(text).collect(),
        }
    }

    pub fn has(&self, counted: &Counted, object: &Value) -> bool {
        match counted {
            Counted::Pod => self.has_pod(object),
            Counted::Claim if self.name == "VolumeAttributesClass" => {
                let spec = object["spec"]["volumeAttributesClassName"].as_str();
                let status = &object["status"];
                let now = status["currentVolumeAttributesClassName"].as_str();
                let next = status["modifyVolumeStatus"]["targetVolumeAttributesClassName"].as_str();
                let mut named = [spec, now, next].into_iter().flatten();
                let mut named = named.by_ref().filter(|n| !n.is_empty()).peekable();
                match named.peek() {
                    None => self.selects(None),
                    Some(_) => named.any(|name| self.selects(Some(name))),
                }
            }
            _ => false,
        }
    }

    fn has_pod(&self, pod: &Value) -> bool {
        let spec = &pod["spec"];
        let ends = spec["activeDeadlineSeconds"]
            .as_i64()
            .is_some_and(|s| s >= 0);
        match self.name.as_str() {
            "Terminating" => ends,
            "NotTerminating" => !ends,
            "BestEffort" => is_best_effort(spec),
            "NotBestEffort" => !is_best_effort(spec),
            "PriorityClass" => {
                self.selects(spec["priorityClassName"].as_str().filter(|n| !n.is_empty()))
            }
            "CrossNamespacePodAffinity" => crosses_namespaces(&spec["affinity"]),
            _ => false,
        }
    }

    fn selects(&self, name: Option<&str>) -> bool {
        let operator = match self.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return false,
        };
        let values = self.values.iter().cloned().collect();
        Requirement {
            key: self.name.clone(),
            operator,
            values,
        }
        .matches(name)
    }
}

fn is_best_effort(spec: &Value) -> bool {
    let none = |resources: &Value| {
        ["requests", "limits"].iter().all(|which| {
            let asked = amounts::read(&resources[*which]);
            let of = |name: &str| asked.get(name).is_none_or(Quantity::is_zero);
            of("cpu") && of("memory")
        })
    };
    let lists = ["containers", "initContainers"];
    let mut containers = lists
        .iter()
        .flat_map(|list| spec[*list].as_array().into_iter().flatten());
    none(&spec["resources"]) && containers.all(|c| none(&c["resources"]))
}

/// Whether a pod asks for cpu or memory at all.
pub fn uses_resources(spec: &Value) -> bool {
    !is_best_effort(spec)
}

fn crosses_namespaces(affinity: &Value) -> bool {
    let crosses = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|n| !n.is_empty())
            || term["namespaceSelector"].is_object()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let of = |key: &str| affinity[*kind][key].as_array().cloned().unwrap_or_default();
        of("requiredDuringSchedulingIgnoredDuringExecution")
            .iter()
            .any(crosses)
            || of("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|weighted| crosses(&weighted["podAffinityTerm"]))
    })
}

/// What a request asks of the quotas of its namespace.
#[derive(Debug, Clone)]
pub struct Request {
    pub counted: Counted,
    pub object: Value,
    /// The object before; none for a create.
    pub old: Option<Value>,
}

/// Charges a request to the quotas that it concerns. They are left as they were when it does not fit.
///
/// # Errors
/// Why it does not fit.
pub fn charge(quotas: &mut [Quota], request: &Request) -> Result<(), String> {
    let Request {
        counted,
        object,
        old,
    } = request;
    let mut charged: Vec<(usize, Amounts)> = Vec::new();
    let usage = counted.usage(object);
    for (i, quota) in quotas.iter().enumerate() {
        if !quota.matches(counted, object) {
            continue;
        }
        let limited = quota.limited(counted);
        if *counted == Counted::Pod {
            demand(&quota.name, &limited, &object["spec"])?;
        }
        if limited.iter().any(|name| !quota.used.contains_key(*name)) {
            let names: Vec<&str> = limited.iter().map(|n| n.as_str()).collect();
            return Err(format!(
                "status unknown for quota: {}, resources: {}",
                quota.name,
                names.join(",")
            ));
        }
        let negative: Vec<&str> = usage
            .iter()
            .filter(|(_, quantity)| quantity.is_negative())
            .map(|(name, _)| name.as_str())
            .collect();
        if !negative.is_empty() {
            let names = negative.join(",");
            return Err(format!("quota usage is negative for resource(s): {names}"));
        }
        let mut delta = usage.clone();
        // What was charged before is not charged again.
        if let Some(old) = old.as_ref().filter(|old| quota.matches(counted, old)) {
            subtract(&mut delta, &counted.usage(old));
        }
        delta.retain(|name, quantity| !quantity.is_zero() && quota.hard.contains_key(name));
        if !delta.is_empty() {
            charged.push((i, fit(quota, &delta)?));
        }
    }
    for (i, used) in charged {
        quotas[i].used = used;
    }
    Ok(())
}

/// Never below zero: what shrinks is given back by whoever counts anew.
fn subtract(from: &mut Amounts, less: &Amounts) {
    for (name, quantity) in from.iter_mut() {
        if let Some(less) = less.get(name) {
            *quantity -= less;
            if quantity.is_negative() {
                *quantity = Quantity::from_units(0, Format::DecimalSi);
            }
        }
    }
}

/// What is used with `delta` more.
fn fit(quota: &Quota, delta: &Amounts) -> Result<Amounts, String> {
    let mut used = quota.used.clone();
    amounts::add(&mut used, delta);
    let exceeds = |name: &String| match (used.get(name), quota.hard.get(name)) {
        (Some(used), Some(hard)) => used > hard,
        _ => false,
    };
    let exceeded: Vec<&String> = delta.keys().filter(|name| exceeds(name)).collect();
    if exceeded.is_empty() {
        return Ok(used);
    }
    let only = |of: &Amounts| {
        let kept = of.iter().filter(|(name, _)| exceeded.contains(name));
        amounts::shown(&kept.map(|(k, v)| (k.clone(), v.clone())).collect())
    };
    Err(format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        quota.name,
        only(delta),
        only(&quota.used),
        only(&quota.hard)
    ))
}

/// Where cpu or memory is limited, every container must say how much of it it wants, unless the pod does.
fn demand(quota: &str, limited: &[&String], spec: &Value) -> Result<(), String> {
    const DEMANDED: [&str; 6] = [
        "cpu",
        "memory",
        "requests.cpu",
        "requests.memory",
        "limits.cpu",
        "limits.memory",
    ];
    let said = |holder: &Value| {
        let resources = &holder["resources"];
        compute(
            &amounts::read(&resources["requests"]),
            &amounts::read(&resources["limits"]),
        )
    };
    let whole = said(spec);
    let mut missing: Vec<String> = Vec::new();
    for name in limited.iter().filter(|n| DEMANDED.contains(&n.as_str())) {
        if whole.contains_key(*name) {
            continue;
        }
        let mut silent: Vec<&str> = ["containers", "initContainers"]
            .iter()
            .flat_map(|list| spec[*list].as_array().into_iter().flatten())
            .filter(|c| !said(c).contains_key(*name))
            .filter_map(|c| c["name"].as_str())
            .collect();
        silent.sort_unstable();
        silent.dedup();
        if !silent.is_empty() {
            missing.push(format!("{name} for: {}", silent.join(",")));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "failed quota: {quota}: must specify {}",
        missing.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn quota(scopes: Value, hard: Value, used: Value) -> Quota {
        Quota::of(
            &json!({"metadata": {"name": "q"}, "spec": {"scopes": scopes}, "status": {"hard": hard, "used": used}}),
        )
    }

    fn pod(spec: Value) -> Request {
        Request {
            counted: Counted::Pod,
            object: json!({"spec": spec}),
            old: None,
        }
    }

    #[test]
    fn requests_fit_or_do_not() {
        let plain = || pod(json!({"containers": [{"name": "c"}, {"name": "b"}]}));
        let sized = || {
            pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "600m"}}}]}))
        };
        let none = || json!([]);
        let table = [
            (
                none(),
                json!({"pods": "1"}),
                json!({"pods": "0"}),
                plain(),
                Ok("pods=1"),
            ),
            (
                none(),
                json!({"pods": "1"}),
                json!({"pods": "1"}),
                plain(),
                Err("exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"),
            ),
            (
                none(),
                json!({"cpu": "1", "memory": "1Gi", "pods": "5"}),
                json!({"cpu": "0", "memory": "0", "pods": "0"}),
                plain(),
                Err("failed quota: q: must specify cpu for: b,c; memory for: b,c"),
            ),
            (
                none(),
                json!({"requests.cpu": "1", "pods": "5"}),
                json!({"requests.cpu": "500m", "pods": "1"}),
                sized(),
                Err(
                    "exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=500m, limited: requests.cpu=1",
                ),
            ),
            (
                none(),
                json!({"pods": "1"}),
                json!({}),
                plain(),
                Err("status unknown for quota: q, resources: pods"),
            ),
            (
                json!(["BestEffort"]),
                json!({"pods": "0"}),
                json!({"pods": "0"}),
                sized(),
                Ok("pods=0"),
            ),
            (
                json!(["NotBestEffort"]),
                json!({"pods": "2"}),
                json!({"pods": "0"}),
                sized(),
                Ok("pods=1"),
            ),
            (
                json!(["PriorityClass"]),
                json!({"pods": "0"}),
                json!({"pods": "0"}),
                sized(),
                Ok("pods=0"),
            ),
            (
                none(),
                json!({"services": "0"}),
                json!({"services": "0"}),
                sized(),
                Ok("services=0"),
            ),
        ];
        for (scopes, hard, used, request, wanted) in table {
            let mut quotas = [quota(scopes, hard.clone(), used)];
            let got = charge(&mut quotas, &request).map(|()| amounts::shown(&quotas[0].used));
            assert_eq!(got.as_deref().map_err(String::as_str), wanted, "{hard}");
        }
    }

    #[test]
    fn updates_pay_the_difference() {
        let with = |kind: &str| json!({"spec": {"type": kind, "ports": [{}, {}]}});
        let mut quotas = [quota(
            json!([]),
            json!({"services": "1", "services.nodeports": "2"}),
            json!({"services": "1", "services.nodeports": "0"}),
        )];
        let mut request = Request {
            counted: Counted::Service,
            object: with("NodePort"),
            old: Some(with("ClusterIP")),
        };
        charge(&mut quotas, &request).unwrap();
        assert_eq!(
            amounts::shown(&quotas[0].used),
            "services=1,services.nodeports=2"
        );
        std::mem::swap(&mut request.object, request.old.as_mut().unwrap());
        charge(&mut quotas, &request).unwrap();
        assert_eq!(
            amounts::shown(&quotas[0].used),
            "services=1,services.nodeports=2"
        );
    }

    #[test]
    fn scopes_choose_priority_classes() {
        let chosen = json!({"metadata": {"name": "q"}, "spec": {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}, "status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}});
        let of = |class: &str| pod(json!({"priorityClassName": class}));
        let mut quotas = [Quota::of(&chosen)];
        assert!(charge(&mut quotas, &of("low")).is_ok());
        assert!(charge(&mut quotas, &of("high")).is_err());
    }
}

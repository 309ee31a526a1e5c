//! Which IP families a Service gets, before addresses are allocated for it.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::{
    field::{Error, Errors, Path},
    strategy::{common, defaults::set},
    validation::{is_empty, list, text},
};

const V4: &str = "IPv4";
const V6: &str = "IPv6";

pub(super) fn family(ip: &str) -> Option<&'static str> {
    match ip.parse::<IpAddr>().ok()? {
        IpAddr::V4(_) => Some(V4),
        IpAddr::V6(_) => Some(V6),
    }
}

/// Fills in `ipFamilies` and `ipFamilyPolicy` from what the user asked for and what the cluster has.
///
/// `cluster` lists the families of the cluster's service ranges, primary first. For an update, `old` is the stored Service
/// and `service` already has what [`super::Service`]'s `prepare_update` keeps. What is answered is told to the client instead of
/// validation.
pub fn init(service: &mut Value, old: Option<&Value>, cluster: &[&'static str]) -> Errors {
    let spec = &mut service["spec"];
    if text(spec, "type") == "ExternalName" {
        return Errors::new();
    }
    if let Some(old) = old.map(|o| &o["spec"])
        && text(old, "type") != "ExternalName"
    {
        keep_or_trim(spec, old);
    }
    let errs = refused(spec, old.map(|o| &o["spec"]), cluster);
    if !errs.is_empty() {
        return errs;
    }
    fill(spec, cluster);
    Errors::new()
}

/// An update that says nothing about families keeps those there are; one that goes to a single stack drops the second.
fn keep_or_trim(spec: &mut Value, old: &Value) {
    for key in ["ipFamilies", "ipFamilyPolicy"] {
        if is_empty(&spec[key]) && !is_empty(&old[key]) && key_untouched(spec, old) {
            common::keep(spec, old, key);
        }
    }
    let down = text(spec, "ipFamilyPolicy") == "SingleStack"
        && text(old, "ipFamilyPolicy") != "SingleStack";
    if down {
        for key in ["clusterIPs", "ipFamilies"] {
            if spec[key] == old[key] && list(&spec[key]).len() > 1 {
                let first = list(&spec[key])[0].clone();
                spec[key] = json!([first]);
            }
        }
    }
}

fn key_untouched(spec: &Value, old: &Value) -> bool {
    spec["clusterIPs"] == old["clusterIPs"]
}

fn asks_for_two(spec: &Value) -> bool {
    list(&spec["clusterIPs"]).len() > 1 || list(&spec["ipFamilies"]).len() > 1
}

fn refused(spec: &Value, old: Option<&Value>, cluster: &[&str]) -> Errors {
    let mut errs = Errors::new();
    let path = Path::new("spec");
    let policy = text(spec, "ipFamilyPolicy");
    if !["", "SingleStack", "PreferDualStack", "RequireDualStack"].contains(&policy) {
        return errs; // validation says it
    }
    if asks_for_two(spec) && !is_empty(&spec["ipFamilyPolicy"]) && policy == "SingleStack" {
        let words = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
        errs.push(Error::invalid(&path.child("ipFamilyPolicy"), policy, words));
    } else if asks_for_two(spec) && policy.is_empty() {
        let words = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
        errs.push(Error::invalid(
            &path.child("ipFamilyPolicy"),
            "SingleStack",
            words,
        ));
    }
    if policy == "RequireDualStack" && cluster.len() < 2 && !headless_without_selector(spec) {
        errs.push(Error::invalid(
            &path.child("ipFamilyPolicy"),
            policy,
            "this cluster is not configured for dual-stack services",
        ));
    }
    if !errs.is_empty() {
        return errs;
    }
    let changed = old.is_none_or(|o| o["ipFamilies"] != spec["ipFamilies"]);
    let mut seen: Vec<&str> = Vec::new();
    for (i, f) in list(&spec["ipFamilies"])
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
    {
        let at = path.child("ipFamilies").index(i);
        if ![V4, V6].contains(&f) || seen.contains(&f) {
            return errs; // validation says it
        }
        seen.push(f);
        let ip = list(&spec["clusterIPs"])
            .get(i)
            .and_then(Value::as_str)
            .unwrap_or_default();
        if family(ip).is_some_and(|found| found != f) {
            errs.push(wrong_family(i, ip, f));
        } else if changed && !cluster.contains(&f) && !headless_without_selector(spec) {
            errs.push(Error::invalid(&at, f, "not configured on this cluster"));
        }
    }
    errs
}

/// The address at `i` is not of the family that the Service says.
pub(super) fn wrong_family(i: usize, ip: &str, wanted: &str) -> Error {
    let words = format!("expected an {wanted} value as indicated by `ipFamilies[{i}]`");
    Error::invalid(&Path::new("spec").child("clusterIPs").index(i), ip, words)
}

fn headless_without_selector(spec: &Value) -> bool {
    list(&spec["clusterIPs"])
        .first()
        .is_some_and(|ip| ip == "None")
        && is_empty(&spec["selector"])
}

fn fill(spec: &mut Value, cluster: &[&'static str]) {
    let two = asks_for_two(spec);
    let headless = headless_without_selector(spec);
    set(
        spec,
        "ipFamilyPolicy",
        if two {
            "PreferDualStack"
        } else {
            default_policy(headless)
        },
    );
    let mut families: Vec<String> = list(&spec["ipFamilies"])
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    for (i, ip) in list(&spec["clusterIPs"])
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
    {
        if let Some(f) = family(ip).filter(|_| i >= families.len()) {
            families.push(f.to_owned());
        }
    }
    if families.is_empty() {
        families.extend(cluster.first().map(|f| (*f).to_owned()));
    }
    let dual = text(spec, "ipFamilyPolicy") != "SingleStack";
    let second = if families.first().is_some_and(|f| f == V4) {
        V6
    } else {
        V4
    };
    if dual && families.len() == 1 && (cluster.contains(&second) || headless) {
        families.push(second.to_owned());
    }
    spec["ipFamilies"] = families.into();
}

/// Headless Services without a selector may have endpoints of any family.
fn default_policy(headless_without_selector: bool) -> &'static str {
    if headless_without_selector {
        "RequireDualStack"
    } else {
        "SingleStack"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_new_services() {
        for (spec, want) in [
            (
                json!({"type": "ClusterIP"}),
                Ok((json!(["IPv4"]), "SingleStack")),
            ),
            (
                json!({"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack"}),
                Ok((json!(["IPv4"]), "PreferDualStack")),
            ),
            (
                json!({"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack"}),
                Err("spec.ipFamilyPolicy"),
            ),
            (
                json!({"type": "ClusterIP", "ipFamilies": ["IPv6"]}),
                Err("spec.ipFamilies[0]"),
            ),
            (
                json!({"type": "ClusterIP", "ipFamilies": ["IPv4", "IPv6"]}),
                Err("spec.ipFamilyPolicy"),
            ),
            (
                json!({"type": "ClusterIP", "clusterIPs": ["None"]}),
                Ok((json!(["IPv4", "IPv6"]), "RequireDualStack")),
            ),
        ] {
            let mut service = json!({"spec": spec});
            let errs = init(&mut service, None, &["IPv4"]);
            match want {
                Ok((families, policy)) => {
                    assert_eq!(errs, [], "{spec}");
                    assert_eq!(
                        (
                            &service["spec"]["ipFamilies"],
                            text(&service["spec"], "ipFamilyPolicy")
                        ),
                        (&families, policy),
                        "{spec}"
                    );
                }
                Err(field) => assert_eq!(errs[0].field, field, "{spec}"),
            }
        }
    }
}

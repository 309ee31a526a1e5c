//! Which IP families a Service gets, before addresses are allocated for it.

use std::net::IpAddr;

use knarr_json::{Value, json};

use super::{needs_cluster_ip, validate};
use crate::{
    field::{Error, Errors, Path},
    validation::{At, is_empty, list, text},
};

const V4: &str = "IPv4";
const V6: &str = "IPv6";
const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

pub(super) fn family(ip: &str) -> Option<&'static str> {
    match ip.parse::<IpAddr>().ok()? {
        IpAddr::V4(_) => Some(V4),
        IpAddr::V6(_) => Some(V6),
    }
}

fn other(family: &str) -> &'static str {
    if family == V4 { V6 } else { V4 }
}

fn policy(spec: &Value) -> &str {
    text(spec, "ipFamilyPolicy")
}

fn count(spec: &Value, key: &str) -> usize {
    list(&spec[key]).len()
}

/// Fills in `ipFamilies` and `ipFamilyPolicy` from what the user asked for and what the cluster has.
///
/// `cluster` lists the families of the cluster's service ranges, primary first. For an update, `old` is the stored Service
/// and `service` already has what [`super::Service`]'s `prepare_update` keeps. What is answered is told to the client instead of
/// validation.
pub fn init(service: &mut Value, old: Option<&Value>, cluster: &[&'static str]) -> Errors {
    let old = old.map(|o| &o["spec"]);
    let spec = &mut service["spec"];
    if text(spec, "type") == "ExternalName" || old.is_some_and(|o| stays_preferred(spec, o)) {
        return Errors::new();
    }
    if is_empty(&spec["ipFamilyPolicy"]) {
        let before = old.map(policy).unwrap_or_default();
        let chosen = match before {
            "" if headless_without_selector(spec) => REQUIRE,
            "" => SINGLE,
            before => before,
        };
        spec["ipFamilyPolicy"] = chosen.into();
    }
    let mut errs = Errors::new();
    validate::cluster_ips(&At::root(service, "spec"), &mut errs);
    if !errs.is_empty() {
        return errs;
    }
    let spec = &mut service["spec"];
    release(spec, old, &mut errs);
    single_means_one(spec, &mut errs);
    infer(spec, cluster, &mut errs);
    if !errs.is_empty() {
        return errs;
    }
    // endpoints that users write themselves may be of any family
    let anything = headless_without_selector(spec);
    if !anything {
        configured(spec, cluster, &mut errs);
    }
    if errs.is_empty() {
        fill(spec, cluster, anything);
    }
    errs
}

/// Whether an update leaves a Service that prefers two families as it is: neither gains it one nor loses it one because the
/// cluster has changed.
fn stays_preferred(spec: &Value, old: &Value) -> bool {
    policy(spec) == PREFER
        && [PREFER, ""].contains(&policy(old))
        && spec["type"] == old["type"]
        && needs_cluster_ip(spec)
        && same_list(spec, old, "clusterIPs")
        && same_list(spec, old, "ipFamilies")
}

fn same_list(spec: &Value, old: &Value, key: &str) -> bool {
    list(&spec[key]) == list(&old[key])
}

fn wrong_policy(spec: &Value, words: &str) -> Error {
    let path = Path::new("spec").child("ipFamilyPolicy");
    Error::invalid(&path, policy(spec), words)
}

/// An update that goes to a single stack drops the second address and family, if it says nothing else about them.
fn release(spec: &mut Value, old: Option<&Value>, errs: &mut Errors) {
    let Some(old) = old else { return };
    for (key, what) in [
        ("clusterIPs", "secondary cluster IP"),
        ("ipFamilies", "secondary IP family"),
    ] {
        let now = count(spec, key);
        if policy(spec) == SINGLE {
            if same_list(spec, old, key) && now > 1 {
                let first = spec[key][0].clone();
                spec[key] = json!([first]);
            }
        } else if (1..count(old, key)).contains(&now) {
            errs.push(wrong_policy(
                spec,
                &format!("must be 'SingleStack' to release the {what}"),
            ));
        }
    }
}

fn single_means_one(spec: &Value, errs: &mut Errors) {
    for (key, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if policy(spec) == SINGLE && count(spec, key) == 2 {
            let words = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            errs.push(wrong_policy(spec, &words));
        }
    }
}

/// Addresses that are asked for tell their families.
fn infer(spec: &mut Value, cluster: &[&str], errs: &mut Errors) {
    let ips = spec["clusterIPs"].clone();
    let mut families = list(&spec["ipFamilies"]).to_vec();
    let path = Path::new("spec").child("clusterIPs");
    for (i, ip) in list(&ips).iter().enumerate() {
        let Some(found) = ip.as_str().and_then(family) else {
            break;
        };
        if i < families.len() {
            continue;
        }
        if cluster.contains(&found) {
            families.push(found.into());
        } else {
            let words = format!("{found} is not configured on this cluster");
            errs.push(Error::invalid(&path.index(i), ips.clone(), words));
        }
    }
    if !families.is_empty() {
        spec["ipFamilies"] = families.into();
    }
}

fn configured(spec: &Value, cluster: &[&str], errs: &mut Errors) {
    if policy(spec) == REQUIRE && cluster.len() < 2 {
        let words = "this cluster is not configured for dual-stack services";
        errs.push(wrong_policy(spec, words));
    }
    let path = Path::new("spec").child("ipFamilies");
    for (i, f) in list(&spec["ipFamilies"]).iter().enumerate() {
        if !f.as_str().is_some_and(|f| cluster.contains(&f)) {
            errs.push(Error::invalid(
                &path.index(i),
                f.clone(),
                "not configured on this cluster",
            ));
        }
    }
}

fn fill(spec: &mut Value, cluster: &[&'static str], anything: bool) {
    let mut families = list(&spec["ipFamilies"]).to_vec();
    if families.is_empty() {
        families.extend(cluster.first().map(|f| Value::from(*f)));
    }
    let dual = policy(spec) != SINGLE && (anything || cluster.len() == 2);
    if let [first] = families.as_slice()
        && dual
    {
        let second = other(first.as_str().unwrap_or_default());
        families.push(second.into());
    }
    spec["ipFamilies"] = families.into();
}

/// The address at `i` is not of the family that the Service says.
pub(super) fn wrong_family(i: usize, ip: &str, wanted: &str) -> Error {
    let words = format!("expected an {wanted} value as indicated by `ipFamilies[{i}]`");
    Error::invalid(&Path::new("spec").child("clusterIPs").index(i), ip, words)
}

fn headless_without_selector(spec: &Value) -> bool {
    text(spec, "clusterIP") == "None" && is_empty(&spec["selector"])
}

#[cfg(test)]
mod tests {
    use super::*;

    type Settled<'a> = Result<(Value, &'a str), &'a str>;

    fn settled(spec: &Value, old: Option<Value>, cluster: &[&'static str]) -> Settled<'static> {
        let mut service = json!({"spec": spec});
        let old = old.map(|o| json!({"spec": o}));
        let errs = init(&mut service, old.as_ref(), cluster);
        match errs.first() {
            None => {
                let chosen = [SINGLE, PREFER, REQUIRE];
                let found = chosen.iter().find(|p| **p == policy(&service["spec"]));
                Ok((
                    service["spec"]["ipFamilies"].clone(),
                    found.copied().unwrap_or(""),
                ))
            }
            Some(e) => Err(e.to_string().leak()),
        }
    }

    #[test]
    fn families_of_new_services() {
        for (spec, want) in [
            (json!({"type": "ClusterIP"}), Ok((json!(["IPv4"]), SINGLE))),
            (
                json!({"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack"}),
                Ok((json!(["IPv4"]), PREFER)),
            ),
            (
                json!({"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack"}),
                Err(
                    "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
                ),
            ),
            (
                json!({"type": "ClusterIP", "ipFamilies": ["IPv6"]}),
                Err("spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"),
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "2001:db8::1", "clusterIPs": ["2001:db8::1"]}),
                Err(
                    "spec.clusterIPs[0]: Invalid value: [\"2001:db8::1\"]: IPv6 is not configured on this cluster",
                ),
            ),
            (
                json!({"type": "ClusterIP", "ipFamilies": ["IPv4", "IPv6"]}),
                Err(
                    "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
                ),
            ),
            (
                json!({"type": "ClusterIP", "clusterIPs": ["10.0.0.1"]}),
                Err(
                    "spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: must be empty when `clusterIP` is not specified",
                ),
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]}),
                Ok((json!(["IPv4", "IPv6"]), REQUIRE)),
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}}),
                Ok((json!(["IPv4"]), SINGLE)),
            ),
        ] {
            assert_eq!(settled(&spec, None, &[V4]), want, "{spec}");
        }
    }

    #[test]
    fn a_second_family_comes_and_goes_by_the_policy() {
        let dual = json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "2001:db8::1"],
            "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"});
        let mut single = dual.clone();
        single["ipFamilyPolicy"] = json!(SINGLE);
        let both = [V4, V6];
        assert_eq!(
            settled(&single, Some(dual.clone()), &both),
            Ok((json!(["IPv4"]), SINGLE))
        );
        let mut reduced = dual.clone();
        reduced["clusterIPs"] = json!(["10.0.0.1"]);
        assert_eq!(
            settled(&reduced, Some(dual.clone()), &both),
            Err(
                "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be 'SingleStack' to release the secondary cluster IP"
            )
        );
        let mut one = dual.clone();
        one["clusterIPs"] = json!(["10.0.0.1"]);
        one["ipFamilies"] = json!(["IPv4"]);
        one["ipFamilyPolicy"] = json!(SINGLE);
        let mut more = one.clone();
        more["ipFamilyPolicy"] = json!(REQUIRE);
        assert_eq!(
            settled(&more, Some(one), &both),
            Ok((json!(["IPv4", "IPv6"]), REQUIRE))
        );
        // what the cluster lost since is left alone
        assert_eq!(
            settled(&dual, Some(dual.clone()), &[V4]),
            Ok((json!(["IPv4", "IPv6"]), PREFER))
        );
    }
}

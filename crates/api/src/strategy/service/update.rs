//! What may change of a Service.

use knarr_json::Value;

use super::{
    needs_health_port,
    validate::{balancer_class, headless},
};
use crate::{
    field::{Error, Errors},
    validation::{At, list, text},
};

/// What an update may not change.
pub fn update(object: &Value, old: &Value, errs: &mut Errors) {
    let (spec, old) = (At::root(object, "spec"), &old["spec"]);
    if spec.text("type") != "ExternalName" && text(old, "type") != "ExternalName" {
        changed_addresses(&spec, old, errs);
        changed_families(&spec, old, errs);
    }
    let class = spec.get("loadBalancerClass");
    if spec.text("type") == "LoadBalancer"
        && text(old, "type") == "LoadBalancer"
        && *class.v != old["loadBalancerClass"]
    {
        errs.push(class.invalid("may not change once set"));
    }
    balancer_class(&spec, errs);
    let health = spec.get("healthCheckNodePort");
    if needs_health_port(spec.v)
        && needs_health_port(old)
        && *health.v != old["healthCheckNodePort"]
    {
        errs.push(health.forbidden("field is immutable"));
    }
}

fn changed_addresses(spec: &At, old: &Value, errs: &mut Errors) {
    if headless(spec.v) && headless(old) {
        return;
    }
    let ips = spec.get("clusterIPs");
    let (new, was) = (list(ips.v), list(&old["clusterIPs"]));
    let mut wrong =
        |i: usize, words: &str| errs.push(Error::invalid(&ips.path.index(i), ips.v.clone(), words));
    if new.len() == was.len() {
        for i in (0..new.len()).filter(|i| new[*i] != was[*i]) {
            wrong(i, CHANGED);
        }
        return;
    }
    if new.is_empty() {
        wrong(0, "primary clusterIP can not be unset");
    } else if was.first().is_some_and(|w| new[0] != *w) {
        wrong(0, CHANGED);
    }
    if new.len() < was.len() {
        one_left(spec, new, "clusterIP", errs);
    }
}

const CHANGED: &str = "may not change once set";

/// Who lets the second of two go must say that one is enough.
fn one_left(spec: &At, new: &[Value], what: &str, errs: &mut Errors) {
    if new.len() == 1 && spec.text("ipFamilyPolicy") != "SingleStack" {
        let words = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        errs.push(spec.get("ipFamilyPolicy").invalid(words));
    }
}

fn changed_families(spec: &At, old: &Value, errs: &mut Errors) {
    if headless(spec.v) || headless(old) {
        return;
    }
    let families = spec.get("ipFamilies");
    let (new, was) = (list(families.v), list(&old["ipFamilies"]));
    let first = families.path.index(0);
    if new.len() == was.len() {
        // the original always tells the first
        for _ in new.iter().zip(was).filter(|(n, w)| n != w) {
            errs.push(Error::invalid(&first, families.v.clone(), CHANGED));
        }
        return;
    }
    let shrinks = new.len() < was.len();
    let ips = &spec.v["clusterIPs"];
    if shrinks && list(ips).is_empty() {
        let words = "primary ipFamily can not be unset";
        errs.push(Error::invalid(&first, families.v.clone(), words));
    }
    if new.first().zip(was.first()).is_some_and(|(n, w)| n != w) {
        // and shows the addresses
        errs.push(Error::invalid(&first, ips.clone(), CHANGED));
    }
    if shrinks {
        one_left(spec, new, "ipFamily", errs);
    }
}

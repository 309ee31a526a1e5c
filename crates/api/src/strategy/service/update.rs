//! What may change of a Service.

use serde_json::Value;

use super::{needs_health_port, validate::headless};
use crate::{
    field::{Error, Errors},
    validation::{At, is_empty, list, text},
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
    let health = spec.get("healthCheckNodePort");
    if needs_health_port(spec.v)
        && needs_health_port(old)
        && *health.v != old["healthCheckNodePort"]
    {
        errs.push(health.forbidden("field is immutable"));
    }
}

fn changed_addresses(spec: &At, old: &Value, errs: &mut Errors) {
    let ips = spec.get("clusterIPs");
    let (new, was) = (list(ips.v), list(&old["clusterIPs"]));
    let Some(first) = was.first() else { return };
    match new.first() {
        None => errs.push(Error::invalid(
            &ips.path.index(0),
            ips.v.clone(),
            "primary clusterIP can not be unset",
        )),
        Some(ip) if ip != first => errs.push(Error::invalid(
            &ips.path.index(0),
            ips.v.clone(),
            "may not change once set",
        )),
        _ => {}
    }
    match (new.get(1), was.get(1)) {
        (Some(n), Some(w)) if n != w => {
            errs.push(Error::invalid(
                &ips.path.index(1),
                ips.v.clone(),
                "may not change once set",
            ));
        }
        (None, Some(_)) if spec.text("ipFamilyPolicy") != "SingleStack" => {
            let words = "must be set to 'SingleStack' when releasing the secondary clusterIP";
            errs.push(spec.get("ipFamilyPolicy").invalid(words));
        }
        _ => {}
    }
}

fn changed_families(spec: &At, old: &Value, errs: &mut Errors) {
    let families = spec.get("ipFamilies");
    let (new, was) = (list(families.v), list(&old["ipFamilies"]));
    let headless_bare = headless(spec.v) && is_empty(&spec.v["selector"]);
    let Some(first) = was.first().filter(|_| !headless_bare) else {
        return;
    };
    match new.first() {
        None => errs.push(Error::invalid(
            &families.path.index(0),
            families.v.clone(),
            "primary ipFamily can not be unset",
        )),
        Some(f) if f != first => {
            errs.push(Error::invalid(
                &families.path.index(0),
                families.v.clone(),
                "may not change once set",
            ));
        }
        _ => {}
    }
    if let (Some(n), Some(w)) = (new.get(1), was.get(1))
        && n != w
    {
        errs.push(Error::invalid(
            &families.path.index(1),
            families.v.clone(),
            "may not change once set",
        ));
    }
}

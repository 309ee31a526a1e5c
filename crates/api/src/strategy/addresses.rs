//! IPAddresses and ServiceCIDRs: what the API server hands out to Services.

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{Column, Context, Strategy, common};
use crate::{
    field::Errors,
    names, table,
    validation::{At, immutable, list, meta, net, ordered_json, text},
};

/// `networking.k8s.io/v1/IPAddress`; its name is the address.
pub struct IpAddress;

fn address_name(name: &str, _prefix: bool) -> Vec<String> {
    let value = json!(name);
    let mut errs = Errors::new();
    net::ip_canonical(&At::new(&value, "name"), &mut errs);
    errs.into_iter().map(|e| e.detail).collect()
}

impl Strategy for IpAddress {
    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, address_name, &mut errs);
        let parent = At::root(object, "spec").get("parentRef");
        if parent.v.is_null() {
            errs.push(parent.required(""));
            return errs;
        }
        let group = parent.get("group");
        if !group.str().is_empty() {
            group.push(names::dns1123_subdomain(group.str()), &mut errs);
        }
        for key in ["resource", "name"] {
            let field = parent.get(key);
            if field.str().is_empty() {
                errs.push(field.required(""));
            } else {
                field.push(names::path_segment(field.str()), &mut errs);
            }
        }
        let namespace = parent.get("namespace");
        if !namespace.str().is_empty() {
            namespace.push(names::path_segment(namespace.str()), &mut errs);
        }
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        let parent = At::root(object, "spec").get("parentRef");
        if *parent.v != old["spec"]["parentRef"] {
            let p = parent.v;
            let shown = json!({"Group": text(p, "group"), "Resource": text(p, "resource"), "Namespace": text(p, "namespace"), "Name": text(p, "name")});
            let shown = ordered_json(&shown, &["Group", "Resource", "Namespace", "Name"]);
            errs.push(parent.invalid("field is immutable").showing(shown));
        }
        errs
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "ParentRef",
                "ParentRef references the resource that an IPAddress is attached to. An IPAddress must reference a parent object.",
            ),
        ]
    }

    fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let parent = &object["spec"]["parentRef"];
        let shown = if parent.is_object() {
            let mut out = String::new();
            if !text(parent, "group").is_empty() {
                out.push_str(&format!("{}.", text(parent, "group")));
            }
            out.push_str(text(parent, "resource"));
            if !text(parent, "namespace").is_empty() {
                out.push_str(&format!("/{}", text(parent, "namespace")));
            }
            format!("{out}/{}", text(parent, "name"))
        } else {
            "<none>".to_owned()
        };
        vec![table::name_of(object), shown.into()]
    }
}

/// `networking.k8s.io/v1/ServiceCIDR`.
pub struct ServiceCidr;

impl Strategy for ServiceCidr {
    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        let cidrs = At::root(object, "spec").get("cidrs");
        let shown = || format!("{{\"CIDRs\":{}}}", cidrs.v);
        match list(cidrs.v) {
            [] => errs.push(cidrs.required("at least one CIDR required")),
            [_] => {}
            [a, b] => {
                let family = |v: &Value| {
                    let text = v.as_str().unwrap_or_default();
                    net::parse_cidr_sloppy(text).map(|(ip, _)| ip.is_ipv4())
                };
                if family(a).zip(family(b)).is_none_or(|(a, b)| a == b) {
                    let words = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
                    errs.push(cidrs.invalid(words).showing(shown()));
                    return errs;
                }
            }
            _ => {
                errs.push(
                    cidrs
                        .invalid("may only hold up to 2 values")
                        .showing(shown()),
                );
                return errs;
            }
        }
        for cidr in cidrs.each() {
            net::cidr_canonical(&cidr, &mut errs);
        }
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        if ctx.subresource != "status" {
            immutable(
                &At::root(object, "spec").get("cidrs"),
                &old["spec"]["cidrs"],
                &mut errs,
            );
        }
        errs
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "CIDRs",
                "CIDRs defines the IP blocks in CIDR notation (e.g. \"192.168.0.0/24\" or \"2001:db8::/64\") from which to assign service cluster IPs. Max of two CIDRs is allowed, one of each IP family. This field is immutable.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let cidrs: Vec<&str> = list(&object["spec"]["cidrs"])
            .iter()
            .filter_map(Value::as_str)
            .collect();
        vec![
            table::name_of(object),
            cidrs.join(",").into(),
            table::age_of(object, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_of_different_families() {
        let families = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        for (cidrs, want) in [
            (json!(["10.0.0.0/16", "2001:db8::/64"]), None),
            (json!([]), Some("Required value: at least one CIDR required".to_owned())),
            (
                json!(["10.0.0.0/16", "10.1.0.0/16"]),
                Some(format!("Invalid value: {{\"CIDRs\":[\"10.0.0.0/16\",\"10.1.0.0/16\"]}}: {families}")),
            ),
            (
                json!(["10.0.0.0/8", "::/64", "x"]),
                Some("Invalid value: {\"CIDRs\":[\"10.0.0.0/8\",\"::/64\",\"x\"]}: may only hold up to 2 values".to_owned()),
            ),
            (
                json!(["2001:DB8::/64"]),
                Some("Invalid value: \"2001:DB8::/64\": must be in canonical form (\"2001:db8::/64\")".to_owned()),
            ),
        ] {
            let object = json!({"metadata": {"name": "r"}, "spec": {"cidrs": cidrs}});
            let errs = ServiceCidr.validate_create(&Context::default(), &object);
            assert_eq!(errs.first().map(|e| e.body()), want, "{cidrs}");
            assert!(errs.len() <= 1);
        }
    }
}

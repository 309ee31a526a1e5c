//! Names and addresses of a pod: DNS, host names, host aliases, the host's network.

use crate::{
    field::{Error, Errors},
    names,
    validation::{At, list, net},
};

/// The field `dnsPolicy`.
pub fn dns_policy(policy: &At, errs: &mut Errors) {
    const POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    match policy.str() {
        "" => errs.push(policy.required("")),
        p if POLICIES.contains(&p) => {}
        _ => errs.push(policy.not_supported(&POLICIES)),
    }
}

/// The field `dnsConfig`, which the policy `None` needs.
pub fn dns_config(spec: &At, errs: &mut Errors) {
    let config = spec.get("dnsConfig");
    let servers = config.get("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if config.v.is_null() {
            errs.push(config.required("must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        }
        if list(servers.v).is_empty() {
            errs.push(
                servers
                    .required("must provide at least one DNS nameserver when `dnsPolicy` is None"),
            );
            return;
        }
    }
    if list(servers.v).len() > 3 {
        errs.push(servers.invalid("must not have more than 3 nameservers"));
    }
    for server in servers.each() {
        net::ip_strict(&server, errs);
    }
    let searches = config.get("searches");
    if list(searches.v).len() > 32 {
        errs.push(searches.invalid("must not have more than 32 search paths"));
    }
    let total: usize = list(searches.v)
        .iter()
        .filter_map(|s| s.as_str())
        .map(|s| s.len() + 1)
        .sum();
    if total.saturating_sub(1) > 2048 {
        errs.push(searches.invalid(
            "must not have more than 2048 characters (including spaces) in the search list",
        ));
    }
    for search in searches.each().filter(|s| s.str() != ".") {
        let name = search.str().strip_suffix('.').unwrap_or(search.str());
        for m in names::dns1123_subdomain_underscored(name) {
            errs.push(Error::invalid(&search.path, name, m));
        }
    }
    for option in config
        .items("options")
        .filter(|o| o.text("name").is_empty())
    {
        errs.push(option.required("must not be empty"));
    }
}

/// `hostname`, `subdomain` and `hostnameOverride`.
pub fn host_names(spec: &At, errs: &mut Errors) {
    for key in ["hostname", "subdomain"] {
        let name = spec.get(key);
        if !name.str().is_empty() {
            name.push(names::dns1123_label(name.str()), errs);
        }
    }
    let Some(over) = spec.some("hostnameOverride") else {
        return;
    };
    over.push(names::dns1123_subdomain(over.str()), errs);
    if over.str().len() > 64 {
        errs.push(Error::too_long(&over.path, 64));
    }
    if spec.flag("setHostnameAsFQDN") {
        errs.push(over.forbidden("may not be specified when setHostnameAsFQDN is true"));
    }
    if spec.flag("hostNetwork") {
        errs.push(over.forbidden("may not be specified when hostNetwork is true"));
    }
}

/// The list `hostAliases`.
pub fn host_aliases(all: &At, errs: &mut Errors) {
    for alias in all.each() {
        let ip = alias.get("ip");
        net::ip_strict(&ip, errs);
        for name in alias.items("hostnames") {
            name.push(names::dns1123_subdomain(name.str()), errs);
        }
    }
}

/// On the host's network a container's port is the host's port; a template may leave the latter out.
pub fn host_network(spec: &At, is_pod: bool, errs: &mut Errors) {
    if !spec.flag("hostNetwork") {
        return;
    }
    for port in spec.items("containers").flat_map(|c| c.items("ports")) {
        let number = |key: &str| port.int(key).unwrap_or(0);
        let host = number("hostPort");
        if (is_pod || host != 0) && host != number("containerPort") {
            errs.push(Error::invalid(
                &port.path.child("hostPort"),
                host,
                "must match `containerPort` when `hostNetwork` is true",
            ));
        }
    }
}

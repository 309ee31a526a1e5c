//! The resolver settings and host names of a pod. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{HostAlias, PodSpec};
use knarr_runtime::DnsConfig;

/// How many search domains a resolver file may name.
const MAX_SEARCHES: usize = 32;
/// And how many name servers.
const MAX_SERVERS: usize = 3;
/// The longest name the kernel takes for a host.
const MAX_HOSTNAME: usize = 63;

/// What `/etc/resolv.conf` says.
pub fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut out = DnsConfig::default();
    for line in text.lines() {
        let mut words = line
            .split(['#', ';'])
            .next()
            .unwrap_or_default()
            .split_whitespace();
        match words.next() {
            Some("nameserver") => out.servers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                out.searches = words
                    .map(|w| w.trim_end_matches('.').to_owned())
                    .filter(|w| !w.is_empty())
                    .collect()
            }
            Some("options") => out.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    out
}

/// The resolver settings of a pod: by its policy, then its own additions.
pub fn config(
    spec: &PodSpec,
    namespace: &str,
    cluster: &[IpAddr],
    domain: &str,
    host: &DnsConfig,
) -> DnsConfig {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let on_host = spec.host_network == Some(true);
    let mut out = match policy {
        "None" => DnsConfig::default(),
        "ClusterFirstWithHostNet" if !cluster.is_empty() => {
            cluster_first(namespace, cluster, domain, host)
        }
        "ClusterFirst" if !cluster.is_empty() && !on_host => {
            cluster_first(namespace, cluster, domain, host)
        }
        _ => host.clone(),
    };
    if let Some(own) = &spec.dns_config {
        let add = |to: &mut Vec<String>, from: Option<&Vec<String>>| {
            for item in from.into_iter().flatten().filter(|i| !i.is_empty()) {
                if !to.contains(item) {
                    to.push(item.clone());
                }
            }
        };
        add(&mut out.servers, own.nameservers.as_ref());
        add(&mut out.searches, own.searches.as_ref());
        for option in own.options.iter().flatten() {
            let name = option.name.as_deref().unwrap_or_default();
            out.options
                .retain(|o| o != name && !o.starts_with(&format!("{name}:")));
            out.options
                .push(match option.value.as_deref().filter(|v| !v.is_empty()) {
                    Some(value) => format!("{name}:{value}"),
                    None => name.to_owned(),
                });
        }
    }
    out.servers.truncate(MAX_SERVERS);
    out.searches.truncate(MAX_SEARCHES);
    out
}

fn cluster_first(namespace: &str, cluster: &[IpAddr], domain: &str, host: &DnsConfig) -> DnsConfig {
    let mut searches = vec![
        format!("{namespace}.svc.{domain}"),
        format!("svc.{domain}"),
        domain.to_owned(),
    ];
    searches.extend(
        host.searches
            .iter()
            .filter(|s| *s != "." && !s.is_empty())
            .cloned(),
    );
    let mut seen = std::collections::HashSet::new();
    searches.retain(|s| seen.insert(s.clone()));
    DnsConfig {
        servers: cluster.iter().map(ToString::to_string).collect(),
        searches,
        options: vec!["ndots:5".to_owned()],
    }
}

/// (host name, full name when the pod has a subdomain).
pub fn hostname(
    spec: &PodSpec,
    pod_name: &str,
    namespace: &str,
    domain: &str,
) -> (String, Option<String>) {
    if let Some(name) = spec.hostname_override.as_ref().filter(|n| !n.is_empty()) {
        return (name.clone(), None);
    }
    let short = spec
        .hostname
        .as_deref()
        .filter(|h| !h.is_empty())
        .unwrap_or(pod_name);
    let cut = short
        .char_indices()
        .nth(MAX_HOSTNAME)
        .map_or(short, |(at, _)| &short[..at]);
    let short = cut.trim_end_matches(['-', '.']).to_owned();
    let full = spec
        .subdomain
        .as_deref()
        .filter(|s| !s.is_empty())
        .map(|sub| format!("{short}.{sub}.{namespace}.svc.{domain}"));
    match &full {
        Some(name) if spec.set_hostname_as_fqdn == Some(true) => (name.clone(), full),
        _ => (short, full),
    }
}

/// `/etc/hosts` of a pod with its own network.
pub fn hosts_file(
    ips: &[IpAddr],
    hostname: &str,
    full: Option<&str>,
    aliases: &[HostAlias],
) -> String {
    let mut out = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        match full {
            Some(full) if full != hostname => out.push_str(&format!("{ip}\t{full}\t{hostname}\n")),
            _ => out.push_str(&format!("{ip}\t{hostname}\n")),
        }
    }
    out + &alias_lines(aliases)
}

/// `/etc/hosts` of a pod on the node's network.
pub fn host_network_hosts_file(host: &str, aliases: &[HostAlias]) -> String {
    format!(
        "# Kubernetes-managed hosts file (host network).\n{host}{}",
        alias_lines(aliases)
    )
}

fn alias_lines(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let line = |a: &HostAlias| {
        format!(
            "{}\t{}\n",
            a.ip,
            a.hostnames.as_deref().unwrap_or(&[]).join("\t")
        )
    };
    format!(
        "\n# Entries added by HostAliases.\n{}",
        aliases.iter().map(line).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> PodSpec {
        let mut json = json;
        json["containers"] = serde_json::json!([]);
        serde_json::from_value(json).expect("a spec")
    }

    #[test]
    fn policies() {
        let host =
            parse_resolv_conf("# x\nnameserver 9.9.9.9\nsearch corp.example\noptions edns0\n");
        let cluster = [IpAddr::from([10, 96, 0, 10])];
        let run = |json| {
            let c = config(&spec(json), "ns", &cluster, "cluster.local", &host);
            (
                c.servers.join(" "),
                c.searches.join(" "),
                c.options.join(" "),
            )
        };
        let own = |servers: &str, searches: &str, options: &str| {
            (servers.to_owned(), searches.to_owned(), options.to_owned())
        };
        let first = own(
            "10.96.0.10",
            "ns.svc.cluster.local svc.cluster.local cluster.local corp.example",
            "ndots:5",
        );
        let default = own("9.9.9.9", "corp.example", "edns0");
        assert_eq!(run(serde_json::json!({})), first);
        assert_eq!(run(serde_json::json!({"hostNetwork": true})), default);
        assert_eq!(
            run(serde_json::json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"})),
            first
        );
        assert_eq!(run(serde_json::json!({"dnsPolicy": "Default"})), default);
        let none = serde_json::json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a.b"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}});
        assert_eq!(run(none), own("1.1.1.1", "a.b", "ndots:2 edns0"));
        let merged =
            run(serde_json::json!({"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}}));
        assert_eq!(merged.2, "ndots:1");
    }

    #[test]
    fn names() {
        let long = "a".repeat(62) + "-b";
        let cases = [
            (serde_json::json!({}), "pod", "pod", None),
            (serde_json::json!({}), long.as_str(), &"a".repeat(62), None),
            (
                serde_json::json!({"hostname": "h", "subdomain": "s"}),
                "pod",
                "h",
                Some("h.s.ns.svc.d"),
            ),
            (
                serde_json::json!({"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true}),
                "pod",
                "h.s.ns.svc.d",
                Some("h.s.ns.svc.d"),
            ),
        ];
        for (json, pod, short, full) in cases {
            let (got, got_full) = hostname(&spec(json), pod, "ns", "d");
            assert_eq!((got.as_str(), got_full.as_deref()), (short, full));
        }
    }

    #[test]
    fn hosts_have_aliases() {
        let alias = HostAlias {
            ip: "1.2.3.4".into(),
            hostnames: Some(vec!["foo".into(), "bar".into()]),
        };
        let text = hosts_file(
            &[IpAddr::from([10, 0, 0, 2])],
            "h",
            Some("h.s.ns.svc.d"),
            &[alias],
        );
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n"));
        assert!(text.contains("10.0.0.2\th.s.ns.svc.d\th\n"));
        assert!(text.ends_with("# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n"));
    }
}

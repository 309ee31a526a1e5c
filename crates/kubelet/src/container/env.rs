//! The environment of a container. Pure: what it refers to was fetched before.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret, Service,
};

use super::{
    expand::expand,
    fields::{Facts, field, resource},
};

/// Objects that pods refer to, by name, as far as they exist.
#[derive(Default, Clone)]
pub struct Objects {
    pub config_maps: HashMap<String, Arc<ConfigMap>>,
    pub secrets: HashMap<String, Arc<Secret>>,
    /// Services of the pod's namespace, with `default/kubernetes` last.
    pub services: Vec<Arc<Service>>,
}

/// The environment, in order, later entries winning.
///
/// # Errors
/// What is missing, in the words users know.
pub fn environment(
    pod: &Pod,
    container: &Container,
    objects: &Objects,
    facts: &Facts,
) -> Result<Vec<(String, String)>, String> {
    let links = pod
        .spec
        .as_ref()
        .is_none_or(|s| s.enable_service_links != Some(false));
    let services = service_variables(
        &objects.services,
        pod.metadata.namespace.as_deref().unwrap_or_default(),
        links,
    );
    let mut out = Builder {
        values: HashMap::new(),
        order: Vec::new(),
        services: &services,
    };
    from_sources(pod, container, objects, &mut out)?;
    for var in container.env.iter().flatten() {
        if let Some(value) = value(pod, container, var, objects, facts, &out)? {
            out.set(&var.name, value);
        }
    }
    Ok(out.finish())
}

struct Builder<'a> {
    values: HashMap<String, String>,
    order: Vec<String>,
    services: &'a BTreeMap<String, String>,
}

impl Builder<'_> {
    fn set(&mut self, name: &str, value: String) {
        if self.values.insert(name.to_owned(), value).is_none() {
            self.order.push(name.to_owned());
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .or_else(|| self.services.get(name))
            .map(String::as_str)
    }

    fn finish(mut self) -> Vec<(String, String)> {
        let links: Vec<_> = self
            .services
            .iter()
            .filter(|(k, _)| !self.values.contains_key(*k))
            .collect();
        let links = links
            .into_iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<Vec<_>>();
        let own = std::mem::take(&mut self.order);
        let own = own
            .into_iter()
            .filter_map(|name| self.values.remove_entry(&name));
        own.chain(links).collect()
    }
}

fn from_sources(
    pod: &Pod,
    container: &Container,
    objects: &Objects,
    out: &mut Builder<'_>,
) -> Result<(), String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(r) = &source.config_map_ref {
            match objects.config_maps.get(&r.name) {
                Some(map) => map
                    .data
                    .iter()
                    .flatten()
                    .for_each(|(k, v)| out.set(&format!("{prefix}{k}"), v.clone())),
                None if r.optional == Some(true) => {}
                None => return Err(missing(namespace, "configmap", &r.name)),
            }
        }
        if let Some(r) = &source.secret_ref {
            match objects.secrets.get(&r.name) {
                Some(secret) => secret
                    .data
                    .iter()
                    .flatten()
                    .for_each(|(k, v)| out.set(&format!("{prefix}{k}"), text(&v.0))),
                None if r.optional == Some(true) => {}
                None => return Err(missing(namespace, "secret", &r.name)),
            }
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn missing(_namespace: &str, kind: &str, name: &str) -> String {
    format!("{kind} \"{name}\" not found")
}

fn value(
    pod: &Pod,
    container: &Container,
    var: &EnvVar,
    objects: &Objects,
    facts: &Facts,
    known: &Builder<'_>,
) -> Result<Option<String>, String> {
    if let Some(value) = var.value.as_deref().filter(|v| !v.is_empty()) {
        return Ok(Some(expand(value, |name| known.get(name))));
    }
    match &var.value_from {
        None => Ok(Some(String::new())),
        Some(source) => from_source(pod, container, source, objects, facts),
    }
}

fn from_source(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    objects: &Objects,
    facts: &Facts,
) -> Result<Option<String>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(selector) = &source.field_ref {
        return field(pod, selector, facts).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        return resource(pod, &container.name, selector, facts).map(Some);
    }
    if let Some(r) = &source.config_map_key_ref {
        let optional = r.optional == Some(true);
        let Some(map) = objects.config_maps.get(&r.name) else {
            return if optional {
                Ok(None)
            } else {
                Err(missing(namespace, "configmap", &r.name))
            };
        };
        return match map.data.as_ref().and_then(|d| d.get(&r.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(format!(
                "couldn't find key {} in ConfigMap {namespace}/{}",
                r.key, r.name
            )),
        };
    }
    if let Some(r) = &source.secret_key_ref {
        let optional = r.optional == Some(true);
        let Some(secret) = objects.secrets.get(&r.name) else {
            return if optional {
                Ok(None)
            } else {
                Err(missing(namespace, "secret", &r.name))
            };
        };
        return match secret.data.as_ref().and_then(|d| d.get(&r.key)) {
            Some(value) => Ok(Some(text(&value.0))),
            None if optional => Ok(None),
            None => Err(format!(
                "couldn't find key {} in Secret {namespace}/{}",
                r.key, r.name
            )),
        };
    }
    Ok(Some(String::new()))
}

/// What containers learn about Services: `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT` and the older link variables.
/// Without links only `default/kubernetes` counts.
pub fn service_variables(
    services: &[Arc<Service>],
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut done = HashSet::new();
    let is_master = |s: &Service| {
        s.metadata.namespace.as_deref() == Some("default")
            && s.metadata.name.as_deref() == Some("kubernetes")
    };
    let mine = services
        .iter()
        .filter(|s| links && s.metadata.namespace.as_deref() == Some(namespace));
    for service in mine.chain(services.iter().filter(|s| is_master(s))) {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        if done.insert(name) {
            variables_of(service, name, &mut out);
        }
    }
    out
}

fn variables_of(service: &Service, name: &str, out: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec
        .cluster_ip
        .as_deref()
        .filter(|ip| !ip.is_empty() && *ip != "None")
    else {
        return;
    };
    let ports = spec.ports.as_deref().unwrap_or(&[]);
    let Some(first) = ports.first() else { return };
    let upper = |s: &str| s.to_uppercase().replace('-', "_");
    let base = upper(name);
    let host = if ip.contains(':') {
        format!("[{ip}]")
    } else {
        ip.to_owned()
    };
    out.insert(format!("{base}_SERVICE_HOST"), ip.to_owned());
    out.insert(format!("{base}_SERVICE_PORT"), first.port.to_string());
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            out.insert(
                format!("{base}_SERVICE_PORT_{}", upper(port_name)),
                port.port.to_string(),
            );
        }
    }
    for (i, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let lower = protocol.to_lowercase();
        let url = format!("{lower}://{host}:{}", port.port);
        if i == 0 {
            out.insert(format!("{base}_PORT"), url.clone());
        }
        let prefix = format!("{base}_PORT_{}_{}", port.port, protocol.to_uppercase());
        out.insert(prefix.clone(), url);
        out.insert(format!("{prefix}_PROTO"), lower);
        out.insert(format!("{prefix}_PORT"), port.port.to_string());
        out.insert(format!("{prefix}_ADDR"), ip.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
        serde_json::from_value(json).expect("an object")
    }

    fn run(
        env: serde_json::Value,
        env_from: serde_json::Value,
    ) -> Result<Vec<(String, String)>, String> {
        let pod: Pod = from(
            serde_json::json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"enableServiceLinks": false,
            "containers": [{"name": "c", "env": env, "envFrom": env_from}]}}),
        );
        let map: ConfigMap =
            from(serde_json::json!({"metadata": {"name": "m"}, "data": {"k": "v", "l": "w"}}));
        let secret: Secret =
            from(serde_json::json!({"metadata": {"name": "s"}, "data": {"p": "c2VjcmV0"}}));
        let objects = Objects {
            config_maps: HashMap::from([("m".to_owned(), Arc::new(map))]),
            secrets: HashMap::from([("s".to_owned(), Arc::new(secret))]),
            services: Vec::new(),
        };
        let container = pod.spec.clone().unwrap_or_default().containers.remove(0);
        environment(&pod, &container, &objects, &Facts::default())
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn all_sources() {
        let env = serde_json::json!([
            {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(X_k)-$(none)"},
            {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
            {"name": "O", "valueFrom": {"secretKeyRef": {"name": "none", "key": "p", "optional": true}}}]);
        let got = run(
            env,
            serde_json::json!([{"prefix": "X_", "configMapRef": {"name": "m"}}]),
        );
        let want = [
            ("X_k", "v"),
            ("X_l", "w"),
            ("A", "1"),
            ("B", "1-v-$(none)"),
            ("N", "p"),
            ("K", "v"),
            ("S", "secret"),
        ];
        assert_eq!(got, Ok(pairs(&want)));
    }

    #[test]
    fn what_is_missing_is_named() {
        let key = |kind: &str, name: &str, key: &str| serde_json::json!([{"name": "A", "valueFrom": {kind: {"name": name, "key": key}}}]);
        let none = serde_json::json!([]);
        let cases = [
            (
                key("configMapKeyRef", "x", "k"),
                none.clone(),
                "configmap \"x\" not found",
            ),
            (
                key("secretKeyRef", "x", "k"),
                none.clone(),
                "secret \"x\" not found",
            ),
            (
                key("configMapKeyRef", "m", "z"),
                none.clone(),
                "couldn't find key z in ConfigMap ns/m",
            ),
            (
                key("secretKeyRef", "s", "z"),
                none.clone(),
                "couldn't find key z in Secret ns/s",
            ),
            (
                none,
                serde_json::json!([{"secretRef": {"name": "x"}}]),
                "secret \"x\" not found",
            ),
        ];
        for (env, env_from, want) in cases {
            assert_eq!(run(env, env_from), Err(want.to_owned()));
        }
    }

    #[test]
    fn services_are_told() {
        let service = |ns: &str, name: &str, ip: &str| {
            Arc::new(from::<Service>(
                serde_json::json!({"metadata": {"name": name, "namespace": ns},
                "spec": {"clusterIP": ip, "ports": [{"port": 80, "name": "my-web", "protocol": "TCP"}]}}),
            ))
        };
        let all = [
            service("ns", "redis-db", "10.1.1.1"),
            service("ns", "headless", "None"),
            service("other", "x", "10.1.1.2"),
            service("default", "kubernetes", "10.1.0.1"),
        ];
        let with = service_variables(&all, "ns", true);
        assert_eq!(with["REDIS_DB_SERVICE_HOST"], "10.1.1.1");
        assert_eq!(with["REDIS_DB_SERVICE_PORT_MY_WEB"], "80");
        assert_eq!(with["REDIS_DB_PORT_80_TCP"], "tcp://10.1.1.1:80");
        assert_eq!(with["KUBERNETES_SERVICE_HOST"], "10.1.0.1");
        assert_eq!(with.len(), 16);
        assert_eq!(service_variables(&all, "ns", false).len(), 8);
    }
}

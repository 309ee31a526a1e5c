//! Ingresses of `v1beta1`: a backend was `serviceName` and `servicePort`.

use knarr_json::{Map, Value, json};

/// Paths of old matched as the controller liked.
pub fn fill(object: &mut Value) {
    each_path(object, |path| {
        path.entry("pathType")
            .or_insert_with(|| "ImplementationSpecific".into());
    });
}

pub fn up(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        rename(spec, "backend", "defaultBackend", backend_up);
    }
    each_path(object, |path| {
        rename(path, "backend", "backend", backend_up)
    });
}

pub fn down(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        rename(spec, "defaultBackend", "backend", backend_down);
    }
    each_path(object, |path| {
        rename(path, "backend", "backend", backend_down)
    });
}

fn rename(map: &mut Map, from: &str, to: &str, change: fn(Value) -> Value) {
    if let Some(value) = map.remove(from) {
        map.insert(to.to_owned(), change(value));
    }
}

fn each_path(object: &mut Value, mut work: impl FnMut(&mut Map)) {
    let rules = object.get_mut("spec").and_then(|s| s.get_mut("rules"));
    for rule in rules.and_then(Value::as_array_mut).into_iter().flatten() {
        let paths = rule.get_mut("http").and_then(|h| h.get_mut("paths"));
        let paths = paths.and_then(Value::as_array_mut).into_iter().flatten();
        paths.filter_map(Value::as_object_mut).for_each(&mut work);
    }
}

fn backend_up(old: Value) -> Value {
    let Value::Object(mut old) = old else {
        return old;
    };
    let (name, port) = (old.remove("serviceName"), old.remove("servicePort"));
    if name.is_none() && port.is_none() {
        return Value::Object(old);
    }
    let mut service = Map::new();
    if let Some(name) = name {
        service.insert("name", name);
    }
    match port {
        Some(Value::String(port)) => match port.parse::<u16>() {
            Ok(number) => service.insert("port", json!({"number": number})),
            Err(_) => service.insert("port", json!({"name": port})),
        },
        Some(number @ Value::Number(_)) => service.insert("port", json!({"number": number})),
        _ => None,
    };
    old.insert("service", Value::Object(service));
    Value::Object(old)
}

fn backend_down(new: Value) -> Value {
    let Value::Object(mut new) = new else {
        return new;
    };
    if let Some(Value::Object(mut service)) = new.remove("service") {
        if let Some(name) = service.remove("name") {
            new.insert("serviceName", name);
        }
        let port = service.remove("port").unwrap_or_default();
        let port = [&port["number"], &port["name"]]
            .into_iter()
            .find(|p| !p.is_null());
        if let Some(port) = port {
            new.insert("servicePort", port.clone());
        }
    }
    Value::Object(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_go_both_ways() {
        let old = json!({"spec": {
            "backend": {"serviceName": "d", "servicePort": "http"},
            "rules": [{"host": "h", "http": {"paths": [{"path": "/", "backend": {"serviceName": "s", "servicePort": 80}}]}}],
        }});
        let mut object = old.clone();
        up(&mut object);
        assert_eq!(
            object["spec"]["defaultBackend"],
            json!({"service": {"name": "d", "port": {"name": "http"}}})
        );
        let backend = &object["spec"]["rules"][0]["http"]["paths"][0]["backend"];
        assert_eq!(
            *backend,
            json!({"service": {"name": "s", "port": {"number": 80}}})
        );
        down(&mut object);
        assert_eq!(object, old);
        fill(&mut object);
        assert_eq!(
            object["spec"]["rules"][0]["http"]["paths"][0]["pathType"],
            "ImplementationSpecific"
        );
    }
}

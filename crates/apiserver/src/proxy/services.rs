//! `services/NAME/proxy/…`: HTTP to one of a Service's endpoints.

use knarr_api::Status;
use knarr_json::Value;

use super::{
    Named,
    backend::{Backend, Protocol},
    forward,
};
use crate::{
    Outcome,
    body::{RequestBody, Response},
    chain::Call,
    rest::{Target, parse},
};

pub async fn answer(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let invalid = || {
        Box::new(Status::bad_request(format!(
            "invalid service request {:?}",
            target.name
        )))
    };
    let named = Named::parse(&target.name).ok_or_else(invalid)?;
    let (namespace, name) = (&target.namespace, named.name);
    let none = |why: String| Box::new(Status::failure(503, "ServiceUnavailable", why));
    let stored = |prefix: &str| {
        call.shared
            .store
            .get(&format!("{prefix}{namespace}/{name}"))
    };
    let missing = || Box::new(Status::not_found("", "services", name));
    let service = parse(
        &stored("/registry/services/specs/")
            .ok_or_else(missing)?
            .json,
    )?;
    let port = port_name(&service, named.port).ok_or_else(|| {
        none(format!(
            "no service port {:?} found for service {name:?}",
            named.port
        ))
    });
    let endpoints = parse(
        &stored("/registry/services/endpoints/")
            .ok_or_else(missing)?
            .json,
    )?;
    let unavailable = || none(format!("no endpoints available for service {name:?}"));
    if endpoints["subsets"].items().is_empty() {
        return Err(unavailable());
    }
    let protocol = if named.is_https() {
        Protocol::Https
    } else {
        Protocol::Http
    };
    let is_pods = |reference: &Value, ip: &str| {
        if reference["namespace"] != namespace.as_str() {
            return false;
        }
        let pod = reference["name"].as_str().unwrap_or_default();
        let pod = call
            .shared
            .store
            .get(&format!("/registry/pods/{namespace}/{pod}"));
        let pod = pod.and_then(|p| serde_json::from_slice::<Value>(&p.json).ok());
        pod.is_some_and(|pod| {
            let ips = pod["status"]["podIPs"].as_array();
            ips.into_iter().flatten().any(|one| one["ip"] == ip)
        })
    };
    let found = candidates(&endpoints, port?, &is_pods);
    let at = (!found.is_empty())
        .then(|| rand::random_range(0..found.len()))
        .ok_or_else(unavailable)?;
    let (host, port) = found[at].clone();
    forward::to(
        call,
        &Backend {
            host,
            port,
            protocol,
        },
        body,
    )
    .await
}

/// The name of the endpoints' port that a request means; the port of a Service may be told by name or number.
fn port_name<'a>(service: &'a Value, asked: &'a str) -> Option<&'a str> {
    let ports = service["spec"]["ports"].as_array()?;
    let name = |p: &'a Value| p["name"].as_str().unwrap_or_default();
    if asked.is_empty() {
        return if ports.len() == 1 {
            Some(name(&ports[0]))
        } else {
            Some("")
        };
    }
    let number = asked.parse::<u64>().ok();
    let found = ports
        .iter()
        .find(|p| name(p) == asked || (number.is_some() && p["port"].as_u64() == number));
    found.map(name)
}

/// Ready addresses with the port of that name. Only those of pods, as `is_pods` tells by an address's reference: whoever may
/// write Endpoints must not reach by this server what he could not reach himself.
fn candidates(
    endpoints: &Value,
    port: &str,
    is_pods: &dyn Fn(&Value, &str) -> bool,
) -> Vec<(String, u16)> {
    let mut out = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let ports = subset["ports"].as_array().into_iter().flatten();
        let number = ports
            .filter(|p| p["name"].as_str().unwrap_or_default() == port)
            .find_map(|p| p["port"].as_u64().and_then(|n| u16::try_from(n).ok()));
        let Some(number) = number else { continue };
        let addresses = subset["addresses"].as_array().into_iter().flatten();
        out.extend(
            addresses
                .filter_map(|a| Some((a["ip"].as_str()?, &a["targetRef"])))
                .filter(|(ip, reference)| is_pods(reference, ip))
                .map(|(ip, _)| (ip.to_owned(), number)),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn endpoints_are_found_by_port() {
        let service =
            json!({"spec": {"ports": [{"name": "web", "port": 80}, {"name": "ops", "port": 90}]}});
        assert_eq!(port_name(&service, "90"), Some("ops"));
        assert_eq!(port_name(&service, "web"), Some("web"));
        assert_eq!(port_name(&service, "nope"), None);
        let endpoints = json!({"subsets": [{"addresses": [{"ip": "10.0.0.1", "targetRef": {"name": "p"}}, {"ip": "10.0.0.3"}], "notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"name": "ops", "port": 9090}]}]});
        let of =
            |port: &str| candidates(&endpoints, port, &|reference, _| reference["name"] == "p");
        assert_eq!(of("ops"), [("10.0.0.1".to_owned(), 9090)]);
        assert!(of("web").is_empty());
    }
}

//! What a node tells of the users and devices of containers.

use knarr_json::Value;

use crate::{
    field::{Error, Errors},
    validation::{At, list, map, text},
};

/// Users that containers run as.
pub fn users(status: &At, spec: &Value, errs: &mut Errors) {
    for key in [
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ] {
        for c in status.items(key) {
            // the original leaves `user` out of these paths
            let linux = At {
                v: c.get("user").get("linux").v,
                path: c.path.child("linux"),
            };
            match text(&spec["os"], "name") {
                _ if linux.v.is_null() => {}
                "windows" => errs.push(linux.forbidden("cannot be set for a windows pod")),
                _ => linux_user(&linux, errs),
            }
        }
    }
}

fn linux_user(user: &At, errs: &mut Errors) {
    let ids = [user.get("uid"), user.get("gid")];
    for id in ids.into_iter().chain(user.items("supplementalGroups")) {
        let n = id.v.as_i64().unwrap_or(0);
        if !(0..=i64::from(i32::MAX)).contains(&n) {
            let words = "must be between 0 and 2147483647, inclusive";
            errs.push(Error::invalid(&id.path, n, words));
        }
    }
}

/// How devices of containers do.
pub fn devices(status: &At, spec: &Value, errs: &mut Errors) {
    for (key, containers) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
    ] {
        for c in status.items(key) {
            let container = list(&spec[containers])
                .iter()
                .find(|o| text(o, "name") == c.text("name"));
            for resource in c.items("allocatedResourcesStatus") {
                if let Some(container) = container {
                    asked_for(&resource.get("name"), &container["resources"], errs);
                }
                healths(&resource, errs);
            }
        }
    }
    for c in status.items("ephemeralContainerStatuses") {
        let all = c.get("allocatedResourcesStatus");
        if !list(all.v).is_empty() {
            errs.push(all.forbidden("must not be specified in container status"));
        }
    }
}

fn asked_for(name: &At, resources: &Value, errs: &mut Errors) {
    let (found, words) = if name.str().starts_with("claim:") {
        let found = list(&resources["claims"]).iter().any(|c| {
            let request = match text(c, "request") {
                "" => String::new(),
                r => format!("/{r}"),
            };
            name.str() == format!("claim:{}{request}", text(c, "name"))
        });
        let words = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";
        (found, words)
    } else {
        let found = map(resources, "requests").is_some_and(|m| m.contains_key(name.str()));
        (found, "must match one of the container's resource requests")
    };
    if !found {
        errs.push(Error::invalid(&name.path, name.str(), words));
    }
}

fn healths(resource: &At, errs: &mut Errors) {
    const HEALTHS: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];
    let mut seen: Vec<&str> = Vec::new();
    for device in resource.items("resources") {
        let (health, id) = (device.get("health"), device.get("resourceID"));
        if !HEALTHS.contains(&health.str()) {
            errs.push(Error::not_supported(&health.path, health.str(), &HEALTHS));
        }
        if seen.contains(&id.str()) {
            errs.push(Error::duplicate(&id.path, id.str()));
        }
        seen.push(id.str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn statuses_of_devices_and_users() {
        let spec =
            json!({"containers": [{"name": "c", "resources": {"requests": {"a.io/x": "1"}}}]});
        let v = json!({"containerStatuses": [{"name": "c", "user": {"linux": {"uid": -1, "gid": 0}},
            "allocatedResourcesStatus": [{"name": "a.io/y", "resources": [{"resourceID": "r", "health": "Fine"}, {"resourceID": "r", "health": "Healthy"}]}]}]});
        let status = At::new(&v, "s");
        let mut errs = Errors::new();
        users(&status, &spec, &mut errs);
        devices(&status, &spec, &mut errs);
        let all: Vec<String> = errs.iter().map(ToString::to_string).collect();
        assert_eq!(
            all,
            [
                "s.containerStatuses[0].linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                "s.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"a.io/y\": must match one of the container's resource requests",
                "s.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: \"Fine\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\"",
                "s.containerStatuses[0].allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: \"r\"",
            ]
        );
    }
}

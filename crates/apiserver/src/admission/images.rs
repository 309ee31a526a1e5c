//! AlwaysPullImages: nobody uses an image on a node because someone else pulled it there.

use knarr_json::Value;

pub fn always_pull(pod: &mut Value) {
    let spec = &mut pod["spec"];
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter(|c| c.is_object()) {
            container["imagePullPolicy"] = "Always".into();
        }
    }
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        if let Some(image) = volume.get_mut("image").filter(|i| i.is_object()) {
            image["pullPolicy"] = "Always".into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn every_image_is_pulled() {
        let mut pod = json!({"spec": {"containers": [{"imagePullPolicy": "Never"}], "initContainers": [{}], "volumes": [{"image": {"reference": "i"}}, {"emptyDir": {}}]}});
        always_pull(&mut pod);
        assert_eq!(
            pod,
            json!({"spec": {"containers": [{"imagePullPolicy": "Always"}], "initContainers": [{"imagePullPolicy": "Always"}], "volumes": [{"image": {"reference": "i", "pullPolicy": "Always"}}, {"emptyDir": {}}]}})
        );
    }
}

//! For whom a kubelet may have tokens of its pods: the audiences that their volumes name, and those that a role grants it.

use knarr_json::Value;

use super::super::Attributes;
use crate::authz;

const VERB: &str = "request-serviceaccounts-token-audience";

/// # Errors
/// Why a node gets no token of this pod's account for the audience that it asks for.
pub fn check(a: &Attributes<'_>, pod: &Value, request: &Value) -> Result<(), String> {
    let wanted = match request["spec"]["audiences"].items() {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return Err("node may only request 0 or 1 audiences".into()),
    };
    let of_driver = |driver: &str| audiences_of_driver(a, driver);
    let driver_of_claim = |claim: &str| driver_of_claim(a, claim);
    if named(pod, wanted, &of_driver, &driver_of_claim) || is_granted(a, wanted) {
        return Ok(());
    }
    Err(format!("audience {wanted:?} not found in pod spec volume"))
}

/// Whether a pod's volumes name an audience: tokens among files, and drivers that are given tokens. Pure.
fn named(
    pod: &Value,
    wanted: &str,
    of_driver: &dyn Fn(&str) -> Vec<String>,
    driver_of_claim: &dyn Fn(&str) -> Option<String>,
) -> bool {
    let volumes = pod["spec"]["volumes"].as_array();
    volumes.into_iter().flatten().any(|volume| {
        let sources = volume["projected"]["sources"].as_array();
        let tokens = sources
            .into_iter()
            .flatten()
            .map(|s| &s["serviceAccountToken"]);
        let mut tokens = tokens.filter(|t| t.is_object());
        if tokens.any(|t| t["audience"].as_str().unwrap_or_default() == wanted) {
            return true;
        }
        let driver = match volume["csi"]["driver"].as_str() {
            Some(driver) => Some(driver.to_owned()),
            None => claim(pod, volume).and_then(|claim| driver_of_claim(&claim)),
        };
        driver.is_some_and(|driver| of_driver(&driver).iter().any(|a| a == wanted))
    })
}

fn claim(pod: &Value, volume: &Value) -> Option<String> {
    if let Some(name) = volume["persistentVolumeClaim"]["claimName"].as_str() {
        return Some(name.to_owned());
    }
    let own = volume["ephemeral"].is_object();
    let (pod, volume) = (pod["metadata"]["name"].as_str()?, volume["name"].as_str()?);
    own.then(|| format!("{pod}-{volume}"))
}

fn stored(a: &Attributes<'_>, key: &str) -> Option<Value> {
    let stored = a.call.shared.store.get(key)?;
    serde_json::from_slice(&stored.json).ok()
}

fn audiences_of_driver(a: &Attributes<'_>, driver: &str) -> Vec<String> {
    let driver = stored(a, &format!("/registry/csidrivers/{driver}")).unwrap_or_default();
    let requests = driver["spec"]["tokenRequests"].as_array();
    let audiences = requests.into_iter().flatten().map(|r| &r["audience"]);
    audiences
        .map(|a| a.as_str().unwrap_or_default().to_owned())
        .collect()
}

fn driver_of_claim(a: &Attributes<'_>, claim: &str) -> Option<String> {
    let key = format!("/registry/persistentvolumeclaims/{}/{claim}", a.namespace());
    let claim = stored(a, &key)?;
    let volume = claim["spec"]["volumeName"].as_str()?.to_owned();
    let volume = stored(a, &format!("/registry/persistentvolumes/{volume}"))?;
    volume["spec"]["csi"]["driver"].as_str().map(str::to_owned)
}

fn is_granted(a: &Attributes<'_>, audience: &str) -> bool {
    let ask = authz::Attributes {
        user: a.call.user.clone(),
        verb: VERB.into(),
        version: "v1".into(),
        resource: audience.into(),
        namespace: a.namespace().into(),
        name: a.name().into(),
        is_resource: true,
        ..authz::Attributes::default()
    };
    a.call.shared.authorizer.decide_locally(&ask).allowed
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn volumes_name_audiences() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"volumes": [
            {"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"serviceAccountToken": {"audience": "vault"}}]}},
            {"name": "b", "csi": {"driver": "inline"}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "disk"}},
            {"name": "d", "ephemeral": {}}]}});
        let of_driver = |driver: &str| vec![format!("for-{driver}")];
        let driver_of_claim = |claim: &str| (claim != "lost").then(|| format!("of-{claim}"));
        for (wanted, want) in [
            ("", true),
            ("vault", true),
            ("for-inline", true),
            ("for-of-disk", true),
            ("for-of-p-d", true),
            ("other", false),
            ("for-other", false),
        ] {
            let got = named(&pod, wanted, &of_driver, &driver_of_claim);
            assert_eq!(got, want, "{wanted}");
        }
        let none = json!({"metadata": {"name": "p"}, "spec": {}});
        assert!(!named(&none, "", &of_driver, &driver_of_claim));
    }
}

//! The form of the configuration file, checked.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    resources: Vec<Rule>,
}

/// Resources, and how they are kept: the first provider writes, all read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default)]
    pub resources: Vec<String>,
    #[serde(default)]
    pub providers: Vec<Provider>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    pub aesgcm: Option<Keys>,
    pub aescbc: Option<Keys>,
    pub secretbox: Option<Keys>,
    pub identity: Option<Identity>,
    pub kms: Option<Kms>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    pub keys: Vec<Key>,
}

#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub name: String,
    secret: String,
}

// Keys are not for logs.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Key {
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        STANDARD
            .decode(self.secret.trim())
            .map_err(|_| format!("key {:?}: secret must be base64 encoded", self.name))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kms {
    #[serde(default)]
    pub api_version: String,
    pub name: String,
    pub endpoint: String,
    pub timeout: Option<String>,
    /// Only of version 1; taken and of no effect.
    #[serde(default)]
    pub cachesize: Option<i64>,
}

/// Reads an `EncryptionConfiguration`.
///
/// # Errors
/// The first thing that is wrong, with its path.
pub fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    if file.kind != "EncryptionConfiguration" || file.api_version != "apiserver.config.k8s.io/v1" {
        return Err(format!(
            "no kind {:?} is registered for version {:?}",
            file.kind, file.api_version
        ));
    }
    if file.resources.is_empty() {
        return Err("resources: Required value: at least one resource group is required".into());
    }
    for (n, rule) in file.resources.iter().enumerate() {
        check(rule).map_err(|why| format!("resources[{n}].{why}"))?;
    }
    Ok(file.resources)
}

fn check(rule: &Rule) -> Result<(), String> {
    if rule.resources.is_empty() {
        return Err("resources: Required value: resources must be specified".into());
    }
    if rule.providers.is_empty() {
        return Err("providers: Required value: at least one provider is required".into());
    }
    for (n, provider) in rule.providers.iter().enumerate() {
        let at = |why: String| format!("providers[{n}]: {why}");
        let set = [
            provider.aesgcm.is_some(),
            provider.aescbc.is_some(),
            provider.secretbox.is_some(),
            provider.identity.is_some(),
            provider.kms.is_some(),
        ];
        match set.iter().filter(|s| **s).count() {
            1 => {}
            0 => return Err(at("provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity".into())),
            _ => return Err(at("more than one provider specified in a single element, should split into different list elements".into())),
        }
        let lists = [&provider.aesgcm, &provider.aescbc, &provider.secretbox];
        for keys in lists.into_iter().flatten() {
            check_keys(keys).map_err(at)?;
        }
        if let Some(kms) = &provider.kms {
            check_kms(kms).map_err(at)?;
        }
    }
    Ok(())
}

fn check_keys(keys: &Keys) -> Result<(), String> {
    if keys.keys.is_empty() {
        return Err("keys: Required value: at least one key is required".into());
    }
    for (n, key) in keys.keys.iter().enumerate() {
        if key.name.is_empty() || key.name.contains(':') {
            return Err(format!("keys[{n}].name: Invalid value: {:?}", key.name));
        }
        if keys.keys[..n].iter().any(|k| k.name == key.name) {
            return Err(format!("keys[{n}].name: Duplicate value: {:?}", key.name));
        }
        key.bytes()?;
    }
    Ok(())
}

fn check_kms(kms: &Kms) -> Result<(), String> {
    if kms.api_version != "v2" {
        return Err(format!(
            "kms.apiVersion: Invalid value: {:?}: unsupported apiVersion, must be v2",
            kms.api_version
        ));
    }
    if kms.name.is_empty() || kms.name.contains(':') {
        return Err(format!(
            "kms.name: Invalid value: {:?}: invalid provider name, must not contain ':'",
            kms.name
        ));
    }
    if !kms.endpoint.starts_with("unix://") {
        return Err(format!(
            "kms.endpoint: Invalid value: {:?}: unsupported scheme for KMS provider, must be unix",
            kms.endpoint
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_checked() {
        let good = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - aescbc: {keys: [{name: k, secret: c2VjcmV0IGlzIHNlY3VyZQ==}]}\n  - identity: {}\n";
        let rules = parse(good).unwrap();
        assert_eq!(rules[0].providers[1].identity, Some(Identity {}));
        assert!(
            !format!("{rules:?}").contains("c2Vj"),
            "keys stay out of logs"
        );
        let table = [
            ("[secrets]", "[]", "resources must be"),
            (
                "identity: {}",
                "identity: {}\n    aesgcm: {keys: []}",
                "more than one",
            ),
            (
                "identity: {}",
                "kms: {apiVersion: v1, name: a, endpoint: 'unix:///x'}",
                "must be v2",
            ),
            (
                "identity: {}",
                "kms: {apiVersion: v2, name: a, endpoint: 'http://x'}",
                "must be unix",
            ),
            ("{name: k", "{name: 'a:b'", "name"),
            ("c2Vj", "~~~", "base64"),
            ("kind: E", "kind: X", "no kind"),
        ];
        for (from, to, want) in table {
            let error = parse(&good.replace(from, to)).unwrap_err();
            assert!(error.contains(want), "{error} lacks {want}");
        }
    }
}

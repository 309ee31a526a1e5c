//! ConfigMaps, Secrets and ServiceAccounts.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use knarr_json::{Text, Value};

use super::{
    Column, Context, Strategy,
    defaults::{ensure, set_text},
};
use crate::{
    decode::{Next, Scanner},
    field::{Error, Errors, Path},
    names, table,
    validation::{At, list, map, meta, text},
    x509,
};

/// Bytes that all values of a ConfigMap or Secret together may have.
const SIZE_LIMIT: usize = 1 << 20;
const IMMUTABLE: &str = "field is immutable when `immutable` is set";

/// `v1/ConfigMap`.
pub struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        check_config_map(object, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        frozen(object, old, &["data", "binaryData"], &mut errs);
        meta::create(object, true, meta::subdomain, &mut errs);
        check_config_map(object, &mut errs);
        errs
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain(name, prefix)
    }

    fn columns(&self) -> Vec<Column> {
        vec![table::name(), table::column("Data", DATA), table::age()]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let entries = ["data", "binaryData"]
            .iter()
            .map(|k| map(object, k).map_or(0, |m| m.len()))
            .sum::<usize>();
        vec![
            table::name_of(object),
            entries.to_string().into(),
            table::age_of(object, now),
        ]
    }
}

const DATA: &str = "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'. Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must not overlap with the keys in the BinaryData field, this is enforced during validation process.";

fn check_config_map(object: &Value, errs: &mut Errors) {
    let binary: BTreeSet<&Text> = map(object, "binaryData")
        .into_iter()
        .flat_map(|m| m.keys())
        .collect();
    let mut total = 0;
    for (key, value) in map(object, "data").into_iter().flatten() {
        let path = Path::new("data").key(key);
        data_key(key, &path, errs);
        if binary.contains(key) {
            errs.push(Error::invalid(
                &path,
                key.as_str(),
                "duplicate of key present in binaryData",
            ));
        }
        total += value.as_str().unwrap_or_default().len();
    }
    for (key, value) in map(object, "binaryData").into_iter().flatten() {
        data_key(key, &Path::new("binaryData").key(key), errs);
        total += decoded_len(value);
    }
    if total > SIZE_LIMIT {
        errs.push(Error::too_long(&Path::new("[]"), SIZE_LIMIT));
    }
}

fn data_key(key: &str, path: &Path, errs: &mut Errors) {
    for m in names::config_key(key) {
        errs.push(Error::invalid(path, key, m));
    }
}

fn decoded_len(value: &Value) -> usize {
    let s = value.as_str().unwrap_or_default();
    s.trim_end_matches('=').len() * 3 / 4
}

/// What an object marked immutable keeps.
fn frozen(object: &Value, old: &Value, fields: &[&str], errs: &mut Errors) {
    if old["immutable"] != true {
        return;
    }
    if object["immutable"] != true {
        errs.push(Error::forbidden(&Path::new("immutable"), IMMUTABLE));
    }
    for field in fields {
        if map(object, field).filter(|m| !m.is_empty()) != map(old, field).filter(|m| !m.is_empty())
        {
            errs.push(Error::forbidden(&Path::new(field), IMMUTABLE));
        }
    }
}

/// `v1/Secret`.
pub struct Secret;

impl Strategy for Secret {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        set_text(object, "type", "Opaque");
        let Some(Value::Object(plain)) =
            object.as_object_mut().and_then(|o| o.remove("stringData"))
        else {
            return;
        };
        let data = ensure(object, "data");
        for (key, value) in plain {
            data[key] = STANDARD.encode(value.as_str().unwrap_or_default()).into();
        }
        if data.as_object().is_some_and(|d| d.is_empty()) {
            super::common::clear(object, "data");
        }
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        check_secret(object, &mut errs);
        errs
    }

    fn prepare_update(&self, _ctx: &Context, object: &mut Value, old: &Value) {
        // a PUT that leaves the type out means the type that there is
        if text(object, "type").is_empty() {
            object["type"] = old["type"].clone();
        }
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        super::super::validation::immutable(&At::root(object, "type"), &old["type"], &mut errs);
        frozen(object, old, &["data"], &mut errs);
        meta::create(object, true, meta::subdomain, &mut errs);
        check_secret(object, &mut errs);
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, _old: Option<&Value>) -> Vec<String> {
        if text(object, "type") != "kubernetes.io/tls" {
            return Vec::new();
        }
        let part = |key: &str| {
            let bytes = STANDARD.decode(text(&object["data"], key));
            bytes.unwrap_or_default()
        };
        let fault = x509::pair::check(&part("tls.crt"), &part("tls.key"));
        fault.err().into_iter().collect()
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain(name, prefix)
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("type", text(object, "type").to_owned())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Type",
                "Used to facilitate programmatic handling of secret data. More info: https://kubernetes.io/docs/concepts/configuration/secret/#secret-types",
            ),
            table::column(
                "Data",
                "Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'. The serialized form of the secret data is a base64 encoded string, representing the arbitrary (possibly non-string) data value here. Described in https://tools.ietf.org/html/rfc4648#section-4",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let entries = map(object, "data").map_or(0, |m| m.len());
        vec![
            table::name_of(object),
            text(object, "type").into(),
            entries.to_string().into(),
            table::age_of(object, now),
        ]
    }
}

fn check_secret(object: &Value, errs: &mut Errors) {
    let path = Path::new("data");
    let mut total = 0;
    for (key, value) in map(object, "data").into_iter().flatten() {
        data_key(key, &path.key(key), errs);
        total += decoded_len(value);
    }
    if total > SIZE_LIMIT {
        errs.push(Error::too_long(&path, SIZE_LIMIT));
    }
    let has = |key: &str| map(object, "data").is_some_and(|m| m.contains_key(key));
    let mut require = |keys: &[&str]| {
        for key in keys.iter().filter(|k| !has(k)) {
            errs.push(Error::required(&path.key(key), ""));
        }
    };
    match text(object, "type") {
        "kubernetes.io/tls" => require(&["tls.crt", "tls.key"]),
        "kubernetes.io/ssh-auth" if text(&object["data"], "ssh-privatekey").is_empty() => {
            errs.push(Error::required(&path.key("ssh-privatekey"), ""));
        }
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            require(&["username", "password"])
        }
        "kubernetes.io/dockercfg" => docker(object, ".dockercfg", errs),
        "kubernetes.io/dockerconfigjson" => docker(object, ".dockerconfigjson", errs),
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            if text(&object["metadata"]["annotations"], ACCOUNT).is_empty() {
                errs.push(Error::required(
                    &Path::new("metadata").child("annotations").key(ACCOUNT),
                    "",
                ));
            }
        }
        _ => {}
    }
}

fn docker(object: &Value, key: &str, errs: &mut Errors) {
    let path = Path::new("data").key(key);
    let Some(value) = map(object, "data").and_then(|m| m.get(key)) else {
        errs.push(Error::required(&path, ""));
        return;
    };
    let bytes = STANDARD
        .decode(value.as_str().unwrap_or_default())
        .unwrap_or_default();
    if let Some(words) = not_an_object(&bytes) {
        errs.push(Error::invalid(&path, "<secret contents redacted>", words));
    }
}

/// What Go's decoder says of JSON that is no object.
fn not_an_object(bytes: &[u8]) -> Option<String> {
    let mut scan = Scanner::new(bytes);
    let read = scan.peek().and_then(|next| {
        scan.skip()?;
        scan.end()?;
        Ok(next)
    });
    match read {
        Ok(Next::Object | Next::Null) => None,
        Ok(next) => Some(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            next.word()
        )),
        Err(e) => Some(e.0),
    }
}

/// `v1/ServiceAccount`.
pub struct ServiceAccount;

const MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";

impl Strategy for ServiceAccount {
    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        meta::create(object, true, meta::subdomain, &mut errs);
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        let set = |o: &Value| text(&o["metadata"]["annotations"], MOUNTABLE).to_owned();
        if set(object).is_empty() || old.is_some_and(|o| set(o) == set(object)) {
            return Vec::new();
        }
        vec![format!(
            "metadata.annotations[{MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        )]
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain(name, prefix)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Secrets",
                "Secrets is a list of the secrets in the same namespace that pods running using this ServiceAccount are allowed to use. Pods are only limited to this list if this service account has a \"kubernetes.io/enforce-mountable-secrets\" annotation set to \"true\". The \"kubernetes.io/enforce-mountable-secrets\" annotation is deprecated since v1.32. Prefer separate namespaces to isolate access to mounted secrets. This field should not be used to find auto-generated service account token secrets for use outside of pods. Instead, tokens can be requested directly using the TokenRequest API, or service account token secrets can be manually created. More info: https://kubernetes.io/docs/concepts/configuration/secret",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let secrets = list(&object["secrets"]).len();
        vec![
            table::name_of(object),
            secrets.to_string().into(),
            table::age_of(object, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn wrong(strategy: &dyn Strategy, mut object: Value) -> Vec<String> {
        object["metadata"] = json!({"name": "x", "namespace": "n"});
        strategy.default(&Context::default(), &mut object);
        strategy
            .validate_create(&Context::default(), &object)
            .iter()
            .map(|e| format!("{} {}", e.kind.reason(), e.field))
            .collect()
    }

    #[test]
    fn data_of_config_maps() {
        assert!(wrong(&ConfigMap, json!({"data": {"a.b": "x"}})).is_empty());
        assert_eq!(
            wrong(
                &ConfigMap,
                json!({"data": {"both": "x"}, "binaryData": {"both": "eA=="}})
            ),
            ["FieldValueInvalid data[both]"]
        );
        assert_eq!(
            wrong(
                &ConfigMap,
                json!({"data": {"a": "x".repeat(SIZE_LIMIT + 1)}})
            ),
            ["FieldValueTooLong []"]
        );
    }

    #[test]
    fn types_of_secrets() {
        for (secret, want) in [
            (json!({"stringData": {"a": "b"}}), vec![]),
            (
                json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "eA=="}}),
                vec!["FieldValueRequired data[tls.key]"],
            ),
            (
                json!({"type": "kubernetes.io/basic-auth", "data": {"password": "eA=="}}),
                vec![],
            ),
            (
                json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{}"}}),
                vec![],
            ),
            (
                json!({"type": "kubernetes.io/dockercfg"}),
                vec!["FieldValueRequired data[.dockercfg]"],
            ),
        ] {
            assert_eq!(wrong(&Secret, secret.clone()), want, "{secret}");
        }
    }

    #[test]
    fn registries_credentials_are_json() {
        for (text, want) in [
            ("{}", None),
            ("null", None),
            (
                "{not json",
                Some("invalid character 'n' looking for beginning of object key string"),
            ),
            (
                "notjson",
                Some("invalid character 'o' in literal null (expecting 'u')"),
            ),
            ("", Some("unexpected end of JSON input")),
            (
                "[]",
                Some("json: cannot unmarshal array into Go value of type map[string]interface {}"),
            ),
        ] {
            assert_eq!(not_an_object(text.as_bytes()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn plain_text_becomes_data() {
        let mut secret = json!({"data": {"a": "b2xk"}, "stringData": {"a": "new"}});
        Secret.default(&Context::default(), &mut secret);
        assert_eq!(secret, json!({"data": {"a": "bmV3"}, "type": "Opaque"}));
    }

    #[test]
    fn immutable_means_immutable() {
        let meta = json!({"name": "c", "namespace": "n", "resourceVersion": "1"});
        let old = json!({"metadata": meta, "immutable": true, "data": {"a": "1"}});
        let new = json!({"metadata": meta, "data": {"a": "2"}});
        let fields: Vec<String> = ConfigMap
            .validate_update(&Context::default(), &new, &old)
            .into_iter()
            .map(|e| e.field)
            .collect();
        assert_eq!(fields, ["immutable", "data"]);
    }
}

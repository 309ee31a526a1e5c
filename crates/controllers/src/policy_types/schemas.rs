//! The types that a policy is about, from discovery and the OpenAPI documents.

use std::collections::{BTreeSet, HashMap};

use knarr_cel::Schema;
use knarr_json::{Map, Value, json};
use kube::Client;

use super::check::{Kind, Types};

/// No more kinds than this are looked at for a policy.
const MOST: usize = 10;
/// Group, version and kind.
type Gvk = (String, String, String);

/// The types of the kinds that the policy's rules name without wildcards, and of its parameters.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn of_policy(client: &Client, policy: &Value) -> Result<Types, kube::Error> {
    let mut source = Source {
        client,
        lists: HashMap::new(),
        documents: HashMap::new(),
    };
    let spec = &policy["spec"];
    let mut kinds = BTreeSet::new();
    for (group, version, resource) in named(spec) {
        if kinds.len() < MOST
            && let Some(kind) = source.kind_of(&group, &version, &resource).await?
        {
            kinds.insert((group, version, kind));
        }
    }
    let mut types = Types::default();
    for gvk in kinds {
        if let Some(schema) = source.schema(&gvk).await? {
            let (group, version, kind) = &gvk;
            types.kinds.push(Kind {
                shown: format!("{group}/{version}, Kind={kind}"),
                schema: Schema::new(&schema, false, kind),
            });
        }
    }
    if let (Some(api_version), Some(kind)) = (
        spec["paramKind"]["apiVersion"].as_str(),
        spec["paramKind"]["kind"].as_str(),
    ) {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let gvk = (group.to_owned(), version.to_owned(), kind.to_owned());
        let schema = source.schema(&gvk).await?;
        types.params = schema.map(|s| Schema::new(&s, false, kind));
    }
    Ok(types)
}

/// Groups, versions and resources of the rules; rules with wildcards for group or version say nothing.
fn named(spec: &Value) -> Vec<Gvk> {
    let mut out = Vec::new();
    for rule in spec["matchConstraints"]["resourceRules"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let texts = |name: &str| {
            let list = rule[name]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            let mut list: Vec<String> = list.map(str::to_owned).collect();
            list.sort();
            list
        };
        let (groups, versions) = (texts("apiGroups"), texts("apiVersions"));
        if groups.iter().chain(&versions).any(|t| t.contains('*')) {
            continue;
        }
        for group in &groups {
            for version in &versions {
                for resource in texts("resources")
                    .iter()
                    .filter(|r| !r.contains(['*', '/']))
                {
                    out.push((group.clone(), version.clone(), resource.clone()));
                }
            }
        }
    }
    out
}

/// What was read from the server.
struct Source<'c> {
    client: &'c Client,
    lists: HashMap<String, Value>,
    documents: HashMap<String, Value>,
}

fn path(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

async fn read(client: &Client, path: &str) -> Result<Value, kube::Error> {
    let request = http_get(path)?;
    match client.request::<Value>(request).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Value::Null),
        answer => answer,
    }
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>, kube::Error> {
    let request = http::Request::get(path).header("accept", "application/json");
    request.body(Vec::new()).map_err(kube::Error::HttpError)
}

impl Source<'_> {
    async fn kind_of(
        &mut self,
        group: &str,
        version: &str,
        resource: &str,
    ) -> Result<Option<String>, kube::Error> {
        let path = path(group, version);
        if !self.lists.contains_key(&path) {
            let list = read(self.client, &format!("/{path}")).await?;
            self.lists.insert(path.clone(), list);
        }
        let list = self.lists.get(&path).unwrap_or(&Value::Null);
        let resources = list["resources"].as_array().into_iter().flatten();
        let found = resources
            .filter(|r| r["name"] == resource)
            .find_map(|r| r["kind"].as_str());
        Ok(found.map(str::to_owned))
    }

    /// The schema of a kind with everything that it refers to in its place.
    async fn schema(&mut self, (group, version, kind): &Gvk) -> Result<Option<Value>, kube::Error> {
        let path = path(group, version);
        if !self.documents.contains_key(&path) {
            let document = read(self.client, &format!("/openapi/v3/{path}")).await?;
            self.documents.insert(path.clone(), document);
        }
        let document = self.documents.get(&path).unwrap_or(&Value::Null);
        let Some(schemas) = document["components"]["schemas"].as_object() else {
            return Ok(None);
        };
        let wanted = json!({"group": group, "version": version, "kind": kind});
        let is_it = |schema: &&Value| {
            let kinds = schema["x-kubernetes-group-version-kind"].as_array();
            kinds.is_some_and(|k| k.contains(&wanted))
        };
        Ok(schemas
            .values()
            .find(is_it)
            .map(|s| resolved(s, schemas, &mut Vec::new())))
    }
}

/// A schema with what it refers to in its place; types that contain themselves say nothing of what is in them the second
/// time.
fn resolved<'s>(schema: &'s Value, all: &'s Map, within: &mut Vec<&'s str>) -> Value {
    if schema["format"] == "int-or-string" {
        return json!({"x-kubernetes-int-or-string": true});
    }
    let reference = schema["$ref"]
        .as_str()
        .or_else(|| schema["allOf"][0]["$ref"].as_str());
    if let Some(name) = reference.and_then(|r| r.strip_prefix("#/components/schemas/")) {
        let target = all.get(name).filter(|_| !within.contains(&name));
        let Some(target) = target else {
            return json!({});
        };
        within.push(name);
        let found = resolved(target, all, within);
        within.pop();
        return found;
    }
    let mut out = schema.clone();
    for name in ["items", "additionalProperties"] {
        if schema[name].is_object() {
            out[name] = resolved(&schema[name], all, within);
        }
    }
    let mut properties = Map::new();
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        properties.insert(name.clone(), resolved(below, all, within));
    }
    if !properties.is_empty() {
        out["properties"] = Value::Object(properties);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_followed() {
        let all = json!({
            "A": {"type": "object", "properties": {"b": {"allOf": [{"$ref": "#/components/schemas/B"}], "default": {}}, "list": {"type": "array", "items": {"$ref": "#/components/schemas/B"}}}},
            "B": {"type": "object", "properties": {"port": {"format": "int-or-string"}, "again": {"$ref": "#/components/schemas/B"}}},
        });
        let all = all.as_object().unwrap();
        let port = json!({"x-kubernetes-int-or-string": true});
        let b = json!({"type": "object", "properties": {"port": port, "again": {}}});
        assert_eq!(
            resolved(&all["A"], all, &mut Vec::new()),
            json!({"type": "object", "properties": {"b": b, "list": {"type": "array", "items": b}}})
        );
    }

    #[test]
    fn rules_with_wildcards_name_nothing() {
        let spec = json!({"matchConstraints": {"resourceRules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "pods/status", "*"]},
            {"apiGroups": ["*"], "apiVersions": ["v1"], "resources": ["pods"]},
        ]}});
        assert_eq!(
            named(&spec),
            [("apps".to_owned(), "v1".to_owned(), "deployments".to_owned())]
        );
    }
}

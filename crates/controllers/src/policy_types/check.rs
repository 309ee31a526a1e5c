//! Expressions of a policy held against the types it is about. Pure.

use std::{collections::BTreeMap, sync::Arc};

use knarr_cel::{
    Env, Schema, Type,
    admission::{Scope, environment},
    compile,
};
use knarr_json::{Value, json};

/// A kind that a policy is about.
pub(super) struct Kind {
    /// As Go prints it: `apps/v1, Kind=Deployment`.
    pub shown: String,
    pub schema: Arc<Schema>,
}

/// What a policy is about, and the type of its parameters.
#[derive(Default)]
pub(super) struct Types {
    pub kinds: Vec<Kind>,
    pub params: Option<Arc<Schema>>,
}

/// What does not fit, as the status tells it.
pub(super) fn warnings(policy: &Value, types: &Types) -> Vec<Value> {
    let spec = &policy["spec"];
    let mut out = Vec::new();
    for (i, validation) in spec["validations"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        for part in ["expression", "messageExpression"] {
            let text = validation[part].as_str().filter(|t| !t.is_empty());
            let Some(text) = text else {
                continue;
            };
            let said: Vec<String> = types
                .kinds
                .iter()
                .filter_map(|k| said(spec, text, k, types))
                .collect();
            if !said.is_empty() {
                let field = format!("spec.validations[{i}].{part}");
                out.push(json!({"fieldRef": field, "warning": said.join("\n")}));
            }
        }
    }
    out
}

fn said(spec: &Value, text: &str, kind: &Kind, types: &Types) -> Option<String> {
    let scope = Scope {
        params: types.params.is_some(),
        authorizer: true,
        mutation: false,
    };
    let typed = |variables: &BTreeMap<String, Type>| -> Env {
        let mut env = environment(scope, variables)
            .with_schema("object", &kind.schema)
            .with_schema("oldObject", &kind.schema);
        if let Some(params) = &types.params {
            env = env.with_schema("params", params);
        }
        env
    };
    let mut variables = BTreeMap::new();
    for variable in spec["variables"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default();
        let text = variable["expression"].as_str().unwrap_or_default();
        let ty = compile(text, &typed(&variables)).map_or(Type::Dyn, |p| p.result_type().clone());
        variables.insert(name.to_owned(), ty);
    }
    let errors = compile(text, &typed(&variables)).err()?;
    Some(format!("{}: {errors}\n", kind.shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
        }});
        let kind = |shown: &str| Kind {
            shown: shown.to_owned(),
            schema: Schema::new(&schema, false, "Deployment1"),
        };
        let types = Types {
            kinds: vec![kind("apps/v1, Kind=Deployment")],
            params: None,
        };
        let policy = json!({"spec": {
            "variables": [{"name": "r", "expression": "object.spec.replicas"}],
            "validations": [
                {"expression": "variables.r > 1", "messageExpression": "string(object.spec.replicas)"},
                {"expression": "object.spec.replicas > '1'"},
                {"expression": "variables.r == object.spec.wrong", "messageExpression": "object.foo"},
            ],
        }});
        let told = |field: &str, text: &str| json!({"fieldRef": field, "warning": format!("apps/v1, Kind=Deployment: {text}\n")});
        assert_eq!(
            warnings(&policy, &types),
            [
                told(
                    "spec.validations[1].expression",
                    "ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^"
                ),
                told(
                    "spec.validations[2].expression",
                    "ERROR: <input>:1:27: undefined field 'wrong'\n | variables.r == object.spec.wrong\n | ..........................^"
                ),
                told(
                    "spec.validations[2].messageExpression",
                    "ERROR: <input>:1:7: undefined field 'foo'\n | object.foo\n | ......^"
                ),
            ]
        );
    }
}

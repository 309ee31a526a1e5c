//! Policies and bindings as they are stored, with their expressions compiled.

use std::{collections::BTreeMap, sync::Arc};

use knarr_cel::{
    Program, Type,
    admission::{self as env, Scope},
};
use knarr_json::Value;

use super::super::webhook::config::{Rule, Selector, selector};

/// An expression and its program, or why there is none.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub text: String,
    pub program: Result<Program, String>,
}

/// Which requests are meant.
#[derive(Debug)]
pub(crate) struct Match {
    pub rules: Vec<NamedRule>,
    pub excluded: Vec<NamedRule>,
    /// Whether a request for another version of the same resource counts.
    pub equivalent: bool,
    pub namespaces: Selector,
    pub objects: Selector,
}

/// A rule that may be about some objects only.
#[derive(Debug)]
pub(crate) struct NamedRule {
    pub rule: Rule,
    pub names: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Validation {
    pub expression: Compiled,
    pub message: String,
    pub message_expression: Option<Compiled>,
    pub reason: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Mutation {
    /// `patchType: JSONPatch`; an apply configuration otherwise.
    pub json_patch: bool,
    pub expression: Compiled,
}

/// A policy of either kind.
#[derive(Debug)]
pub(crate) struct Policy {
    pub name: String,
    /// `failurePolicy: Fail`
    pub fails: bool,
    pub matches: Match,
    /// `apiVersion` and `kind` of parameters.
    pub param_kind: Option<(String, String)>,
    pub conditions: Vec<Compiled>,
    pub variables: BTreeMap<String, Compiled>,
    pub validations: Vec<Validation>,
    /// By their keys.
    pub annotations: Vec<(String, Compiled)>,
    pub mutations: Vec<Mutation>,
    /// `reinvocationPolicy: IfNeeded`
    pub reinvoked: bool,
}

#[derive(Debug)]
pub(crate) struct ParamRef {
    pub name: String,
    pub namespace: String,
    pub selector: Option<Selector>,
    /// `parameterNotFoundAction: Deny`
    pub must_be_found: bool,
}

#[derive(Debug)]
pub(crate) struct Binding {
    pub name: String,
    pub policy: String,
    pub params: Option<ParamRef>,
    pub matches: Option<Match>,
    pub actions: Vec<String>,
}

/// A policy that is in force, with its bindings.
#[derive(Debug)]
pub(crate) struct Active {
    pub policy: Arc<Policy>,
    pub bindings: Vec<Arc<Binding>>,
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn items<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value[name].as_array().into_iter().flatten()
}

impl Match {
    fn of(value: &Value) -> Self {
        let rules = |name: &str| items(value, name).map(NamedRule::of).collect();
        Match {
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            equivalent: value["matchPolicy"] != "Exact",
            namespaces: selector(&value["namespaceSelector"]),
            objects: selector(&value["objectSelector"]),
        }
    }
}

impl NamedRule {
    fn of(value: &Value) -> Self {
        let names = items(value, "resourceNames").filter_map(Value::as_str);
        NamedRule {
            rule: Rule::of(value),
            names: names.map(str::to_owned).collect(),
        }
    }
}

/// Compiles `matchConditions`.
pub(crate) fn conditions(value: &Value, params: bool) -> Vec<Compiled> {
    let scope = Scope {
        params,
        authorizer: true,
        mutation: false,
    };
    let env = env::environment(scope, &BTreeMap::new());
    let compile = |condition: &Value| {
        let text = text(condition, "expression");
        Compiled {
            program: env::compiled(text.trim(), &env, &[Type::Bool]),
            text,
        }
    };
    items(value, "matchConditions").map(compile).collect()
}

impl Policy {
    /// Reads a policy of either kind.
    pub fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let mutating = object["kind"] == "MutatingAdmissionPolicy";
        let scope = Scope {
            params: spec["paramKind"].is_object(),
            authorizer: true,
            mutation: mutating,
        };
        let (variables, types) = variables(spec, scope);
        let compile = |text: &str, authorizer: bool, wanted: &[Type]| {
            let env = env::environment(
                Scope {
                    authorizer,
                    ..scope
                },
                &types,
            );
            Compiled {
                text: text.to_owned(),
                program: env::compiled(text, &env, wanted),
            }
        };
        let validation = |v: &Value| Validation {
            expression: compile(&text(v, "expression"), true, &[Type::Bool]),
            message: text(v, "message"),
            message_expression: v["messageExpression"]
                .as_str()
                .filter(|m| !m.is_empty())
                .map(|m| compile(m, false, &[Type::String])),
            reason: v["reason"].as_str().map(str::to_owned),
        };
        let mutation = |m: &Value| {
            let json_patch = m["patchType"] == "JSONPatch";
            let (part, wanted) = match json_patch {
                true => ("jsonPatch", env::json_patches()),
                false => ("applyConfiguration", env::apply_configuration()),
            };
            let expression = compile(&text(&m[part], "expression"), true, &[wanted]);
            Mutation {
                json_patch,
                expression,
            }
        };
        let annotation = |a: &Value| {
            let wanted = [Type::String, Type::Null];
            (
                text(a, "key"),
                compile(text(a, "valueExpression").trim(), true, &wanted),
            )
        };
        let kind = &spec["paramKind"];
        Policy {
            name: text(&object["metadata"], "name"),
            fails: spec["failurePolicy"] != "Ignore",
            matches: Match::of(&spec["matchConstraints"]),
            param_kind: kind
                .is_object()
                .then(|| (text(kind, "apiVersion"), text(kind, "kind"))),
            conditions: conditions(spec, scope.params),
            validations: items(spec, "validations").map(validation).collect(),
            annotations: items(spec, "auditAnnotations").map(annotation).collect(),
            mutations: items(spec, "mutations").map(mutation).collect(),
            variables,
            reinvoked: spec["reinvocationPolicy"] == "IfNeeded",
        }
    }
}

fn variables(spec: &Value, scope: Scope) -> (BTreeMap<String, Compiled>, BTreeMap<String, Type>) {
    let mut types = BTreeMap::new();
    let mut compiled = BTreeMap::new();
    for variable in items(spec, "variables") {
        let (name, text) = (text(variable, "name"), text(variable, "expression"));
        let env = env::environment(scope, &types);
        let program = env::compiled(&text, &env, &[]);
        let ty = program
            .as_ref()
            .map_or(Type::Dyn, |p| p.result_type().clone());
        types.insert(name.clone(), ty);
        compiled.insert(name, Compiled { text, program });
    }
    (compiled, types)
}

impl Binding {
    pub fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let params = &spec["paramRef"];
        let matches = &spec["matchResources"];
        Binding {
            name: text(&object["metadata"], "name"),
            policy: text(spec, "policyName"),
            params: params.is_object().then(|| ParamRef {
                name: text(params, "name"),
                namespace: text(params, "namespace"),
                selector: params["selector"]
                    .is_object()
                    .then(|| selector(&params["selector"])),
                must_be_found: params["parameterNotFoundAction"] != "Allow",
            }),
            matches: matches.is_object().then(|| Match::of(matches)),
            actions: items(spec, "validationActions")
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        }
    }
}

/// The policies that have bindings, in the order in which they come.
pub(crate) fn active<'a>(
    policies: impl Iterator<Item = &'a Arc<Policy>>,
    bindings: &[&Arc<Binding>],
) -> Vec<Active> {
    let with_bindings = policies.map(|policy| Active {
        policy: policy.clone(),
        bindings: {
            let own = bindings.iter().filter(|b| b.policy == policy.name);
            own.map(|b| Arc::clone(b)).collect()
        },
    });
    with_bindings.filter(|a| !a.bindings.is_empty()).collect()
}

//! Expressions of admission: what those of policies and webhooks may name, and of which types it is.

use std::collections::BTreeMap;

use crate::{CompileErrors, Env, Program, Type, compile};

/// Which of the variables there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// `params`
    pub params: bool,
    /// `authorizer`
    pub authorizer: bool,
    /// `Object{}` and `JSONPatch{}` can be made.
    pub mutation: bool,
}

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let fields = fields.iter().map(|(n, t)| ((*n).to_owned(), t.clone()));
    Type::object(format!("kubernetes.{name}"), fields.collect())
}

fn texts() -> Type {
    Type::map(Type::String, Type::String)
}

fn request() -> Type {
    let text = |name| (name, Type::String);
    let kind = object(
        "GroupVersionKind",
        &[text("group"), text("version"), text("kind")],
    );
    let resource = object(
        "GroupVersionResource",
        &[text("group"), text("version"), text("resource")],
    );
    let list = Type::list(Type::String);
    let user = object(
        "UserInfo",
        &[
            text("username"),
            text("uid"),
            ("groups", list.clone()),
            ("extra", Type::map(Type::String, list)),
        ],
    );
    object(
        "AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            text("subResource"),
            ("requestKind", kind),
            ("requestResource", resource),
            text("requestSubResource"),
            text("name"),
            text("namespace"),
            text("operation"),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

fn namespace() -> Type {
    let text = |name| (name, Type::String);
    let metadata = object(
        "NamespaceMetadata",
        &[
            text("name"),
            text("generateName"),
            text("namespace"),
            ("labels", texts()),
            ("annotations", texts()),
            text("UID"),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            text("resourceVersion"),
            ("finalizers", Type::list(Type::String)),
        ],
    );
    let spec = object("NamespaceSpec", &[("finalizers", Type::list(Type::String))]);
    let status = object("NamespaceStatus", &[text("phase")]);
    object(
        "Namespace",
        &[("metadata", metadata), ("status", status), ("spec", spec)],
    )
}

/// The environment of an expression, with the types of the variables before it.
pub fn environment(scope: Scope, variables: &BTreeMap<String, Type>) -> Env {
    let mut env = Env::new()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("request", request())
        .with("namespaceObject", namespace())
        .with(
            "variables",
            Type::object("kubernetes.variables", variables.clone()),
        );
    if scope.params {
        env = env.with("params", Type::Dyn);
    }
    if scope.authorizer {
        let check = Type::Opaque("kubernetes.authorization.ResourceCheck");
        env = env
            .with(
                "authorizer",
                Type::Opaque("kubernetes.authorization.Authorizer"),
            )
            .with("authorizer.requestResource", check);
    }
    if scope.mutation {
        env = env.with_mutation();
    }
    env
}

/// The types of variables that may refer to those before them; what does not compile may be of any type.
pub fn variable_types<'v>(
    scope: Scope,
    variables: impl IntoIterator<Item = (&'v str, &'v str)>,
) -> BTreeMap<String, Type> {
    let mut types = BTreeMap::new();
    for (name, text) in variables {
        let compiled = compile(text, &environment(scope, &types));
        let ty = compiled.map_or(Type::Dyn, |p| p.result_type().clone());
        types.insert(name.to_owned(), ty);
    }
    types
}

/// Compiles an expression that must give one of these types; any type if there are none.
///
/// # Errors
/// What is wrong with it, worded as the original words it.
pub fn compiled(text: &str, env: &Env, wanted: &[Type]) -> Result<Program, String> {
    let failed = |errors: CompileErrors| format!("compilation failed: {errors}");
    let program = compile(text, env).map_err(failed)?;
    let found = program.result_type();
    if wanted.is_empty() || wanted.contains(found) {
        return Ok(program);
    }
    Err(match wanted {
        [one] => format!("must evaluate to {one} but got {found}"),
        many => {
            let names: Vec<String> = many.iter().map(shown).collect();
            format!("must evaluate to one of [{}]", names.join(" "))
        }
    })
}

fn shown(ty: &Type) -> String {
    match ty {
        Type::Null => "null_type".to_owned(),
        other => other.to_string(),
    }
}

/// What a mutation's expressions give.
pub fn apply_configuration() -> Type {
    Type::object("Object", BTreeMap::new())
}

/// The same for `patchType: JSONPatch`.
pub fn json_patches() -> Type {
    Type::list(Type::object("JSONPatch", BTreeMap::new()))
}

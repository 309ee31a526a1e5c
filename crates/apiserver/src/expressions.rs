//! The compiler of CEL that strategies check expressions of policies, webhooks and devices with.

use knarr_api::strategy::expressions::{Compiler, Expression, Expressions, Use, Wrong};
use knarr_cel::{
    Type,
    admission::{self as cel, Scope},
};

/// The compiler of this server.
pub(crate) fn compiler() -> Expressions {
    Expressions(Some(&Cel))
}

struct Cel;

impl Compiler for Cel {
    fn check(&self, expression: &Expression<'_>) -> Result<(), Wrong> {
        if expression.used == Use::Device {
            return device(expression.text);
        }
        let mutation = matches!(expression.used, Use::ApplyConfiguration | Use::JsonPatch);
        let scope = Scope {
            params: expression.has_params,
            authorizer: !matches!(expression.used, Use::Message),
            mutation,
        };
        let variables = expression.variables.iter().copied();
        let types = cel::variable_types(
            Scope {
                authorizer: true,
                ..scope
            },
            variables,
        );
        let mut env = cel::environment(scope, &types);
        if expression.used == Use::MatchCondition {
            // Conditions are looked at before there are variables.
            env = env.without("variables");
        }
        let wanted = match expression.used {
            Use::Variable | Use::Device => Vec::new(),
            Use::MatchCondition | Use::Validation => vec![Type::Bool],
            Use::Message => vec![Type::String],
            Use::AuditAnnotation => vec![Type::String, Type::Null],
            Use::ApplyConfiguration => vec![cel::apply_configuration()],
            Use::JsonPatch => vec![cel::json_patches()],
        };
        cel::compiled(expression.text, &env, &wanted)
            .map(drop)
            .map_err(Wrong::Invalid)
    }
}

/// An expression that selects devices.
fn device(text: &str) -> Result<(), Wrong> {
    let env = knarr_cel::device::environment();
    let program = cel::compiled(text, &env, &[]).map_err(Wrong::Invalid)?;
    match program.result_type() {
        Type::Bool | Type::Dyn if program.cost().max > knarr_cel::device::LIMIT => Err(
            Wrong::Forbidden("too complex, exceeds cost limit".to_owned()),
        ),
        Type::Bool | Type::Dyn => Ok(()),
        other => Err(Wrong::Invalid(format!(
            "must evaluate to bool or the unknown type, not {other}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, used: Use) -> Result<(), String> {
        let expression = Expression {
            text,
            used,
            has_params: false,
            variables: &[
                ("n", "size(object.spec.items)"),
                ("doubled", "variables.n * 2"),
            ],
        };
        Cel.check(&expression).map_err(|wrong| match wrong {
            Wrong::Required(m) | Wrong::Invalid(m) | Wrong::Forbidden(m) | Wrong::Internal(m) => m,
        })
    }

    #[test]
    fn expressions_are_compiled_for_their_use() {
        for (text, used, wrong) in [
            ("object.a == 1", Use::Validation, ""),
            ("variables.doubled > 2", Use::Validation, ""),
            (
                "variables.m > 2",
                Use::Validation,
                "compilation failed: ERROR: <input>:1:10: undefined field 'm'\n | variables.m > 2\n | .........^",
            ),
            (
                "variables.doubled",
                Use::Validation,
                "must evaluate to bool but got int",
            ),
            (
                "object.a",
                Use::Validation,
                "must evaluate to bool but got dyn",
            ),
            (
                "params.a == 1",
                Use::MatchCondition,
                "compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params.a == 1\n | ^",
            ),
            (
                "authorizer.group('').resource('pods').check('get').allowed()",
                Use::MatchCondition,
                "",
            ),
            (
                "variables.n > 1",
                Use::MatchCondition,
                "compilation failed: ERROR: <input>:1:1: undeclared reference to 'variables' (in container '')\n | variables.n > 1\n | ^",
            ),
            (
                "authorizer.requestResource.check('get').allowed()",
                Use::Validation,
                "",
            ),
            (
                "request.userInfo.username + namespaceObject.metadata.name",
                Use::Message,
                "",
            ),
            (
                "1",
                Use::AuditAnnotation,
                "must evaluate to one of [string null_type]",
            ),
            ("null", Use::AuditAnnotation, ""),
            (
                "Object{spec: Object.spec{replicas: 1}}",
                Use::ApplyConfiguration,
                "",
            ),
            (
                "'text'",
                Use::ApplyConfiguration,
                "must evaluate to Object but got string",
            ),
            (
                "Object{spec: nothing}",
                Use::ApplyConfiguration,
                "compilation failed: ERROR: <input>:1:14: undeclared reference to 'nothing' (in container '')\n | Object{spec: nothing}\n | .............^",
            ),
            (
                "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c'), value: 1}]",
                Use::JsonPatch,
                "",
            ),
            (
                "[1, 2]",
                Use::JsonPatch,
                "must evaluate to list(JSONPatch) but got list(int)",
            ),
            ("device.attributes['x'].y", Use::Device, ""),
            (
                "device.capacity['x'].y.isGreaterThan(quantity('1'))",
                Use::Device,
                "",
            ),
            (
                "device.driver",
                Use::Device,
                "must evaluate to bool or the unknown type, not string",
            ),
        ] {
            assert_eq!(check(text, used).err().unwrap_or_default(), wrong, "{text}");
        }
    }
}

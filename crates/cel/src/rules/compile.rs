//! One rule, compiled.

use std::sync::Arc;

use super::{Rule, field_path};
use crate::{Env, Program, Schema, Type, compile};
use knarr_json::Value as Json;

/// A rule's programs, or why there are none.
#[derive(Debug)]
pub(super) struct Compiled {
    pub rule: Rule,
    /// None for an empty rule.
    pub program: Option<Result<Program, String>>,
    pub message: Option<Result<Program, String>>,
    pub uses_old_self: bool,
    /// Below the node's path: `.spec.low`.
    pub field_path: Option<String>,
}

impl Compiled {
    pub fn cost(&self) -> u64 {
        self.program
            .as_ref()
            .and_then(|p| p.as_ref().ok())
            .map_or(0, |p| p.cost().max)
    }

    pub fn message_cost(&self) -> u64 {
        self.message
            .as_ref()
            .and_then(|p| p.as_ref().ok())
            .map_or(0, |p| p.cost().max)
    }
}

/// Compiles a rule of a schema node; `declared` is what expressions see of the node.
pub(super) fn compiled(rule: Rule, node: &Json, declared: &Arc<Schema>) -> Compiled {
    let mut out = Compiled {
        program: None,
        message: None,
        uses_old_self: false,
        field_path: None,
        rule,
    };
    if out.rule.rule.trim().is_empty() {
        return out;
    }
    let env = Env::new().with_schema("self", declared);
    let env = match out.rule.is_optional() {
        true => env.with_optional("oldSelf", declared),
        false => env.with_schema("oldSelf", declared),
    };
    let program = match compile(&out.rule.rule, &env) {
        Err(errors) => Err(format!("compilation failed: {errors}")),
        Ok(program) if *program.result_type() != Type::Bool => {
            Err("cel expression must evaluate to a bool".to_owned())
        }
        Ok(program) => Ok(program),
    };
    if let Ok(program) = &program {
        out.uses_old_self = program.uses("oldSelf");
        out.message = message(&out.rule.message_expression, &env);
        if !out.rule.field_path.is_empty() {
            out.field_path = field_path::normalized(&out.rule.field_path, node);
        }
    }
    out.program = Some(program);
    out
}

fn message(expression: &str, env: &Env) -> Option<Result<Program, String>> {
    if expression.is_empty() {
        return None;
    }
    Some(match compile(expression, env) {
        Err(errors) => Err(format!("messageExpression compilation failed: {errors}")),
        Ok(program) if *program.result_type() != Type::String => {
            Err("messageExpression must evaluate to a string".to_owned())
        }
        Ok(program) => Ok(program),
    })
}

//! `matchConditions` of webhooks and policies.

use knarr_json::Value;

use crate::{
    field::{Error, Errors},
    names,
    strategy::{
        Context,
        expressions::{Expression, Use},
    },
    validation::{At, list},
};

/// A condition has a name of its own and an expression. With `known`, what stands there is not compiled again.
pub fn conditions(ctx: &Context, all: &At, has_params: bool, known: &Value, errs: &mut Errors) {
    if !known.is_null() && known == all.v {
        return;
    }
    let count = list(all.v).len();
    if count > 64 {
        errs.push(Error::too_many(&all.path, count, 64));
    }
    let mut seen: Vec<&str> = Vec::new();
    for condition in all.each() {
        let text = condition.get("expression");
        let trimmed = text.str().trim();
        if trimmed.is_empty() {
            errs.push(text.required(""));
        } else {
            let expression = Expression {
                text: trimmed,
                used: Use::MatchCondition,
                has_params,
                variables: &[],
            };
            errs.extend(ctx.expressions.check(&text, &expression));
        }
        let name = condition.get("name");
        if name.str().is_empty() {
            errs.push(name.required(""));
            continue;
        }
        name.push(names::qualified_name(name.str()), errs);
        if seen.contains(&name.str()) {
            errs.push(name.duplicate());
        }
        seen.push(name.str());
    }
}

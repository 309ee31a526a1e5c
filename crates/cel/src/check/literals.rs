//! Literals that can be seen to be wrong: durations, timestamps, regular expressions.

use crate::{
    ast::{Expr, Id, Kind, Literal},
    library::{regex, time},
};

pub(super) fn check(expr: &Expr, issues: &mut Vec<(Id, String)>) {
    if let Kind::Call {
        function,
        target,
        args,
    } = &expr.kind
    {
        let pattern = match (function.as_str(), target) {
            ("matches", Some(_)) => args.first(),
            ("matches", None) => args.get(1),
            ("duration" | "timestamp", None) => args.first(),
            _ => None,
        };
        if let Some(Expr {
            id,
            kind: Kind::Literal(Literal::String(text)),
        }) = pattern
        {
            let good = match function.as_str() {
                "matches" => regex::compile(text).is_ok(),
                "duration" => time::parse_duration(text).is_some(),
                _ => time::parse_timestamp(text).is_some(),
            };
            if !good {
                issues.push((*id, format!("invalid {function} argument")));
            }
        }
    }
    for child in expr.children() {
        check(child, issues);
    }
}

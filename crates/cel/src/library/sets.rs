//! Lists as sets.

use super::{Answer, Native, no_overload};
use crate::{
    EvalError,
    value::{List, Value},
};

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "sets.contains" => |args| two(args, |a, b| contains(a, b)),
        "sets.equivalent" => |args| two(args, |a, b| Ok(contains(a, b)? && contains(b, a)?)),
        "sets.intersects" => |args| two(args, intersects),
        _ => return None,
    })
}

fn two<'a>(
    args: &[Value<'a>],
    holds: fn(&List<'a>, &List<'a>) -> Result<bool, EvalError>,
) -> Answer<'a> {
    match args {
        [Value::List(a), Value::List(b)] => holds(a, b).map(Value::Bool),
        _ => no_overload(),
    }
}

fn has(list: &[Value<'_>], value: &Value<'_>) -> Result<bool, EvalError> {
    for element in list {
        if element.equals(value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn contains(list: &List<'_>, sublist: &List<'_>) -> Result<bool, EvalError> {
    let list = list.values()?;
    for value in sublist.values()? {
        if !has(&list, &value)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn intersects(a: &List<'_>, b: &List<'_>) -> Result<bool, EvalError> {
    let a = a.values()?;
    for value in b.values()? {
        if has(&a, &value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

//! Lists.

use std::cmp::Ordering;

use super::{Answer, Native, add, err, no_overload};
use crate::{
    EvalError,
    value::{List, Value},
};

/// The longest list that a range or flattening makes.
const LONGEST: usize = 1_000_000;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "isSorted" => is_sorted,
        "sum" => sum,
        "min" => |args| extreme(args, Ordering::Less, "min"),
        "max" => |args| extreme(args, Ordering::Greater, "max"),
        "slice" => slice,
        "flatten" => |args| match args {
            [Value::List(list)] => flatten(list, 1),
            [Value::List(_), Value::Int(depth)] if *depth < 0 => err("level must be non-negative"),
            [Value::List(list), Value::Int(depth)] => flatten(list, (*depth).min(64) as u32),
            _ => no_overload(),
        },
        "lists.range" => range,
        "distinct" => distinct,
        "reverse" => |args| match args {
            [Value::List(list)] => {
                let mut values = list.values()?;
                values.reverse();
                Ok(Value::list(values))
            }
            _ => no_overload(),
        },
        "sort" => |args| match args {
            [Value::List(list)] => sorted(list.values()?, list.values()?),
            _ => no_overload(),
        },
        "@sortByAssociatedKeys" => |args| match args {
            [Value::List(list), Value::List(keys)] => sorted(list.values()?, keys.values()?),
            _ => no_overload(),
        },
        _ => return None,
    })
}

/// Where a value is in a list, -1 where it is not.
pub(super) fn position<'a>(list: &List<'a>, value: &Value<'a>, last: bool) -> Answer<'a> {
    let mut found = -1;
    for (i, element) in list.values()?.iter().enumerate() {
        if element.equals(value)? {
            found = i as i64;
            if !last {
                break;
            }
        }
    }
    Ok(Value::Int(found))
}

fn is_sorted<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let [Value::List(list)] = args else {
        return no_overload();
    };
    for pair in list.values()?.windows(2) {
        match pair[0].order(&pair[1]) {
            Some(Ordering::Greater) => return Ok(Value::Bool(false)),
            Some(_) => {}
            None => return no_overload(),
        }
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let [Value::List(list)] = args else {
        return no_overload();
    };
    let mut values = list.values()?.into_iter();
    let Some(mut total) = values.next() else {
        return Ok(Value::Int(0));
    };
    for value in values {
        total = add(total, &value)?;
    }
    Ok(total)
}

fn extreme<'a>(args: &[Value<'a>], wanted: Ordering, name: &str) -> Answer<'a> {
    let [Value::List(list)] = args else {
        return no_overload();
    };
    let mut values = list.values()?.into_iter();
    let Some(mut best) = values.next() else {
        return err(format!("{name} called on empty list"));
    };
    for value in values {
        match value.order(&best) {
            Some(order) if order == wanted => best = value,
            Some(_) => {}
            None => return no_overload(),
        }
    }
    Ok(best)
}

fn slice<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let [Value::List(list), Value::Int(start), Value::Int(end)] = args else {
        return no_overload();
    };
    if *start < 0 || *end < 0 {
        return err(format!(
            "cannot slice({start}, {end}), negative indexes not supported"
        ));
    }
    if start > end {
        return err(format!(
            "cannot slice({start}, {end}), start index must be less than or equal to end index"
        ));
    }
    let length = list.len() as i64;
    if length < *end {
        return err(format!(
            "cannot slice({start}, {end}), list is length {length}"
        ));
    }
    let values = list.values()?;
    Ok(Value::list(values[*start as usize..*end as usize].to_vec()))
}

fn flatten<'a>(list: &List<'a>, depth: u32) -> Answer<'a> {
    let mut out = Vec::new();
    flatten_into(list, depth, &mut out)?;
    Ok(Value::list(out))
}

fn flatten_into<'a>(
    list: &List<'a>,
    depth: u32,
    out: &mut Vec<Value<'a>>,
) -> Result<(), EvalError> {
    for value in list.values()? {
        match value {
            Value::List(inner) if depth > 0 => flatten_into(&inner, depth - 1, out)?,
            other => out.push(other),
        }
        if out.len() > LONGEST {
            return Err(EvalError::CostLimit);
        }
    }
    Ok(())
}

fn range<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let [Value::Int(end)] = args else {
        return no_overload();
    };
    if *end > LONGEST as i64 {
        return Err(EvalError::CostLimit);
    }
    Ok(Value::list((0..*end).map(Value::Int).collect()))
}

fn distinct<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let [Value::List(list)] = args else {
        return no_overload();
    };
    let mut out: Vec<Value<'a>> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for value in list.values()? {
        // Simple values are told apart quickly.
        let new = match crate::value::Key::of(&value) {
            Some(key) => {
                seen.insert(key.to_string() + if value.as_str().is_some() { "s" } else { "n" })
            }
            None => {
                let mut new = true;
                for other in &out {
                    new &= !other.equals(&value)?;
                }
                new
            }
        };
        if new {
            out.push(value);
        }
    }
    Ok(Value::list(out))
}

fn sorted<'a>(values: Vec<Value<'a>>, keys: Vec<Value<'a>>) -> Answer<'a> {
    if values.len() != keys.len() {
        return err(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            values.len(),
            keys.len()
        ));
    }
    if let Some(first) = keys.first()
        && keys.iter().any(|k| k.order(first).is_none())
    {
        return err("list elements must be comparable");
    }
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.into_iter().zip(values).collect();
    pairs.sort_by(|(a, _), (b, _)| a.order(b).unwrap_or(Ordering::Equal));
    Ok(Value::list(pairs.into_iter().map(|(_, v)| v).collect()))
}

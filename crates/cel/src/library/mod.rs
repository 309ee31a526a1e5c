//! What functions do: one file per library.

mod authz;
mod convert;
pub(crate) mod format;
pub(crate) mod ip;
mod lists;
mod operators;
pub(crate) mod quantity;
pub(crate) mod regex;
pub(crate) mod semver;
mod sets;
mod string_format;
mod strings;
pub(crate) mod time;
pub(crate) mod url;

pub(crate) use operators::{add, runtime_name};

use crate::{EvalError, Value};

/// What a function gives back.
pub(crate) type Answer<'a> = Result<Value<'a>, EvalError>;

/// A function's code: it gets its arguments, the value it is called on first.
pub(crate) type Native = for<'a, 'b> fn(&'b [Value<'a>]) -> Answer<'a>;

/// The code of a function.
pub(crate) fn native(name: &str) -> Option<Native> {
    operators::native(name)
        .or_else(|| convert::native(name))
        .or_else(|| time::native(name))
        .or_else(|| strings::native(name))
        .or_else(|| lists::native(name))
        .or_else(|| sets::native(name))
        .or_else(|| regex::native(name))
        .or_else(|| url::native(name))
        .or_else(|| quantity::native(name))
        .or_else(|| semver::native(name))
        .or_else(|| ip::native(name))
        .or_else(|| format::native(name))
        .or_else(|| authz::native(name))
}

/// The arguments do not fit any overload.
pub(crate) fn no_overload<'a>() -> Answer<'a> {
    Err(EvalError::NoSuchOverload)
}

pub(crate) fn err<'a>(text: impl Into<String>) -> Answer<'a> {
    Err(EvalError::other(text))
}

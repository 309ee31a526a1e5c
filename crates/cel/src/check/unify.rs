//! Which types fit which, and what parameters stand for.

use std::collections::HashMap;

use crate::types::{Param, Type};

/// What is known of the parameters so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Mapping(HashMap<Param, Type>);

impl Mapping {
    /// Whether a value of `given` may stand where `wanted` is asked for; learns what parameters stand for, but only if it may.
    pub fn fits(&mut self, wanted: &Type, given: &Type) -> bool {
        self.all_fit(&[(wanted, given)])
    }

    /// The same for several at once.
    pub fn all_fit(&mut self, pairs: &[(&Type, &Type)]) -> bool {
        let mut tried = self.clone();
        let fits = pairs
            .iter()
            .all(|(wanted, given)| tried.assign(wanted, given));
        if fits {
            *self = tried;
        }
        fits
    }

    fn assign(&mut self, t1: &Type, t2: &Type) -> bool {
        if let Type::Param(param) = t2 {
            let (valid, known) = self.stands_for(t1, *param);
            if valid || known {
                return valid;
            }
        }
        if let Type::Param(param) = t1 {
            return self.stands_for(t2, *param).0;
        }
        match (t1, t2) {
            _ if t1.is_dyn_or_error() || t2.is_dyn_or_error() => true,
            (Type::Null, other) | (other, Type::Null) => {
                matches!(
                    other,
                    Type::Null
                        | Type::Object(_)
                        | Type::Opaque(_)
                        | Type::Timestamp
                        | Type::Duration
                )
            }
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
                self.assign(a, b)
            }
            (Type::Map(k1, v1), Type::Map(k2, v2)) => self.assign(k1, k2) && self.assign(v1, v2),
            (Type::Of(_), Type::Of(_)) => true,
            // What a mutating policy makes may hold any of its parts.
            (Type::Object(a), Type::Object(b)) => a == b,
            _ => t1 == t2,
        }
    }

    /// Whether `param` may stand for `ty`, and whether it stood for something before.
    fn stands_for(&mut self, ty: &Type, param: Param) -> (bool, bool) {
        if *ty == Type::Param(param) {
            return (true, true);
        }
        if let Some(known) = self.0.get(&param).cloned() {
            if *ty == known {
                return (true, true);
            }
            if !self.assign(ty, &known) {
                return (false, true);
            }
            let general = most_general(ty, &known).clone();
            if !self.mentions(&general, param) {
                self.0.insert(param, general);
            }
            return (true, true);
        }
        if self.mentions(ty, param) {
            return (false, false);
        }
        self.0.insert(param, ty.clone());
        (true, false)
    }

    fn mentions(&self, ty: &Type, param: Param) -> bool {
        match ty {
            Type::Param(p) if *p == param => true,
            Type::Param(p) => self.0.get(p).is_some_and(|t| self.mentions(t, param)),
            Type::List(t) | Type::Optional(t) | Type::Of(t) => self.mentions(t, param),
            Type::Map(k, v) => self.mentions(k, param) || self.mentions(v, param),
            _ => false,
        }
    }

    /// The type with what its parameters stand for; `finally` those that stand for nothing are dynamic.
    pub fn resolve(&self, ty: &Type, finally: bool) -> Type {
        match ty {
            Type::Param(param) => match self.0.get(param) {
                Some(known) => self.resolve(known, finally),
                None if finally => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(t) => Type::list(self.resolve(t, finally)),
            Type::Optional(t) => Type::optional(self.resolve(t, finally)),
            Type::Of(t) => Type::Of(self.resolve(t, finally).into()),
            Type::Map(k, v) => Type::map(self.resolve(k, finally), self.resolve(v, finally)),
            _ => ty.clone(),
        }
    }
}

/// The more general of two types that fit.
pub(super) fn most_general<'t>(a: &'t Type, b: &'t Type) -> &'t Type {
    if is_as_general(a, b) { a } else { b }
}

fn is_as_general(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
            is_as_general(a, b)
        }
        (Type::Map(k1, v1), Type::Map(k2, v2)) => is_as_general(k1, k2) && is_as_general(v1, v2),
        (Type::Of(_), Type::Of(_)) => true,
        _ => a == b,
    }
}

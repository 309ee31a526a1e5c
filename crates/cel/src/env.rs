//! What an expression may name.

use std::{collections::BTreeMap, sync::Arc};

use crate::{ObjectType, Schema, Type};

/// The variables and types that expressions of one place can use. The functions are always those of v1.36.
#[derive(Debug, Clone, Default)]
pub struct Env {
    variables: BTreeMap<String, Variable>,
    objects: BTreeMap<String, Arc<ObjectType>>,
    /// `Object{}` and `JSONPatch{}` can be made.
    mutation: bool,
}

#[derive(Debug, Clone)]
struct Variable {
    ty: Type,
    schema: Option<Arc<Schema>>,
}

impl Env {
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a variable of a type. Its size is unknown to cost estimates.
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.variables
            .insert(name.to_owned(), Variable { ty, schema: None });
        self
    }

    /// Declares a variable described by a schema (`self`); nothing happens if expressions cannot see it.
    pub fn with_schema(mut self, name: &str, schema: &Arc<Schema>) -> Self {
        if let Some(ty) = schema.ty() {
            let ty = ty.clone();
            let schema = Some(schema.clone());
            self.variables
                .insert(name.to_owned(), Variable { ty, schema });
        }
        self
    }

    /// Declares a variable that holds such a value or none (`oldSelf` of rules with `optionalOldSelf`).
    pub fn with_optional(mut self, name: &str, schema: &Arc<Schema>) -> Self {
        if let Some(ty) = schema.ty() {
            let ty = Type::optional(ty.clone());
            let schema = Some(schema.clone());
            self.variables
                .insert(name.to_owned(), Variable { ty, schema });
        }
        self
    }

    /// Takes a variable back.
    pub fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// Lets expressions make `Object{}`, `Object.spec{}` and `JSONPatch{}`.
    pub fn with_mutation(mut self) -> Self {
        self.mutation = true;
        let fields = [
            ("op", Type::String),
            ("path", Type::String),
            ("from", Type::String),
            ("value", Type::Dyn),
        ];
        let fields = fields.map(|(n, t)| (n.to_owned(), t)).into();
        let patch = Arc::new(ObjectType::new("JSONPatch", fields));
        self.objects.insert("JSONPatch".to_owned(), patch);
        self
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Type> {
        self.variables.get(name).map(|v| &v.ty)
    }

    pub(crate) fn schema(&self, name: &str) -> Option<&Arc<Schema>> {
        self.variables.get(name)?.schema.as_ref()
    }

    /// The type that `name{...}` makes.
    pub(crate) fn object(&self, name: &str) -> Option<Arc<ObjectType>> {
        if let Some(object) = self.objects.get(name) {
            return Some(object.clone());
        }
        let open = self.mutation && (name == "Object" || name.starts_with("Object."));
        open.then(|| Arc::new(ObjectType::open(name)))
    }
}

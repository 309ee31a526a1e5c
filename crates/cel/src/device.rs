//! What expressions that select devices see: `device`, with the sizes that the API allows its parts.

use std::sync::Arc;

use crate::{
    Env, Type,
    schema::{Field, Kind, Schema},
};

/// What one expression may cost.
pub const LIMIT: u64 = 1_000_000;

/// Most bytes of a driver's name or an attribute's domain.
const DOMAIN: u64 = 63;
/// Most bytes of an attribute's name.
const ID: u64 = 32;
/// Most bytes of an attribute's value.
const VALUE: i64 = 64;
/// Most attributes and capacities of a device.
const ENTRIES: i64 = 32;

/// The environment of an expression in a selector.
pub fn environment() -> Env {
    let any = sized(Kind::Unknown, Type::Dyn, VALUE, 0);
    let quantity = sized(Kind::Unknown, Type::Opaque("kubernetes.Quantity"), 0, 0);
    let fields = [
        (
            "driver",
            sized(Kind::String, Type::String, DOMAIN as i64, 0),
        ),
        ("attributes", by_domain(any)),
        ("capacity", by_domain(quantity)),
        (
            "allowMultipleAllocations",
            sized(Kind::Bool, Type::Bool, 1, 0),
        ),
    ];
    let types = fields.iter().filter_map(|(name, field)| {
        let ty = field.ty()?.clone();
        Some(((*name).to_owned(), ty))
    });
    let ty = Type::object("kubernetes.DRADevice", types.collect());
    let fields = fields.map(|(name, schema)| {
        let escaped = Some(name.to_owned());
        (name.to_owned(), Field { escaped, schema })
    });
    Env::new().with_schema("device", &sized(Kind::Object(fields.into()), ty, 0, 0))
}

/// A map by domain of maps by name.
fn by_domain(value: Arc<Schema>) -> Arc<Schema> {
    map(map(value, ID), DOMAIN)
}

fn map(value: Arc<Schema>, max_key: u64) -> Arc<Schema> {
    let ty = Type::map(Type::String, value.ty().cloned().unwrap_or(Type::Dyn));
    sized(Kind::Map(value), ty, ENTRIES, max_key)
}

fn sized(kind: Kind, ty: Type, max_elements: i64, max_key: u64) -> Arc<Schema> {
    Arc::new(Schema::declared(kind, ty, max_elements, max_key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile;

    #[test]
    fn what_selectors_cost_follows_from_the_sizes_of_devices() {
        let ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
        let nested = |depth: usize| {
            let mut text = "true".to_owned();
            for level in 0..depth {
                text = format!("{ten}.all(x{level}, {text})");
            }
            text
        };
        let per_attribute =
            "device.attributes.all(d, device.attributes[d].all(a, device.attributes[d][a] == d))";
        for (text, too_much) in [
            ("device.driver == 'a.test'", false),
            ("device.attributes['a.test'].model.startsWith('x')", false),
            (
                "device.capacity['a.test'].memory.isGreaterThan(quantity('1Gi'))",
                false,
            ),
            (per_attribute, false),
            (&format!("device.attributes.all(e, {per_attribute})"), false),
            (
                &format!("device.attributes.all(f, device.attributes.all(e, {per_attribute}))"),
                true,
            ),
            (&nested(4), false),
            (&nested(6), true),
        ] {
            let cost = compile(text, &environment()).unwrap().cost().max;
            assert_eq!(cost > LIMIT, too_much, "{text} costs {cost}");
        }
    }
}

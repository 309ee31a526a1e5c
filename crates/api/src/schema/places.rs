//! Where the fields of a struct are, by name: objects are walked by names, and a search for each costs more than all else.

use std::sync::OnceLock;

use knarr_json::Text;

use super::types::{Field, Presence};

/// An index of a struct's fields, made when it is first used.
#[derive(Debug, Default)]
pub struct Places(OnceLock<Index>);

/// The fields of a copy may be changed before it is used.
impl Clone for Places {
    fn clone(&self) -> Self {
        Places::default()
    }
}

/// What an index says follows from the fields.
impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Index {
    /// Positions of fields where the hashes of their names lead, or behind that; at least half of it is [`FREE`].
    table: Box<[u16]>,
    /// What field ownership calls each field: `f:name`.
    elements: Box<[Text]>,
    /// Positions of the fields that are emitted when they are absent.
    filled: Box<[u16]>,
}

const FREE: u16 = u16::MAX;
/// Up to so many fields are looked at one by one.
const FEW: usize = 3;

impl Places {
    fn index(&self, fields: &[Field]) -> &Index {
        self.0.get_or_init(|| Index::new(fields))
    }

    /// The position of the field with this name.
    pub(super) fn find(&self, fields: &[Field], name: &str) -> Option<usize> {
        if fields.len() <= FEW {
            return fields.iter().position(|field| *field.name == *name);
        }
        let table = &self.index(fields).table;
        let mask = table.len() - 1;
        let mut at = hash(name) & mask;
        while table[at] != FREE {
            let place = usize::from(table[at]);
            if *fields[place].name == *name {
                return Some(place);
            }
            at = (at + 1) & mask;
        }
        None
    }

    pub(super) fn element(&self, fields: &[Field], place: usize) -> Text {
        self.index(fields).elements[place].clone()
    }

    pub(super) fn filled(&self, fields: &[Field]) -> &[u16] {
        &self.index(fields).filled
    }
}

impl Index {
    fn new(fields: &[Field]) -> Self {
        let mut table = vec![FREE; (fields.len() * 2).next_power_of_two().max(2)];
        let mask = table.len() - 1;
        // A struct with more fields than places has them found one by one, which no struct comes near.
        let known = fields.len().min(usize::from(FREE));
        for (place, field) in fields.iter().enumerate().take(known) {
            let mut at = hash(&field.name) & mask;
            while table[at] != FREE {
                at = (at + 1) & mask;
            }
            table[at] = place as u16;
        }
        let element = |field: &Field| {
            let mut text = Text::const_new("f:");
            text.push_str(&field.name);
            text
        };
        let filled = fields
            .iter()
            .enumerate()
            .filter(|(_, field)| matches!(field.presence, Presence::Always | Presence::Nullable));
        Index {
            table: table.into(),
            elements: fields.iter().map(element).collect(),
            filled: filled.map(|(place, _)| place as u16).collect(),
        }
    }
}

/// Of the length, the first eight and the last eight bytes: enough to tell names of fields apart.
fn hash(name: &str) -> usize {
    let bytes = name.as_bytes();
    let (first, last) = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => {
            let all = bytes
                .iter()
                .fold(0, |all, byte| all << 8 | u64::from(*byte));
            (all, 0)
        }
    };
    let mixed =
        (first ^ last.rotate_left(23) ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize
}

#[cfg(test)]
mod tests {
    use crate::Schemas;

    #[test]
    fn every_field_is_found_and_nothing_else() {
        for kind in ["Pod", "Service", "ConfigMap", "Namespace"] {
            let schema = Schemas::default().by_kind("", "v1", kind).unwrap();
            for ty in schema
                .fields
                .iter()
                .filter_map(|f| f.ty.as_struct())
                .chain([&*schema])
            {
                for (place, field) in ty.fields.iter().enumerate() {
                    assert_eq!(ty.place(&field.name), Some(place));
                    assert_eq!(ty.element(place), format!("f:{}", field.name));
                    assert_eq!(ty.place(&field.name.to_uppercase()), None);
                }
                assert_eq!(ty.place(""), None);
            }
        }
    }
}

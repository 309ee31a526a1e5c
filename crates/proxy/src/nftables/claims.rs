//! Who has which element of the shared maps. Two Services may want the same external address and port: the first by name
//! gets it, and the other when the first lets go.

use std::collections::{BTreeMap, HashMap};

use knarr_nft::Key;

use super::{
    compile::{Claim, Value},
    names::Map,
};
use crate::service::IpFamily;

type Slot = (IpFamily, Map, Key);

/// Wanted elements, by slot and then by the id of the Service port that wants it.
#[derive(Debug, Default)]
pub struct Claims {
    wanted: HashMap<Slot, BTreeMap<String, Value>>,
    /// Holders before the changes that are being made.
    before: HashMap<Slot, Option<Value>>,
}

/// What is to be done to one element. `None` where there is none.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    pub family: IpFamily,
    pub map: Map,
    pub key: Key,
    pub old: Option<Value>,
    pub new: Option<Value>,
}

impl Claims {
    fn holder(&self, slot: &Slot) -> Option<Value> {
        self.wanted
            .get(slot)?
            .first_key_value()
            .map(|(_, value)| value.clone())
    }

    fn remember(&mut self, slot: &Slot) {
        if !self.before.contains_key(slot) {
            let holder = self.holder(slot);
            self.before.insert(slot.clone(), holder);
        }
    }

    pub fn add(&mut self, family: IpFamily, id: &str, claim: &Claim) {
        let slot = (family, claim.map, claim.key.clone());
        self.remember(&slot);
        self.wanted
            .entry(slot)
            .or_default()
            .insert(id.to_owned(), claim.value.clone());
    }

    pub fn remove(&mut self, family: IpFamily, id: &str, claim: &Claim) {
        let slot = (family, claim.map, claim.key.clone());
        self.remember(&slot);
        if let Some(by_id) = self.wanted.get_mut(&slot) {
            by_id.remove(id);
            if by_id.is_empty() {
                self.wanted.remove(&slot);
            }
        }
    }

    /// What differs from the last time this was asked.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let before = std::mem::take(&mut self.before);
        let change = |(slot, old): (Slot, Option<Value>)| {
            let new = self.holder(&slot);
            let (family, map, key) = slot;
            (old != new).then_some(Change {
                family,
                map,
                key,
                old,
                new,
            })
        };
        before.into_iter().filter_map(change).collect()
    }

    /// Every element, as if nothing had been there.
    pub fn all(&self) -> Vec<Change> {
        let change = |slot: &Slot| {
            let (family, map, key) = slot.clone();
            Change {
                family,
                map,
                key,
                old: None,
                new: self.holder(slot),
            }
        };
        self.wanted.keys().map(change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_nft::Verdict;

    fn claim(to: &str) -> Claim {
        let value = Value::Verdict(Verdict::Goto(to.into()));
        Claim {
            map: Map::ServiceIps,
            key: Key::new().port(80),
            value,
        }
    }

    fn changes(claims: &mut Claims) -> Vec<(Option<String>, Option<String>)> {
        let to = |value: Option<Value>| {
            value.map(|v| match v {
                Value::Verdict(verdict) => verdict.chain().unwrap_or_default().to_owned(),
                other => panic!("{other:?}"),
            })
        };
        claims
            .take_changes()
            .into_iter()
            .map(|c| (to(c.old), to(c.new)))
            .collect()
    }

    #[test]
    fn the_first_by_name_holds_and_the_next_follows() {
        let mut claims = Claims::default();
        claims.add(IpFamily::V4, "b", &claim("B"));
        assert_eq!(changes(&mut claims), [(None, Some("B".into()))]);
        claims.add(IpFamily::V4, "c", &claim("C"));
        assert_eq!(changes(&mut claims), []);
        claims.add(IpFamily::V4, "a", &claim("A"));
        assert_eq!(changes(&mut claims), [(Some("B".into()), Some("A".into()))]);
        claims.remove(IpFamily::V4, "a", &claim("A"));
        claims.remove(IpFamily::V4, "b", &claim("B"));
        assert_eq!(changes(&mut claims), [(Some("A".into()), Some("C".into()))]);
        claims.remove(IpFamily::V4, "c", &claim("C"));
        assert_eq!(changes(&mut claims), [(Some("C".into()), None)]);
    }

    #[test]
    fn what_is_taken_and_given_back_is_no_change() {
        let mut claims = Claims::default();
        claims.add(IpFamily::V4, "a", &claim("A"));
        claims.take_changes();
        claims.remove(IpFamily::V4, "a", &claim("A"));
        claims.add(IpFamily::V4, "a", &claim("A"));
        assert_eq!(changes(&mut claims), []);
    }
}

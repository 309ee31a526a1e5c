//! From a difference to a transaction. What is led to is made before what leads there, and goes after it.

use std::collections::BTreeMap;

use knarr_nft::{Batch, Chain, Element, Key, KeyType, Set};

use super::{
    claims::Change,
    compile::{Piece, Value},
    names::{Map, family, table},
};
use crate::service::IpFamily;

/// One Service port before and after; an empty piece where there is none.
pub struct PieceChange {
    pub family: IpFamily,
    pub old: Piece,
    pub new: Piece,
}

pub fn write(batch: &mut Batch, pieces: &[PieceChange], elements: &[Change]) {
    delete_elements(batch, elements);
    pieces.iter().for_each(|p| make(batch, p));
    pieces.iter().for_each(|p| fill(batch, p));
    pieces.iter().for_each(|p| discard(batch, p));
    add_elements(batch, elements);
}

fn make(batch: &mut Batch, change: &PieceChange) {
    let table = table(change.family);
    let client = [KeyType::address(family(change.family))];
    // A set's timeout cannot be changed: with a new one the set is made anew, once its users are gone.
    for (name, timeout) in change
        .new
        .affinity
        .iter()
        .filter(|(n, _)| !change.old.affinity.contains_key(*n))
    {
        batch.add_set(&table, &Set::new(name, &client).dynamic(*timeout));
    }
    for name in change
        .new
        .chains
        .keys()
        .filter(|n| !change.old.chains.contains_key(*n))
    {
        batch.add_chain(&table, &Chain::regular(name));
    }
}

/// Whether clients are remembered for another time than before.
fn new_timeout(change: &PieceChange) -> bool {
    change.new.affinity.iter().any(|(name, timeout)| {
        change
            .old
            .affinity
            .get(name)
            .is_some_and(|old| old != timeout)
    })
}

fn fill(batch: &mut Batch, change: &PieceChange) {
    let table = table(change.family);
    let renew = new_timeout(change);
    let same = |name: &String| !renew && change.old.chains.get(name) == change.new.chains.get(name);
    for name in change.old.chains.keys().filter(|n| !same(n)) {
        batch.flush_chain(&table, name);
    }
    if renew {
        let client = [KeyType::address(family(change.family))];
        for (name, timeout) in change
            .new
            .affinity
            .iter()
            .filter(|(n, _)| change.old.affinity.contains_key(*n))
        {
            batch.delete_set(&table, name);
            batch.add_set(&table, &Set::new(name, &client).dynamic(*timeout));
        }
    }
    for (name, rules) in change.new.chains.iter().filter(|(n, _)| !same(n)) {
        rules
            .iter()
            .for_each(|rule| batch.add_rule(&table, name, rule));
    }
}

fn discard(batch: &mut Batch, change: &PieceChange) {
    let table = table(change.family);
    for name in change
        .old
        .chains
        .keys()
        .filter(|n| !change.new.chains.contains_key(*n))
    {
        batch.delete_chain(&table, name);
    }
    for name in change
        .old
        .affinity
        .keys()
        .filter(|n| !change.new.affinity.contains_key(*n))
    {
        batch.delete_set(&table, name);
    }
}

type Grouped = BTreeMap<(IpFamily, Map), Vec<Element>>;

fn delete_elements(batch: &mut Batch, changes: &[Change]) {
    let mut gone: Grouped = BTreeMap::new();
    for change in changes.iter().filter(|c| c.old.is_some()) {
        gone.entry((change.family, change.map))
            .or_default()
            .push(Element::key(&change.key));
    }
    for ((family, map), elements) in gone {
        batch.delete_elements(&table(family), &map.name(), &elements);
    }
}

fn add_elements(batch: &mut Batch, changes: &[Change]) {
    let mut added: Grouped = BTreeMap::new();
    for change in changes {
        let element = match &change.new {
            None => continue,
            Some(Value::Member) => Element::key(&change.key),
            Some(Value::Verdict(verdict)) => Element::verdict(&change.key, verdict.clone()),
            Some(Value::Target(to)) => {
                Element::value(&change.key, Key::new().ip(to.ip).port(to.port))
            }
        };
        added
            .entry((change.family, change.map))
            .or_default()
            .push(element);
    }
    for ((family, map), elements) in added {
        batch.add_elements(&table(family), &map.name(), &elements);
    }
}

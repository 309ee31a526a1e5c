//! Transactions.

use crate::{
    expr::{Expr, Verdict},
    rule::Rule,
    set::{Element, Key, KeyType, Set, comment_data},
    table::{Chain, Table},
    wire::{Messages, Writer},
};

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// Subsystem number of nf_tables, in the upper byte of message types.
pub(crate) const NF_TABLES: u16 = 10;

/// Message numbers within the subsystem.
pub(crate) mod msg {
    pub const NEW_TABLE: u16 = 0;
    pub const GET_TABLE: u16 = 1;
    pub const DEL_TABLE: u16 = 2;
    pub const NEW_CHAIN: u16 = 3;
    pub const GET_CHAIN: u16 = 4;
    pub const DEL_CHAIN: u16 = 5;
    pub const NEW_RULE: u16 = 6;
    pub const GET_RULE: u16 = 7;
    pub const DEL_RULE: u16 = 8;
    pub const NEW_SET: u16 = 9;
    pub const GET_SET: u16 = 10;
    pub const DEL_SET: u16 = 11;
    pub const NEW_ELEMENT: u16 = 12;
    pub const GET_ELEMENT: u16 = 13;
    pub const DEL_ELEMENT: u16 = 14;
}

/// An attribute's length is 16 bits wide: longer element lists are split.
const ELEMENTS_PER_MESSAGE: usize = 150;

/// The kernel puts a number in place of `%d`.
const ANONYMOUS: &str = "__map%d";

/// Changes that are applied together or not at all, in the order in which they were added.
#[derive(Debug, Clone)]
pub struct Batch {
    w: Writer,
    count: u32,
    last: usize,
    next_id: u32,
}

impl Default for Batch {
    fn default() -> Self {
        Batch::new()
    }
}

impl Batch {
    pub fn new() -> Self {
        let mut w = Writer::default();
        let start = w.begin(BATCH_BEGIN, REQUEST, 0, 0, NF_TABLES);
        w.end(start);
        Batch {
            w,
            count: 0,
            last: 0,
            next_id: 1,
        }
    }

    /// Number of messages so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn message(&mut self, kind: u16, flags: u16, table: &Table, fill: impl FnOnce(&mut Writer)) {
        self.count += 1;
        self.last = self.w.begin(
            (NF_TABLES << 8) | kind,
            REQUEST | flags,
            self.count,
            table.family.code(),
            0,
        );
        self.w.str(1, &table.name);
        fill(&mut self.w);
        self.w.end(self.last);
    }

    /// Creates the table unless it exists.
    pub fn add_table(&mut self, table: &Table) {
        self.message(msg::NEW_TABLE, CREATE, table, |_| {});
    }

    /// Deletes the table with all in it. Fails when there is none; [`Batch::clear_table`] does not.
    pub fn delete_table(&mut self, table: &Table) {
        self.message(msg::DEL_TABLE, 0, table, |_| {});
    }

    /// Deletes the table, whether it exists or not.
    pub fn clear_table(&mut self, table: &Table) {
        self.add_table(table);
        self.delete_table(table);
    }

    /// Creates the chain unless it exists.
    pub fn add_chain(&mut self, table: &Table, chain: &Chain) {
        self.message(msg::NEW_CHAIN, CREATE, table, |w| {
            w.str(3, &chain.name);
            let Some((kind, hook, priority)) = chain.base else {
                return;
            };
            w.str(7, kind.name());
            w.nested(4, |w| {
                w.u32(1, hook.number());
                w.attr(2, &priority.to_be_bytes());
            });
        });
    }

    /// Fails when there is no such chain or something leads to it.
    pub fn delete_chain(&mut self, table: &Table, chain: &str) {
        self.message(msg::DEL_CHAIN, 0, table, |w| w.str(3, chain));
    }

    /// Takes all rules out of a chain.
    pub fn flush_chain(&mut self, table: &Table, chain: &str) {
        self.message(msg::DEL_RULE, 0, table, |w| w.str(2, chain));
    }

    /// Creates the set or map unless it exists.
    pub fn add_set(&mut self, table: &Table, set: &Set) {
        let id = self.id();
        self.message(msg::NEW_SET, CREATE, table, |w| set.encode(w, id, false));
    }

    /// Fails when there is no such set or a rule uses it.
    pub fn delete_set(&mut self, table: &Table, set: &str) {
        self.message(msg::DEL_SET, 0, table, |w| w.str(2, set));
    }

    /// Adds elements. An element that is there already is left alone when its value is the same, else this fails.
    pub fn add_elements(&mut self, table: &Table, set: &str, elements: &[Element]) {
        self.elements(msg::NEW_ELEMENT, CREATE, table, set, 0, elements);
    }

    /// Fails when one of the elements is not there. Values are not looked at.
    pub fn delete_elements(&mut self, table: &Table, set: &str, elements: &[Element]) {
        self.elements(msg::DEL_ELEMENT, 0, table, set, 0, elements);
    }

    /// Empties a set or map.
    pub fn flush_set(&mut self, table: &Table, set: &str) {
        self.message(msg::DEL_ELEMENT, 0, table, |w| w.str(2, set));
    }

    fn elements(
        &mut self,
        kind: u16,
        flags: u16,
        table: &Table,
        set: &str,
        id: u32,
        elements: &[Element],
    ) {
        for some in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.message(kind, flags, table, |w| {
                w.str(2, set);
                if id != 0 {
                    w.u32(4, id);
                }
                w.nested(3, |w| {
                    some.iter()
                        .for_each(|e| e.encode(w, kind == msg::NEW_ELEMENT))
                });
            });
        }
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, table: &Table, chain: &str, rule: &Rule) {
        self.rule(APPEND, table, chain, rule);
    }

    /// Puts a rule before all others of a chain.
    pub fn insert_rule(&mut self, table: &Table, chain: &str, rule: &Rule) {
        self.rule(0, table, chain, rule);
    }

    pub fn delete_rule(&mut self, table: &Table, chain: &str, handle: u64) {
        self.message(msg::DEL_RULE, 0, table, |w| {
            w.str(2, chain);
            w.u64(3, handle);
        });
    }

    fn rule(&mut self, flags: u16, table: &Table, chain: &str, rule: &Rule) {
        let map = rule
            .choices
            .as_ref()
            .map(|verdicts| self.anonymous_map(table, verdicts));
        self.message(msg::NEW_RULE, CREATE | flags, table, |w| {
            w.str(2, chain);
            w.nested(4, |w| {
                for expr in &rule.exprs {
                    match (expr, map) {
                        (
                            Expr::Lookup {
                                set, from, found, ..
                            },
                            Some(id),
                        ) if set.is_empty() => {
                            Expr::Lookup {
                                set: ANONYMOUS.to_owned(),
                                id,
                                from: *from,
                                found: *found,
                            }
                            .encode(w);
                        }
                        _ => expr.encode(w),
                    }
                }
            });
            if let Some(comment) = &rule.comment {
                w.attr(7, &comment_data(comment));
            }
        });
    }

    /// A map from 0, 1, 2… to verdicts, which the next rule refers to by the returned id.
    fn anonymous_map(&mut self, table: &Table, verdicts: &[Verdict]) -> u32 {
        let id = self.id();
        let set = Set::verdict_map(ANONYMOUS, &[KeyType::Integer]);
        self.message(msg::NEW_SET, CREATE, table, |w| set.encode(w, id, true));
        let elements: Vec<Element> = verdicts
            .iter()
            .enumerate()
            .map(|(n, v)| Element::verdict(&Key::new().number(n as u32), v.clone()))
            .collect();
        self.elements(msg::NEW_ELEMENT, CREATE, table, ANONYMOUS, id, &elements);
        id
    }

    fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// The bytes to send, and the sequence number whose acknowledgement means success.
    pub(crate) fn finish(&self) -> (Vec<u8>, u32) {
        let mut w = self.w.clone();
        // Only the last change asks for an acknowledgement: the answers to a large batch stay small.
        let flags = &mut w.buf[self.last + 6..self.last + 8];
        let acknowledged = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
        flags.copy_from_slice(&acknowledged.to_ne_bytes());
        let start = w.begin(BATCH_END, REQUEST, self.count + 1, 0, NF_TABLES);
        w.end(start);
        (w.buf, self.count)
    }

    /// What the message with a sequence number was about, in words.
    pub(crate) fn describe(&self, seq: u32) -> String {
        let Some(m) = Messages(&self.w.buf).find(|m| m.seq == seq && m.kind >> 8 == NF_TABLES)
        else {
            return "nf_tables transaction".to_owned();
        };
        let family = match m.family() {
            2 => "ip",
            10 => "ip6",
            _ => "inet",
        };
        let attrs = m.attrs();
        let (what, name) = match m.kind & 0xff {
            msg::NEW_TABLE => ("add table", None),
            msg::DEL_TABLE => ("delete table", None),
            msg::NEW_CHAIN => ("add chain", attrs.str(3)),
            msg::DEL_CHAIN => ("delete chain", attrs.str(3)),
            msg::NEW_RULE => ("add rule to chain", attrs.str(2)),
            msg::DEL_RULE => ("delete rules of chain", attrs.str(2)),
            msg::NEW_SET => ("add set", attrs.str(2)),
            msg::DEL_SET => ("delete set", attrs.str(2)),
            msg::NEW_ELEMENT => ("add elements to", attrs.str(2)),
            msg::DEL_ELEMENT => ("delete elements of", attrs.str(2)),
            _ => ("change", None),
        };
        let path = [Some(family), attrs.str(1), name]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("/");
        format!("{what} {path} (change {seq} of {})", self.count)
    }
}

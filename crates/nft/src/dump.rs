//! Reading back what is installed.

use crate::{
    batch::{NF_TABLES, msg},
    error::Result,
    expr::Verdict,
    set::{Element, Key, Value},
    socket::Connection,
    table::{Family, Table},
    wire::{Attrs, Message, Writer},
};

/// A chain as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainInfo {
    pub name: String,
    /// Hook number and priority of a base chain.
    pub hook: Option<(u32, i32)>,
    /// `Some(false)` when a base chain drops what no rule decided.
    pub accepts: Option<bool>,
}

/// A rule as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInfo {
    pub chain: String,
    pub handle: u64,
    /// Names of its expressions.
    pub expressions: Vec<String>,
    pub comment: Option<String>,
}

/// A named set or map as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetInfo {
    pub name: String,
    /// `NFT_SET_*`.
    pub flags: u32,
    /// Bytes.
    pub key_len: u32,
}

fn kind(message: u16) -> u16 {
    (NF_TABLES << 8) | message
}

/// What is not there has nothing in it.
fn or_empty<T>(found: Result<Vec<T>>) -> Result<Vec<T>> {
    match found {
        Err(e) if e.is_not_found() => Ok(Vec::new()),
        other => other,
    }
}

impl Connection {
    /// All tables of a family.
    pub fn tables(&mut self, family: Family) -> Result<Vec<Table>> {
        let each = |m: &Message| {
            (m.family() == family.code()).then(|| Some(Table::new(family, m.attrs().str(1)?)))?
        };
        self.dump(kind(msg::GET_TABLE), family.code(), |_| {}, each)
    }

    /// The chains of a table; none when there is no such table. So with the following.
    pub fn chains(&mut self, table: &Table) -> Result<Vec<ChainInfo>> {
        or_empty(self.dump(
            kind(msg::GET_CHAIN),
            table.family.code(),
            |_| {},
            |m| chain(m, table),
        ))
    }

    pub fn rules(&mut self, table: &Table) -> Result<Vec<RuleInfo>> {
        let fill = |w: &mut Writer| w.str(1, &table.name);
        or_empty(
            self.dump(kind(msg::GET_RULE), table.family.code(), fill, |m| {
                rule(m, table)
            }),
        )
    }

    /// Sets and maps, without those that belong to rules.
    pub fn sets(&mut self, table: &Table) -> Result<Vec<SetInfo>> {
        let fill = |w: &mut Writer| w.str(1, &table.name);
        let all = or_empty(
            self.dump(kind(msg::GET_SET), table.family.code(), fill, |m| {
                set(m, table)
            }),
        )?;
        Ok(all.into_iter().filter(|s| s.flags & 1 == 0).collect())
    }

    pub fn elements(&mut self, table: &Table, set: &str) -> Result<Vec<Element>> {
        let fill = |w: &mut Writer| {
            w.str(1, &table.name);
            w.str(2, set);
        };
        let each = |m: &Message| {
            let list = m.attrs().nested(3);
            Some(
                list.filter_map(|(_, e)| element(Attrs(e)))
                    .collect::<Vec<_>>(),
            )
        };
        let lists = or_empty(self.dump(kind(msg::GET_ELEMENT), table.family.code(), fill, each))?;
        Ok(lists.into_iter().flatten().collect())
    }
}

/// The attributes of a message about something in `table`.
fn about<'a>(m: &Message<'a>, table: &Table) -> Option<Attrs<'a>> {
    let a = m.attrs();
    (a.str(1)? == table.name && m.family() == table.family.code()).then_some(a)
}

fn chain(m: &Message, table: &Table) -> Option<ChainInfo> {
    let a = about(m, table)?;
    let hook = a.nested(4);
    Some(ChainInfo {
        name: a.str(3)?.to_owned(),
        hook: hook.u32(1).zip(hook.u32(2).map(|p| p as i32)),
        accepts: a.u32(5).map(|policy| policy == 1),
    })
}

fn rule(m: &Message, table: &Table) -> Option<RuleInfo> {
    let a = about(m, table)?;
    Some(RuleInfo {
        chain: a.str(2)?.to_owned(),
        handle: a.u64(3)?,
        expressions: a
            .nested(4)
            .filter_map(|(_, e)| Attrs(e).str(1).map(str::to_owned))
            .collect(),
        comment: a.get(7).and_then(comment),
    })
}

fn set(m: &Message, table: &Table) -> Option<SetInfo> {
    let a = about(m, table)?;
    Some(SetInfo {
        name: a.str(2)?.to_owned(),
        flags: a.u32(3).unwrap_or(0),
        key_len: a.u32(5)?,
    })
}

fn element(a: Attrs) -> Option<Element> {
    let key = a.nested(1).get(1)?;
    let data = a.nested(2);
    let value = match data.get(1) {
        Some(bytes) => Value::Data(Key::from_bytes(bytes)),
        None => verdict(data.nested(2)).map_or(Value::None, Value::Verdict),
    };
    Some(Element::dumped(
        key,
        value,
        a.u32(3).unwrap_or(0) & 1 != 0,
        a.get(6).and_then(comment),
    ))
}

fn verdict(a: Attrs) -> Option<Verdict> {
    let chain = || a.str(2).map(str::to_owned);
    match a.u32(1)? as i32 {
        0 => Some(Verdict::Drop),
        1 => Some(Verdict::Accept),
        -1 => Some(Verdict::Continue),
        -3 => chain().map(Verdict::Jump),
        -4 => chain().map(Verdict::Goto),
        -5 => Some(Verdict::Return),
        _ => None,
    }
}

fn comment(data: &[u8]) -> Option<String> {
    let (kind, rest) = data.split_first()?;
    let (len, text) = rest.split_first()?;
    let text = text.get(..usize::from(*len))?;
    (*kind == 0)
        .then(|| String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned())
}

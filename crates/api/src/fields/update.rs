//! What creates, updates and patches do to managedFields.

use std::borrow::Cow;

use knarr_json::{Array, Value};

use super::{
    Element, Operation, STRIPPED, Scope,
    managed::{self, Entry, Identity, Managed},
    merge::settle,
};
use crate::{decode, schema::Type};

/// Writes into `new` who owns what after `manager` changed `live` (none for a create) to `new`.
///
/// A client may send managedFields of its own, also `[]` or `[{}]` to clear them; what cannot be read counts as not sent.
pub fn update(scope: &Scope<'_>, live: Option<&Value>, new: &mut Value, manager: &str) {
    let sent = managed::take(new);
    let before = live.map_or(&Value::Null, |live| &live["metadata"]["managedFields"]);
    let entries = starting(scope, before, &sent);
    // An object without entries gets none by updates: they were cleared, or it is older than they are.
    if live.is_some() && entries.is_empty() {
        return;
    }
    // Neither does a scale whose replicas nobody owns.
    let replicas: Vec<Element> = scope.replicas.split('.').map(Element::field).collect();
    if scope.subresource == "scale" && !entries.0.values().any(|entry| entry.set.has(&replicas)) {
        managed::put(new, &entries);
        return;
    }
    // That the entries themselves are in one and not in the other is no matter: nobody owns them.
    let old = live.map_or_else(|| Cow::Owned(fresh(scope.ty)), Cow::Borrowed);
    let mut entries = changed(scope, &old, new, entries, manager);
    entries.cap();
    managed::put(new, &entries);
}

/// The entries to start from: those sent, or else those of the live object.
fn starting(scope: &Scope<'_>, live: &Value, sent: &Value) -> Managed {
    let of_live = || Managed::decode(live).unwrap_or_default();
    // A subresource is no way to set them.
    if !scope.subresource.is_empty() {
        return of_live();
    }
    let clears = sent.as_array().is_some_and(|list| match &list[..] {
        [] => true,
        [one] => one
            .as_object()
            .is_some_and(|entry| entry.values().all(Value::is_null)),
        _ => false,
    });
    match Managed::decode(sent) {
        _ if clears => Managed::default(),
        Ok(entries) if !entries.is_empty() => entries,
        _ => of_live(),
    }
}

/// An object of this type before anything is set.
pub(super) fn fresh(ty: &Type) -> Value {
    Value::Object(ty.as_struct().map(decode::empty).unwrap_or_default())
}

/// The entries after `manager` changed `old` to `new`.
pub(super) fn changed(
    scope: &Scope<'_>,
    old: &Value,
    new: &Value,
    mut entries: Managed,
    manager: &str,
) -> Managed {
    let own = Identity::new(
        Operation::Update,
        manager,
        scope.api_version,
        scope.subresource,
    );
    // What this write changes is taken from everybody, also from earlier writes of the same manager.
    let nobody = Identity::new(Operation::Update, "", "", "");
    let (old, new) = (shown(scope, old), shown(scope, new));
    let Ok(comparison) = settle(scope, &old, &new, &mut entries, &nobody, true) else {
        return entries;
    };
    let mut set = comparison.added;
    set.extend(comparison.modified);
    let set = set.difference(&STRIPPED);
    if !set.is_empty() {
        let earlier = entries.0.get(&own);
        let set = earlier.map_or(set.clone(), |earlier| earlier.set.union(&set));
        // The original keeps no time of what comes through `scale`.
        let time = match scope.subresource {
            "scale" => earlier.and_then(|earlier| earlier.time.clone()),
            _ => Some(scope.time()),
        };
        let api_version = scope.api_version.into();
        entries.0.insert(
            own,
            Entry {
                api_version,
                time,
                set,
            },
        );
    }
    entries
}

/// The object as the subresource shows it: a Scale leaves out that there shall be none.
fn shown<'o>(scope: &Scope<'_>, object: &'o Value) -> Cow<'o, Value> {
    if scope.subresource != "scale" {
        return Cow::Borrowed(object);
    }
    let path = format!("/{}", scope.replicas.replace('.', "/"));
    if object.pointer(&path).is_none_or(|r| *r != 0) {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    if let Some((parent, last)) = path.rsplit_once('/')
        && let Some(parent) = object.pointer_mut(parent).and_then(Value::as_object_mut)
    {
        parent.remove(last);
    }
    Cow::Owned(object)
}

/// Takes the managedFields of `live` for `new` when only their times differ and nothing else does.
pub fn keep_times(live: &Value, new: &mut Value) {
    let (was, is) = (
        &live["metadata"]["managedFields"],
        &new["metadata"]["managedFields"],
    );
    if was == is || without_times(was) != without_times(is) {
        return;
    }
    let list = was.clone();
    let newer = managed::take(new);
    managed::set(new, list);
    if live != new {
        managed::set(new, newer);
    }
}

fn without_times(entries: &Value) -> Option<Array> {
    let mut list = entries.as_array()?.clone();
    for entry in list.iter_mut().filter_map(Value::as_object_mut) {
        entry.remove("time");
    }
    // Their order is by time.
    list.sort_by_cached_key(Value::to_string);
    Some(list)
}

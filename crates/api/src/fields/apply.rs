//! Server-side apply.

use knarr_json::{Map, Value};

use super::{
    Operation, STRIPPED, Scope, Set,
    managed::{self, Entry, Identity, Managed},
    merge::{Conflicts, prune, settle},
    typed,
    update::{changed, fresh},
};
use crate::{schema::Type, status::Status};

/// kubectl's own record of what was applied from the client's side.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that server-side apply of kubectl uses.
const KUBECTL: &str = "kubectl";
/// The owner of all there is when an object without entries is first applied to.
const BEFORE: &str = "before-first-apply";
/// All annotations of an object together, in bytes.
const ANNOTATIONS: usize = 256 << 10;

/// What one apply led to.
struct Applied {
    object: Value,
    entries: Managed,
    /// Something else than entries changed.
    changed: bool,
}

/// Merges the configuration `applied` into `live` (none for a create) for `manager` and writes who owns what.
/// The result is not defaulted.
///
/// # Errors
/// 400 for what is no configuration of this kind, 500 for one that does not fit its type (as the original has it), 409 with
/// a cause for each field that another manager owns, unless `force`.
pub fn apply(
    scope: &Scope<'_>,
    live: Option<&Value>,
    applied: &Value,
    manager: &str,
    force: bool,
) -> Result<Value, Box<Status>> {
    check_kind((scope.api_version, scope.kind), applied)?;
    let mut old = live.cloned().unwrap_or_else(|| fresh(scope.ty));
    let entries = Managed::decode(&managed::take(&mut old)).map_err(|why| {
        Box::new(Status::failure(
            500,
            "",
            format!("failed to decode managed fields: {why}"),
        ))
    })?;
    let entries = if entries.is_empty() {
        changed(scope, &fresh(scope.ty), &old, entries, BEFORE)
    } else {
        entries
    };
    check_type(scope.ty, applied)?;

    let outcome = match merged(scope, &old, applied, entries.clone(), manager, force) {
        Ok(outcome) => outcome,
        // What kubectl applied from the client's side before is its own.
        Err(conflicts) if manager == KUBECTL => match left_over(scope, &old, &conflicts) {
            Some(left) if !left.0.is_empty() => return Err(Box::new(left.status())),
            Some(_) => merged(scope, &old, applied, entries, manager, true)
                .map_err(|c| Box::new(c.status()))?,
            None => return Err(Box::new(conflicts.status())),
        },
        Err(conflicts) => return Err(Box::new(conflicts.status())),
    };
    let Applied {
        mut object,
        mut entries,
        changed,
    } = outcome;
    let own = Identity::new(
        Operation::Apply,
        manager,
        scope.api_version,
        scope.subresource,
    );
    // The original keeps no time of what comes through `scale`.
    if let Some(entry) = entries.0.get_mut(&own)
        && changed
        && scope.subresource != "scale"
    {
        entry.time = Some(scope.time());
    }
    managed::put(&mut object, &entries);
    if manager == KUBECTL {
        record(&mut object, applied);
    }
    Ok(object)
}

/// `/v1, Kind=Pod`, `apps/v1, Kind=Deployment`.
fn group_version_kind(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

/// Whether `applied` is a configuration of this kind that fits its type.
///
/// # Errors
/// As [`apply`]: 400, 500.
pub fn check(ty: &Type, api_version: &str, kind: &str, applied: &Value) -> Result<(), Box<Status>> {
    check_kind((api_version, kind), applied)?;
    check_type(ty, applied)
}

fn check_kind(wanted: (&str, &str), applied: &Value) -> Result<(), Box<Status>> {
    let text = |key: &str| applied[key].as_str().unwrap_or_default();
    let given = (text("apiVersion"), text("kind"));
    if given != wanted {
        let shown = group_version_kind(given.0, given.1);
        return Err(Status::bad_request(format!("invalid object type: {shown}")).into());
    }
    if !applied["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil").into());
    }
    Ok(())
}

fn check_type(ty: &Type, applied: &Value) -> Result<(), Box<Status>> {
    let Some(why) = typed::invalid(ty, applied) else {
        return Ok(());
    };
    let text = |object: &Value, key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let kind = group_version_kind(&text(applied, "apiVersion"), &text(applied, "kind"));
    let meta = &applied["metadata"];
    let what = format!("{}/{}; {kind}", text(meta, "namespace"), text(meta, "name"));
    let why = format!("failed to create typed patch object ({what}): {why}");
    Err(Status::failure(500, "", why).into())
}

fn merged(
    scope: &Scope<'_>,
    old: &Value,
    applied: &Value,
    mut entries: Managed,
    manager: &str,
    force: bool,
) -> Result<Applied, Conflicts> {
    let own = Identity::new(
        Operation::Apply,
        manager,
        scope.api_version,
        scope.subresource,
    );
    let set = typed::set_of(scope.ty, applied).recursive_difference(scope.reset);
    let time = entries.0.get(&own).and_then(|entry| entry.time.clone());
    let last = entries.0.insert(
        own.clone(),
        Entry {
            api_version: scope.api_version.into(),
            time,
            set,
        },
    );
    let object = typed::merge(scope.ty, old, applied);
    let object = prune(scope, object, &entries, last.as_ref());
    settle(scope, old, &object, &mut entries, &own, force)?;
    if let Some(entry) = entries.0.get_mut(&own) {
        entry.set = entry.set.difference(&STRIPPED);
        if entry.set.is_empty() {
            entries.0.remove(&own);
        }
    }
    let changed = object != *old;
    Ok(Applied {
        object,
        entries,
        changed,
    })
}

/// The conflicts without those about fields that kubectl's own annotation speaks of with the value they still have.
/// `None` when there is no such annotation for this version.
fn left_over(scope: &Scope<'_>, old: &Value, conflicts: &Conflicts) -> Option<Conflicts> {
    let text = old["metadata"]["annotations"][LAST_APPLIED]
        .as_str()
        .filter(|text| !text.is_empty())?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last["apiVersion"] != scope.api_version || typed::invalid(scope.ty, &last).is_some() {
        return None;
    }
    let differs = typed::compare(scope.ty, &last, old);
    let differs: Set = differs
        .modified
        .union(&differs.added)
        .union(&differs.removed);
    let allowed = typed::set_of(scope.ty, &last).difference(&differs);
    debug_assert!(!conflicts.paths().is_empty());
    Some(conflicts.without(&allowed))
}

/// Keeps kubectl's annotation, where there is one, in step with what was applied.
fn record(object: &mut Value, applied: &Value) {
    let Some(annotations) = object["metadata"]
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let kept_before = annotations
        .get(LAST_APPLIED)
        .and_then(Value::as_str)
        .unwrap_or_default();
    if kept_before.is_empty() {
        return;
    }
    let mut kept = applied.clone();
    if let Some(own) = kept["metadata"]
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        own.remove(LAST_APPLIED);
    }
    annotations.insert(LAST_APPLIED, format!("{kept}\n").into());
    if size(annotations) > ANNOTATIONS {
        annotations.remove(LAST_APPLIED);
    }
}

fn size(annotations: &Map) -> usize {
    annotations
        .iter()
        .map(|(k, v)| k.len() + v.as_str().map_or(0, str::len))
        .sum()
}

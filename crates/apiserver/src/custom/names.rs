//! Names within a group belong to who had them first. Pure.

use std::collections::HashSet;

use jiff::Timestamp;
use knarr_api::strategy::definition::{approval, is_structural};
use knarr_json::{Map, Value, json};

use super::conditions;

/// Names that other definitions of the group have.
#[derive(Default)]
pub struct Taken {
    /// Plurals, singulars, short names.
    pub resources: HashSet<String>,
    /// Kinds and kinds of lists.
    pub kinds: HashSet<String>,
}

impl Taken {
    /// Adds the names that a definition has.
    pub fn add(&mut self, accepted: &Value) {
        let text = |key: &str| accepted[key].as_str().unwrap_or_default().to_owned();
        self.resources.extend([text("plural"), text("singular")]);
        self.resources.extend(strings(&accepted["shortNames"]));
        self.kinds.extend([text("kind"), text("listKind")]);
        self.resources.remove("");
        self.kinds.remove("");
    }
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|s| s.as_str().map(str::to_owned)).collect()
}

/// The definition with the status that it should have; none when it has it. An approval is looked at when the annotation
/// changed (`approve_again`).
pub fn settled(
    object: &Value,
    taken: &Taken,
    approve_again: bool,
    now: Timestamp,
) -> Option<Value> {
    let mut new = object.clone();
    let (accepted, naming) = accept(object, taken);
    let established = establish(object, &naming);
    // A status that someone emptied is left empty as long as the names are what they were.
    let cleared = conditions::find(object, "NamesAccepted").is_none()
        && !is_fresh(object)
        && naming["status"] == "True"
        && object["status"]["acceptedNames"] == accepted;
    let same = cleared
        || (object["status"]["acceptedNames"] == accepted
            && conditions::is_same(conditions::find(object, "NamesAccepted"), &naming)
            && conditions::is_same(conditions::find(object, "Established"), &established));
    let mut changed = false;
    if !same {
        new["status"]["acceptedNames"] = accepted;
        conditions::set(&mut new, naming, now);
        conditions::set(&mut new, established, now);
        changed = true;
    }
    changed |= approve_again && approve(&mut new, now);
    changed |= judge_schemas(&mut new, now);
    changed.then_some(new)
}

/// Whether nobody has looked at the definition yet.
fn is_fresh(object: &Value) -> bool {
    object["status"]["acceptedNames"]["plural"]
        .as_str()
        .unwrap_or_default()
        .is_empty()
}

/// The names that the definition gets, and the condition that says so. The last conflict is the one that is told.
fn accept(object: &Value, taken: &Taken) -> (Value, Value) {
    let wanted = &object["spec"]["names"];
    let had = &object["status"]["acceptedNames"];
    let mut accepted = had.as_object().cloned().unwrap_or_default();
    let mut conflict = None;
    let text = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let in_use = |name: &str| format!("{name:?} is already in use");
    let mut name = |key: &str, reason: &str, used: &HashSet<String>, accepted: &mut Map| {
        let asked = text(wanted, key);
        if asked != text(had, key) && used.contains(&asked) {
            conflict = Some((reason.to_owned(), in_use(&asked)));
        } else {
            accepted.insert(key.to_owned(), asked.into());
        }
    };
    name("plural", "PluralConflict", &taken.resources, &mut accepted);
    name(
        "singular",
        "SingularConflict",
        &taken.resources,
        &mut accepted,
    );
    let (asked, own) = (strings(&wanted["shortNames"]), strings(&had["shortNames"]));
    let clashes: Vec<String> = asked
        .iter()
        .filter(|short| !own.contains(short) && taken.resources.contains(*short))
        .map(|short| in_use(short))
        .collect();
    let short_conflict = !clashes.is_empty();
    if short_conflict {
        let all = if clashes.len() == 1 {
            clashes[0].clone()
        } else {
            format!("[{}]", clashes.join(", "))
        };
        // Told unless a kind clashes too.
        name_conflict(&mut conflict, "ShortNamesConflict", all);
    } else {
        copy(wanted, &mut accepted, "shortNames");
    }
    let mut kind = |key: &str, reason: &str, accepted: &mut Map| {
        let asked = text(wanted, key);
        if asked != text(had, key) && taken.kinds.contains(&asked) {
            name_conflict(&mut conflict, reason, in_use(&asked));
        } else {
            accepted.insert(key.to_owned(), asked.into());
        }
    };
    kind("kind", "KindConflict", &mut accepted);
    kind("listKind", "ListKindConflict", &mut accepted);
    copy(wanted, &mut accepted, "categories");
    // Empty names are not written, but for these two, which every definition has.
    accepted.retain(|key, value| *value != "" || key == "plural" || key == "kind");
    for key in ["plural", "kind"] {
        accepted.entry(key).or_insert_with(|| "".into());
    }
    let condition = match conflict {
        Some((reason, message)) => {
            json!({"type": "NamesAccepted", "status": "False", "reason": reason, "message": message})
        }
        None => {
            json!({"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found"})
        }
    };
    (accepted.into(), condition)
}

fn name_conflict(conflict: &mut Option<(String, String)>, reason: &str, message: String) {
    *conflict = Some((reason.to_owned(), message));
}

fn copy(from: &Value, to: &mut Map, key: &str) {
    match from
        .get(key)
        .filter(|v| v.as_array().is_some_and(|a| !a.is_empty()))
    {
        Some(value) => to.insert(key.to_owned(), value.clone()),
        None => to.remove(key),
    };
}

/// Once established, always established.
fn establish(object: &Value, naming: &Value) -> Value {
    if naming["status"] == "True" || conditions::is_true(object, "Established") {
        return match conditions::find(object, "Established") {
            Some(old) if old["status"] == "True" => old.clone(),
            _ => {
                json!({"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted"})
            }
        };
    }
    json!({"type": "Established", "status": "False", "reason": "NotAccepted", "message": "not all names are accepted"})
}

/// Says whether a definition in a protected group is approved.
fn approve(object: &mut Value, now: Timestamp) -> bool {
    const KIND: &str = "KubernetesAPIApprovalPolicyConformant";
    let group = object["spec"]["group"].as_str().unwrap_or_default();
    if !approval::is_protected(group) {
        return conditions::remove(object, KIND);
    }
    let (status, reason, message) = approval::Approval::of(object).condition();
    let condition = json!({"type": KIND, "status": status, "reason": reason, "message": message});
    if conditions::is_same(conditions::find(object, KIND), &condition) {
        return false;
    }
    conditions::set(object, condition, now);
    true
}

/// Says of definitions from before schemas had to be structural that theirs are not.
fn judge_schemas(object: &mut Value, now: Timestamp) -> bool {
    const KIND: &str = "NonStructuralSchema";
    let versions = object["spec"]["versions"].as_array();
    let bad: Vec<String> = versions
        .into_iter()
        .flatten()
        .filter(|v| !is_structural(&v["schema"]["openAPIV3Schema"]))
        .map(|v| {
            format!(
                "{}: the schema is not structural",
                v["name"].as_str().unwrap_or_default()
            )
        })
        .collect();
    if bad.is_empty() {
        return conditions::remove(object, KIND);
    }
    let condition =
        json!({"type": KIND, "status": "True", "reason": "Violations", "message": bad.join(", ")});
    if conditions::is_same(conditions::find(object, KIND), &condition) {
        return false;
    }
    conditions::set(object, condition, now);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, list: &str, short: &[&str]) -> Value {
        json!({"metadata": {"name": plural}, "spec": {"group": "e.com", "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": list, "shortNames": short}},
            "status": {"acceptedNames": {"kind": "", "plural": ""}}})
    }

    #[test]
    fn the_first_has_its_names_and_the_second_waits() {
        let now = Timestamp::UNIX_EPOCH;
        let mut taken = Taken::default();
        let first = settled(
            &definition("widgets", "Widget", "WidgetList", &["wd"]),
            &taken,
            true,
            now,
        )
        .unwrap();
        assert!(conditions::is_true(&first, "Established"));
        assert_eq!(
            first["status"]["acceptedNames"],
            json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList", "shortNames": ["wd"]})
        );
        assert_eq!(settled(&first, &taken, true, now), None);
        taken.add(&first["status"]["acceptedNames"]);
        let second = definition("gadgets", "Widget", "GadgetList", &["wd", "gd"]);
        let second = settled(&second, &taken, true, now).unwrap();
        assert_eq!(
            second["status"]["acceptedNames"],
            json!({"plural": "gadgets", "kind": "", "listKind": "GadgetList"})
        );
        let naming = conditions::find(&second, "NamesAccepted").unwrap();
        assert_eq!(
            (naming["reason"].as_str(), naming["message"].as_str()),
            (Some("KindConflict"), Some("\"Widget\" is already in use"))
        );
        assert!(!conditions::is_true(&second, "Established"));
        let second = settled(&second, &Taken::default(), true, now).unwrap();
        assert!(conditions::is_true(&second, "Established"));
    }

    #[test]
    fn a_status_that_was_emptied_stays_so() {
        let now = Timestamp::UNIX_EPOCH;
        let mut crd = settled(
            &definition("widgets", "Widget", "WidgetList", &[]),
            &Taken::default(),
            true,
            now,
        )
        .unwrap();
        crd["status"]["conditions"] = Value::Null;
        assert_eq!(settled(&crd, &Taken::default(), true, now), None);
    }
}

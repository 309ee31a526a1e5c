//! PriorityLevelConfigurations before `v1`: shares had another name up to `v1beta2`, and none of them meant the usual ones.

use knarr_json::Value;

use crate::strategy::defaults::at;

const ASSURED: &str = "assuredConcurrencyShares";
const NOMINAL: &str = "nominalConcurrencyShares";
/// Has `v1beta3` take none for none.
const NONE_IS_MEANT: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
const USUAL: i64 = 30;

pub fn up(object: &mut Value) {
    rename(object, ASSURED, NOMINAL);
}

pub fn down(object: &mut Value) {
    rename(object, NOMINAL, ASSURED);
}

pub fn fill(object: &mut Value) {
    fill_shares(object, ASSURED);
}

/// [`fill`] of `v1beta3`.
pub fn fill_nominal(object: &mut Value) {
    if !object["metadata"]["annotations"][NONE_IS_MEANT].is_string() {
        fill_shares(object, NOMINAL);
    }
}

fn fill_shares(object: &mut Value, key: &str) {
    if let Some(limited) = limited(object)
        && limited.get(key).is_some_and(|n| *n == 0)
    {
        limited[key] = USUAL.into();
    }
}

fn limited(object: &mut Value) -> Option<&mut Value> {
    at(object, "spec").and_then(|spec| at(spec, "limited"))
}

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(limited) = limited(object).and_then(Value::as_object_mut)
        && let Some(shares) = limited.remove(from)
    {
        limited.insert(to.to_owned(), shares);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn shares_go_both_ways() {
        let with = |key: &str, n: i64| json!({"spec": {"limited": {key: n}}});
        for (old, now) in [(5, 5), (0, 30)] {
            let mut object = with(ASSURED, old);
            fill(&mut object);
            up(&mut object);
            assert_eq!(object, with(NOMINAL, now));
            down(&mut object);
            assert_eq!(object, with(ASSURED, now));
            let mut object = with(NOMINAL, old);
            fill_nominal(&mut object);
            assert_eq!(object, with(NOMINAL, now));
        }
        let mut meant = with(NOMINAL, 0);
        meant["metadata"] = json!({"annotations": {NONE_IS_MEANT: ""}});
        let before = meant.clone();
        fill_nominal(&mut meant);
        assert_eq!(meant, before);
        for mut other in [json!({}), json!({"spec": {"type": "Exempt"}})] {
            let before = other.clone();
            fill(&mut other);
            up(&mut other);
            assert_eq!(other, before);
        }
    }
}

//! SubjectAccessReviews of `v1beta1`: the user's groups were `group`.

use knarr_json::Value;

use crate::strategy::defaults::at;

pub fn up(object: &mut Value) {
    rename(object, "group", "groups");
}

pub fn down(object: &mut Value) {
    rename(object, "groups", "group");
}

fn rename(object: &mut Value, from: &str, to: &str) {
    let spec = at(object, "spec").and_then(Value::as_object_mut);
    if let Some(spec) = spec
        && let Some(groups) = spec.remove(from)
    {
        spec.insert(to.to_owned(), groups);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn groups_go_both_ways() {
        for (old, now) in [
            (
                json!({"spec": {"group": ["a"]}}),
                json!({"spec": {"groups": ["a"]}}),
            ),
            (
                json!({"spec": {"user": "u"}}),
                json!({"spec": {"user": "u"}}),
            ),
            (json!({}), json!({})),
        ] {
            let mut object = old.clone();
            up(&mut object);
            assert_eq!(object, now);
            down(&mut object);
            assert_eq!(object, old);
        }
    }
}

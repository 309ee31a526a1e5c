//! What a kubelet tells of its node, as far as it is checked.

use crate::{
    field::{Error, Errors},
    validation::At,
};

/// Longest name of a feature, in bytes.
const LONGEST: usize = 253;

/// Names of features that the kubelet has: in order, each once.
pub fn features(status: &At, errs: &mut Errors) {
    let all: Vec<At> = status.items("declaredFeatures").collect();
    for (i, feature) in all.iter().enumerate() {
        if let Some(why) = misnamed(feature.str()) {
            let why = format!("invalid feature name {:?}: {why}", feature.str());
            errs.push(feature.invalid(why));
        }
        let Some(next) = all.get(i + 1) else {
            return;
        };
        if feature.str() == next.str() {
            errs.push(next.duplicate());
        } else if feature.str() > next.str() {
            errs.push(next.invalid("list must be sorted alphabetically"));
        }
    }
}

fn misnamed(name: &str) -> Option<String> {
    const FORM: &str = "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes";
    if name.len() > LONGEST {
        return Some(format!("must be no more than {LONGEST} characters"));
    }
    let letters_first = |segment: &str| {
        segment.starts_with(|c: char| c.is_ascii_alphabetic())
            && segment.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let fine =
        name.starts_with(|c: char| c.is_ascii_uppercase()) && name.split('/').all(letters_first);
    (!fine).then(|| FORM.to_owned())
}

/// Swap, which a node has or does not tell of. The original names it as if it were metadata.
pub fn swap(status: &At, errs: &mut Errors) {
    let capacity = status.get("nodeInfo").get("swap").int("capacity");
    if let Some(capacity) = capacity.filter(|n| *n <= 0) {
        let path = crate::field::Path::new("metadata")
            .child("nodeSwapStatus")
            .child("capacity");
        errs.push(Error::invalid(&path, capacity, "must be greater than zero"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::{Value, json};

    #[test]
    fn features_are_named_and_sorted() {
        const WORDS: &str = "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes";
        let cases: &[(Value, &[&str])] = &[
            (json!(["A", "B/c1", "C/D"]), &[]),
            (json!(null), &[]),
            (
                json!(["B", "A", "A"]),
                &[
                    "s.declaredFeatures[1]: Invalid value: \"A\": list must be sorted alphabetically",
                    "s.declaredFeatures[2]: Duplicate value: \"A\"",
                ],
            ),
            (
                json!(["A/1b"]),
                &[&format!(
                    "s.declaredFeatures[0]: Invalid value: \"A/1b\": invalid feature name \"A/1b\": {WORDS}"
                )],
            ),
            (
                json!(["a"]),
                &[&format!(
                    "s.declaredFeatures[0]: Invalid value: \"a\": invalid feature name \"a\": {WORDS}"
                )],
            ),
        ];
        for (features, want) in cases {
            let status = json!({"declaredFeatures": features});
            let mut errs = Errors::new();
            super::features(&At::new(&status, "s"), &mut errs);
            let told: Vec<String> = errs.iter().map(ToString::to_string).collect();
            assert_eq!(told, *want, "{features}");
        }
    }

    #[test]
    fn swap_is_more_than_nothing() {
        for (capacity, want) in [
            (json!(1), None),
            (json!(null), None),
            (
                json!(0),
                Some(
                    "metadata.nodeSwapStatus.capacity: Invalid value: 0: must be greater than zero",
                ),
            ),
        ] {
            let status = json!({"nodeInfo": {"swap": {"capacity": capacity}}});
            let mut errs = Errors::new();
            swap(&At::new(&status, "s"), &mut errs);
            let told = errs.first().map(ToString::to_string);
            assert_eq!(told.as_deref(), want, "{capacity}");
        }
    }
}

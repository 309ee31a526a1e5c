//! What a pod may say.

use serde_json::Value;

use crate::{
    field::Errors,
    validation::{At, labels},
};

/// Checks the template of a workload.
pub fn template(template: &At, old: Option<&Value>, errs: &mut Errors) {
    let meta = template.get("metadata");
    // the original leaves `metadata` out of these paths
    labels::labels(
        &At {
            v: &meta.v["labels"],
            path: template.path.child("labels"),
        },
        errs,
    );
    labels::annotations(
        &At {
            v: &meta.v["annotations"],
            path: template.path.child("annotations"),
        },
        errs,
    );
    spec(&template.get("spec"), old.map(|o| &o["spec"]), errs);
}

/// Checks a pod spec.
pub fn spec(spec: &At, _old: Option<&Value>, errs: &mut Errors) {
    if spec.items("containers").next().is_none() {
        errs.push(spec.get("containers").required(""));
    }
}

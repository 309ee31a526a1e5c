//! Labels of endpoints' places, which `v1beta1` of EndpointSlices had and `v1` only keeps.

use std::collections::BTreeSet;

use knarr_json::Value;

use super::{
    Context,
    common::clear,
    defaults::{each, set_text},
};
use crate::{
    names,
    validation::{list, text},
};

const FIELD: &str = "deprecatedTopology";
const HOST: &str = "kubernetes.io/hostname";

/// Takes what is written to the field in today's version away. A node's name that was told there before goes where it is
/// told now.
pub fn drop(ctx: &Context, slice: &mut Value, old: Option<&Value>) {
    let before = old.map_or(&Value::Null, |o| &o["endpoints"]);
    if ctx.old.is_some() || (old.is_some() && slice["endpoints"] == *before) {
        return;
    }
    let known: BTreeSet<&str> = list(before)
        .iter()
        .map(|endpoint| text(&endpoint[FIELD], HOST))
        .collect();
    for endpoint in each(slice, "endpoints").filter(|e| e.is_object()) {
        let node = text(&endpoint[FIELD], HOST).to_owned();
        if known.contains(node.as_str()) && names::dns1123_subdomain(&node).is_empty() {
            set_text(endpoint, "nodeName", &node);
        }
        clear(endpoint, FIELD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn only_the_version_of_old_writes_it() {
        let told = json!({"addresses": ["10.0.0.1"], FIELD: {HOST: "n", "rack": "r"}});
        let more = json!({"addresses": ["10.0.0.2"]});
        let named = json!({"addresses": ["10.0.0.1"], "nodeName": "n"});
        let plain = json!({"addresses": ["10.0.0.1"]});
        for (old, new, worded_in, want) in [
            (None, json!([told]), None, json!([plain])),
            (None, json!([told]), Some("v1beta1"), json!([told])),
            (Some(json!([told])), json!([told]), None, json!([told])),
            (
                Some(json!([told])),
                json!([told, more]),
                None,
                json!([named, more]),
            ),
            (Some(json!([more])), json!([told]), None, json!([plain])),
        ] {
            let ctx = Context {
                old: worded_in,
                ..Context::default()
            };
            let mut slice = json!({"endpoints": new});
            let before = old.map(|endpoints| json!({"endpoints": endpoints}));
            drop(&ctx, &mut slice, before.as_ref());
            assert_eq!(slice["endpoints"], want, "{before:?} {worded_in:?}");
        }
    }
}

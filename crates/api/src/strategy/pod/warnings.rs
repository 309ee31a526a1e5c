//! Warnings about pods and pod templates.

use serde_json::Value;

use crate::validation::At;

/// Warnings about the template of a workload.
pub fn template(_template: &At, _old: Option<&Value>) -> Vec<String> {
    Vec::new()
}

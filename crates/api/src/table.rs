//! Table answers: the columns that `kubectl get` prints.

use jiff::Timestamp;
use serde_json::Value;

use crate::strategy::Column;

/// Name and Created At, what a kind without columns of its own gets.
pub fn default_columns() -> Vec<Column> {
    vec![
        Column {
            name: "Name",
            kind: "string",
            format: "name",
            description: "Name must be unique within a namespace.",
            priority: 0,
        },
        Column {
            name: "Created At",
            kind: "date",
            format: "",
            description: "CreationTimestamp is when the server made the object.",
            priority: 0,
        },
    ]
}

/// Cells for [`default_columns`].
pub fn default_cells(object: &Value, _now: Timestamp) -> Vec<Value> {
    let meta = &object["metadata"];
    vec![meta["name"].clone(), meta["creationTimestamp"].clone()]
}

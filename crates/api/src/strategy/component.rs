//! ComponentStatuses: how the parts of the control plane once told of their health.

use jiff::Timestamp;
use knarr_json::Value;

use super::{Column, Strategy};
use crate::{
    table,
    validation::{list, text},
};

/// `v1/ComponentStatus`.
pub struct ComponentStatus;

impl Strategy for ComponentStatus {
    fn deprecated(&self) -> Option<&'static str> {
        Some("v1 ComponentStatus is deprecated in v1.19+")
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column("Status", "Status of the component conditions"),
            table::column("Message", "Message of the component conditions"),
            table::column("Error", "Error of the component conditions"),
        ]
    }

    fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let healthy = list(&object["conditions"])
            .iter()
            .find(|c| text(c, "type") == "Healthy");
        let status = match healthy.map(|c| text(c, "status")) {
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
            None => "Unknown",
        };
        let told = |key| healthy.map_or("", |c| text(c, key));
        vec![
            table::name_of(object),
            status.into(),
            told("message").into(),
            told("error").into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use knarr_json::json;

    use super::*;

    #[test]
    fn rows() {
        for (conditions, want) in [
            (json!([]), json!(["c", "Unknown", "", ""])),
            (
                json!([{"type": "Healthy", "status": "True", "message": "ok"}]),
                json!(["c", "Healthy", "ok", ""]),
            ),
            (
                json!([{"type": "Healthy", "status": "False", "error": "e"}]),
                json!(["c", "Unhealthy", "", "e"]),
            ),
        ] {
            let object = json!({"metadata": {"name": "c"}, "conditions": conditions});
            let cells = ComponentStatus.cells(&object, Timestamp::UNIX_EPOCH);
            assert_eq!(Value::from(cells), want, "{conditions}");
        }
    }
}

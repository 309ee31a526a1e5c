//! Printer columns of custom resources.

use jiff::Timestamp;
use knarr_json::Value;

use super::{jsonpath::JsonPath, number};
use crate::{go, strategy::Column, table};

/// A column that a definition adds.
#[derive(Debug, Clone, PartialEq)]
pub struct PrinterColumn {
    pub column: Column,
    path: JsonPath,
}

/// Reads `additionalPrinterColumns`. The first one that cannot be parsed ends them, as in the original.
pub fn compile(columns: &Value) -> Vec<PrinterColumn> {
    let given = columns.items();
    if given.is_empty() {
        return compile(&default());
    }
    given.iter().map_while(one).collect()
}

/// What a definition without columns has.
fn default() -> Value {
    knarr_json::json!([{"name": "Age", "type": "date", "description": table::AGE, "jsonPath": ".metadata.creationTimestamp"}])
}

fn one(column: &Value) -> Option<PrinterColumn> {
    let text = |key: &str| column[key].as_str().unwrap_or_default().to_owned();
    let written = text("jsonPath");
    let description = match text("description") {
        text if text.is_empty() => {
            format!("Custom resource definition column (in JSONPath format): {written}")
        }
        text => text,
    };
    Some(PrinterColumn {
        path: JsonPath::parse(&written)?,
        column: Column {
            name: text("name").into(),
            kind: text("type").into(),
            format: text("format").into(),
            description: description.into(),
            priority: column["priority"]
                .as_i64()
                .and_then(|p| p.try_into().ok())
                .unwrap_or(0),
        },
    })
}

impl PrinterColumn {
    /// The cell of an object; null when it has no such value.
    pub fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found = self.path.find(object);
        let Some(value) = found.first() else {
            return Value::Null;
        };
        match &*self.column.kind {
            "string" => printed(value).into(),
            "integer" => match (value.as_i64(), value.as_f64()) {
                (Some(n), _) => n.into(),
                (None, Some(f)) => (f as i64).into(),
                _ => Value::Null,
            },
            "number" if value.is_number() => (*value).clone(),
            "boolean" if value.is_boolean() => (*value).clone(),
            "date" => match value.as_str() {
                Some(text) if text.parse::<Timestamp>().is_err() => "<invalid>".into(),
                Some(_) => table::since(value, now).into(),
                None => Value::Null,
            },
            _ => Value::Null,
        }
    }
}

/// A value as the original's JSON paths print it.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.to_string(),
        Value::Number(n) if !n.is_i64() => number::go(n.as_f64().unwrap_or(0.0)),
        other => go::json(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn cells_are_of_their_columns_type() {
        let columns = compile(&json!([
            {"name": "A", "type": "string", "jsonPath": ".a"}, {"name": "B", "type": "integer", "jsonPath": ".b"},
            {"name": "C", "type": "date", "jsonPath": ".c"}, {"name": "D", "type": "number", "jsonPath": ".d"}]));
        let object = json!({"a": {"x": [1, "y"]}, "b": "text", "c": "never", "d": 1.5});
        let cells: Vec<Value> = columns
            .iter()
            .map(|c| c.cell(&object, Timestamp::UNIX_EPOCH))
            .collect();
        assert_eq!(
            cells,
            [
                json!("{\"x\":[1,\"y\"]}"),
                json!(null),
                json!("<invalid>"),
                json!(1.5)
            ]
        );
        assert_eq!(compile(&json!(null))[0].column.name, "Age");
    }
}

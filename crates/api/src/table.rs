//! Table answers: the columns that `kubectl get` prints, and how times and lists are written in them.

use jiff::Timestamp;
use knarr_json::Value;

use crate::strategy::Column;

/// Description of a name column.
pub const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
/// Description of an age column.
pub const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// The name column.
pub fn name() -> Column {
    Column {
        name: "Name".into(),
        kind: "string".into(),
        format: "name".into(),
        description: NAME.into(),
        priority: 0,
    }
}

/// The age column.
pub fn age() -> Column {
    column("Age", AGE)
}

/// A column of text.
pub fn column(name: &'static str, description: &'static str) -> Column {
    Column {
        name: name.into(),
        kind: "string".into(),
        format: "".into(),
        description: description.into(),
        priority: 0,
    }
}

/// A column of a number.
pub fn count(name: &'static str, description: &'static str) -> Column {
    Column {
        kind: "integer".into(),
        ..column(name, description)
    }
}

/// A column of text that `-o wide` shows.
pub fn wide(name: &'static str, description: &'static str) -> Column {
    Column {
        priority: 1,
        ..column(name, description)
    }
}

/// Name and Age: what a kind without columns of its own gets.
pub fn default_columns() -> Vec<Column> {
    vec![
        name(),
        Column {
            name: "Created At".into(),
            kind: "date".into(),
            format: "".into(),
            description: AGE.into(),
            priority: 0,
        },
    ]
}

/// Cells for [`default_columns`].
pub fn default_cells(object: &Value, _now: Timestamp) -> Vec<Value> {
    let meta = &object["metadata"];
    vec![meta["name"].clone(), meta["creationTimestamp"].clone()]
}

/// The name cell.
pub fn name_of(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

/// The age cell.
pub fn age_of(object: &Value, now: Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

/// How long ago a time was; `<unknown>` when there is none.
pub fn since(time: &Value, now: Timestamp) -> String {
    match time.as_str().and_then(|t| t.parse::<Timestamp>().ok()) {
        Some(then) => duration(now.as_second() - then.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// Seconds as people read them: `7s`, `3m20s`, `5h`, `2d3h`, `3y`.
pub fn duration(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let s = seconds.max(0);
    let (m, h, d) = (s / 60, s / 3600, s / 86400);
    let with = |whole: i64, unit: &str, rest: i64, small: &str| {
        if rest == 0 {
            format!("{whole}{unit}")
        } else {
            format!("{whole}{unit}{rest}{small}")
        }
    };
    match () {
        () if s < 120 => format!("{s}s"),
        () if m < 10 => with(m, "m", s % 60, "s"),
        () if m < 180 => format!("{m}m"),
        () if h < 8 => with(h, "h", m % 60, "m"),
        () if h < 48 => format!("{h}h"),
        () if h < 192 => with(d, "d", h % 24, "h"),
        () if d < 365 * 2 => format!("{d}d"),
        () if d < 365 * 8 => with(d / 365, "y", d % 365, "d"),
        () => format!("{}y", d / 365),
    }
}

/// Labels or a selector as `a=1,b=2`; `<none>` when empty.
pub fn labels(map: &Value) -> String {
    let parts: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    if parts.is_empty() {
        "<none>".to_owned()
    } else {
        parts.join(",")
    }
}

/// A `LabelSelector` in its string form; `<none>` when it is absent or selects everything.
pub fn selector(selector: &Value) -> String {
    match crate::selector::LabelSelector::from_object(selector) {
        Ok(s) if s.is_everything() || selector.is_null() => "<none>".to_owned(),
        Ok(s) => s.to_string(),
        Err(_) => "<error>".to_owned(),
    }
}

/// Names and images of a list of containers, each joined with commas.
pub fn containers(containers: &Value) -> (String, String) {
    let join = |key: &str| {
        let all: Vec<&str> = crate::validation::list(containers)
            .iter()
            .map(|c| crate::validation::text(c, key))
            .collect();
        all.join(",")
    };
    (join("name"), join("image"))
}

/// A string cell, `<none>` when empty.
pub fn or_none(text: &str) -> Value {
    if text.is_empty() {
        "<none>".into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        for (seconds, want) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (601, "10m"),
            (3 * 3600 + 60, "3h1m"),
            (9 * 3600, "9h"),
            (49 * 3600, "2d1h"),
            (9 * 86400, "9d"),
            (800 * 86400, "2y70d"),
            (9 * 365 * 86400, "9y"),
        ] {
            assert_eq!(duration(seconds), want, "{seconds}");
        }
    }
}

//! Label selectors: their object form, and what they match.

use std::{collections::BTreeSet, fmt};

use knarr_json::{Text, Value};

use super::parser;
use crate::{
    field::{self, Error, Path},
    head::Head,
    names,
    validation::{list, text},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: BTreeSet<String>,
}

impl Requirement {
    /// Builds a requirement, checking key and values.
    ///
    /// # Errors
    /// With the original's words for what is wrong.
    pub fn new(key: &str, operator: Operator, values: BTreeSet<String>) -> Result<Self, String> {
        let mut errs: Vec<Error> = valid_key(key, &Path::new("key"))
            .err()
            .into_iter()
            .collect();
        check_values(key, operator, &values, &mut errs);
        if errs.is_empty() {
            Ok(Requirement {
                key: key.to_owned(),
                operator,
                values,
            })
        } else {
            Err(field::aggregate(&errs))
        }
    }

    /// Whether a label with this value (none: the label is absent) is what is wanted.
    pub fn matches(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compares(value, |a, b| a > b),
            Operator::LessThan => self.compares(value, |a, b| a < b),
        }
    }

    fn compares(&self, value: Option<&str>, holds: fn(i64, i64) -> bool) -> bool {
        let bound = self.values.first().and_then(|b| b.parse().ok());
        match (value.and_then(|v| v.parse().ok()), bound) {
            (Some(value), Some(bound)) => holds(value, bound),
            _ => false,
        }
    }
}

fn check_values(key: &str, operator: Operator, values: &BTreeSet<String>, errs: &mut Vec<Error>) {
    let path = Path::new("values");
    let shown = || values.iter().cloned().collect::<Vec<_>>();
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            errs.push(Error::invalid(
                &path,
                shown(),
                "for 'in', 'notin' operators, values set can't be empty",
            ));
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            errs.push(Error::invalid(
                &path,
                shown(),
                "values set must be empty for exists and does not exist",
            ));
        }
        Operator::GreaterThan | Operator::LessThan => {
            for (i, v) in values
                .iter()
                .enumerate()
                .filter(|(_, v)| v.parse::<i64>().is_err())
            {
                let words = "for 'Gt', 'Lt' operators, the value must be an integer";
                errs.push(Error::invalid(&path.index(i), v.as_str(), words));
            }
        }
        _ => {}
    }
    for (i, v) in values.iter().enumerate() {
        let wrong = names::label_value(v);
        if !wrong.is_empty() {
            let path = path.index(i).key(key);
            errs.push(Error::invalid(&path, v.as_str(), wrong.join("; ")));
        }
    }
}

pub(super) fn valid_key(key: &str, path: &Path) -> Result<(), Error> {
    let wrong = names::qualified_name(key);
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::invalid(path, key, wrong.join("; ")))
    }
}

/// All of the requirements must hold; none at all means everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub requirements: Vec<Requirement>,
    /// Set for the selector that matches nothing: one that is absent where absence means nothing.
    nothing: bool,
}

impl LabelSelector {
    pub fn everything() -> Self {
        Self::default()
    }

    pub fn nothing() -> Self {
        LabelSelector {
            requirements: Vec::new(),
            nothing: true,
        }
    }

    /// The terms that must all hold.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Parses the string form, as in queries.
    ///
    /// # Errors
    /// With the original's words for what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(LabelSelector {
            requirements: parser::parse(text)?,
            nothing: false,
        })
    }

    /// From a `metav1.LabelSelector`; null matches nothing, an empty one everything.
    ///
    /// # Errors
    /// When an operator is unknown or has the wrong number of values.
    pub fn from_object(selector: &Value) -> Result<Self, String> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = Vec::new();
        for r in equality(&selector["matchLabels"]) {
            requirements.push(Requirement::new(&r.key, r.operator, r.values)?);
        }
        for r in list(&selector["matchExpressions"]) {
            let values = list(&r["values"])
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            let operator = match text(r, "operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            requirements.push(Requirement::new(text(r, "key"), operator, values)?);
        }
        Ok(LabelSelector {
            requirements,
            nothing: false,
        })
    }

    /// From a plain map of labels, as Services and ReplicationControllers have: null or empty matches everything.
    pub fn from_map(labels: &Value) -> Self {
        LabelSelector {
            requirements: equality(labels),
            nothing: false,
        }
    }

    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether labels given by `get` are selected.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }

    /// Whether a stored object is selected.
    pub fn matches(&self, head: &Head) -> bool {
        self.matches_with(|key| head.label(key))
    }

    /// Whether a JSON map of labels (null: none) is selected.
    pub fn matches_labels(&self, labels: &Value) -> bool {
        self.matches_with(|key| labels.get(key).and_then(Value::as_str))
    }
}

fn equality(labels: &Value) -> Vec<Requirement> {
    let one = |(k, v): (&Text, &Value)| Requirement {
        key: k.to_string(),
        operator: Operator::In,
        values: BTreeSet::from([v.as_str().unwrap_or_default().to_owned()]),
    };
    labels.as_object().into_iter().flatten().map(one).collect()
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.iter().map(String::as_str).collect::<Vec<_>>();
        let (key, joined) = (&self.key, values.join(","));
        match (self.operator, values.len()) {
            (Operator::In, 1) => write!(f, "{key}={joined}"),
            (Operator::In, _) => write!(f, "{key} in ({joined})"),
            (Operator::NotIn, 1) => write!(f, "{key}!={joined}"),
            (Operator::NotIn, _) => write!(f, "{key} notin ({joined})"),
            (Operator::Exists, _) => write!(f, "{key}"),
            (Operator::DoesNotExist, _) => write!(f, "!{key}"),
            (Operator::GreaterThan, _) => write!(f, "{key}>{joined}"),
            (Operator::LessThan, _) => write!(f, "{key}<{joined}"),
        }
    }
}

impl fmt::Display for LabelSelector {
    /// The string form, sorted by key as the status of a Scale shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&Requirement> = self.requirements.iter().collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        let parts: Vec<String> = sorted.iter().map(ToString::to_string).collect();
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn selectors_of_objects_match() {
        let labels = json!({"app": "a", "tier": "web"});
        let of = |v: Value| LabelSelector::from_object(&v).unwrap();
        assert!(!of(Value::Null).matches_labels(&labels));
        assert!(of(json!({})).matches_labels(&labels));
        let both = json!({"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["web"]}]});
        assert!(of(both).matches_labels(&labels));
        assert!(
            LabelSelector::from_object(
                &json!({"matchExpressions": [{"key": "a", "operator": "Gt"}]})
            )
            .is_err()
        );
        assert_eq!(
            of(json!({"matchLabels": {"b": "2", "a": "1"}})).to_string(),
            "a=1,b=2"
        );
    }
}

//! Label selectors and node selectors, parsed once and matched often.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

/// Labels as objects have them.
pub type Labels = Option<BTreeMap<String, String>>;

/// The value of a label.
pub fn get<'a>(labels: &'a Labels, key: &str) -> Option<&'a str> {
    labels.as_ref()?.get(key).map(String::as_str)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Above(i64),
    Below(i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

impl Requirement {
    /// `None` for an operator that is none, which then matches nothing.
    fn parse(key: &str, operator: &str, values: Option<&Vec<String>>) -> Option<Self> {
        let list = || values.cloned().unwrap_or_default();
        let number = || values.and_then(|v| v.first()).and_then(|v| v.parse().ok());
        let test = match operator {
            "In" => Test::In(list()),
            "NotIn" => Test::NotIn(list()),
            "Exists" => Test::Exists,
            "DoesNotExist" => Test::Absent,
            "Gt" => Test::Above(number()?),
            "Lt" => Test::Below(number()?),
            _ => return None,
        };
        Some(Requirement {
            key: key.to_owned(),
            test,
        })
    }

    fn accepts(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.test {
            Test::In(list) => value.is_some_and(|v| list.iter().any(|l| l == v)),
            Test::NotIn(list) => value.is_none_or(|v| list.iter().all(|l| l != v)),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Above(limit) => number().is_some_and(|n| n > *limit),
            Test::Below(limit) => number().is_some_and(|n| n < *limit),
        }
    }
}

/// A label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// `None` matches nothing.
    all: Option<Vec<Requirement>>,
}

impl Selector {
    /// A missing selector matches nothing, an empty one everything.
    pub fn parse(selector: Option<&LabelSelector>) -> Self {
        let Some(selector) = selector else {
            return Selector { all: None };
        };
        let mut out = Selector::equal(selector.match_labels.as_ref().into_iter().flatten());
        for r in selector.match_expressions.iter().flatten() {
            match (
                Requirement::parse(&r.key, &r.operator, r.values.as_ref()),
                &mut out.all,
            ) {
                (Some(requirement), Some(all)) => all.push(requirement),
                _ => out.all = None,
            }
        }
        out
    }

    /// Matches labels that have all of these.
    pub fn equal<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let require = |(k, v): (&String, &String)| Requirement {
            key: k.clone(),
            test: Test::In(vec![v.clone()]),
        };
        Selector {
            all: Some(pairs.into_iter().map(require).collect()),
        }
    }

    /// Asks for one more: that the label have (or not have) this value.
    pub fn require(&mut self, key: &str, value: &str, equal: bool) {
        let values = vec![value.to_owned()];
        let test = if equal {
            Test::In(values)
        } else {
            Test::NotIn(values)
        };
        self.all.iter_mut().for_each(|all| {
            all.push(Requirement {
                key: key.to_owned(),
                test: test.clone(),
            })
        });
    }

    /// Asks for all that `other` asks for as well.
    pub fn narrow(&mut self, other: Selector) {
        match (&mut self.all, other.all) {
            (Some(all), Some(more)) => all.extend(more),
            _ => self.all = None,
        }
    }

    /// Matches everything.
    pub fn is_empty(&self) -> bool {
        self.all.as_ref().is_some_and(Vec::is_empty)
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.all
            .as_ref()
            .is_some_and(|all| all.iter().all(|r| r.accepts(get(labels, &r.key))))
    }
}

/// A term of a node selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTerm {
    labels: Vec<Requirement>,
    names: Vec<Requirement>,
}

impl NodeTerm {
    /// `None` for a term that can match no node: an empty one, or one that makes no sense.
    pub fn parse(term: &NodeSelectorTerm) -> Option<Self> {
        let parse = |list: &Option<Vec<NodeSelectorRequirement>>| -> Option<Vec<Requirement>> {
            let all = list.iter().flatten();
            all.map(|r| Requirement::parse(&r.key, &r.operator, r.values.as_ref()))
                .collect()
        };
        let (labels, names) = (parse(&term.match_expressions)?, parse(&term.match_fields)?);
        let known = names.iter().all(|r| r.key == "metadata.name");
        (known && !(labels.is_empty() && names.is_empty())).then_some(NodeTerm { labels, names })
    }

    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.labels.iter().all(|r| r.accepts(get(labels, &r.key)))
            && self.names.iter().all(|r| r.accepts(Some(name)))
    }

    /// The only node that can match, if the term names one.
    pub fn only_name(&self) -> Option<&str> {
        self.names.iter().find_map(|r| match &r.test {
            Test::In(list) if list.len() == 1 => Some(list[0].as_str()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Some(
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    fn selector(value: Value) -> Selector {
        Selector::parse(Some(&serde_json::from_value(value).expect("a selector")))
    }

    #[test]
    fn label_selectors() {
        let web = labels(&[("app", "web"), ("tier", "1")]);
        let table = [
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "db"}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "web"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["a"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "Exists"}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "Odd"}]}),
                false,
            ),
        ];
        for (value, want) in table {
            assert_eq!(selector(value.clone()).matches(&web), want, "{value}");
        }
        assert!(!Selector::parse(None).matches(&web));
        assert!(selector(json!({})).matches(&None));
        let mut narrowed = selector(json!({"matchLabels": {"app": "web"}}));
        narrowed.require("tier", "1", false);
        assert!(!narrowed.matches(&web));
    }

    #[test]
    fn node_terms() {
        let node = labels(&[("disk", "ssd"), ("cores", "8")]);
        let term = |value: Value| NodeTerm::parse(&serde_json::from_value(value).expect("a term"));
        let table = [
            (json!({}), None),
            (
                json!({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}),
                Some(true),
            ),
            (
                json!({"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["8"]}]}),
                Some(false),
            ),
            (
                json!({"matchExpressions": [{"key": "disk", "operator": "Gt", "values": ["x"]}]}),
                None,
            ),
            (
                json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}),
                Some(true),
            ),
            (
                json!({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n1"]}]}),
                Some(false),
            ),
            (
                json!({"matchFields": [{"key": "other", "operator": "In", "values": ["n1"]}]}),
                None,
            ),
        ];
        for (value, want) in table {
            assert_eq!(
                term(value.clone()).map(|t| t.matches("n1", &node)),
                want,
                "{value}"
            );
        }
        let named = term(
            json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}),
        )
        .unwrap();
        assert_eq!(named.only_name(), Some("n1"));
    }
}

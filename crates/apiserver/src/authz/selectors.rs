//! Selectors as authorizers and access reviews see them: a list of terms that must all hold.

use knarr_api::{
    field,
    selector::{FieldSelector, fields::FieldTerm},
};
use knarr_json::{Value, json};

/// One term of a selector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Term {
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: &'static str,
    pub values: Vec<String>,
}

impl Term {
    fn new(key: &str, operator: &'static str, values: Vec<String>) -> Self {
        Term {
            key: key.to_owned(),
            operator,
            values,
        }
    }

    /// Whether the term lets only this value of a field pass.
    pub fn is(&self, key: &str, value: &str) -> bool {
        self.key == key && self.operator == "In" && self.values == [value]
    }

    pub fn to_json(&self) -> Value {
        let mut out = json!({"key": self.key, "operator": self.operator});
        if !self.values.is_empty() {
            out["values"] = json!(self.values);
        }
        out
    }

    /// A requirement of a review; none with an operator that is none, which narrows nothing then.
    fn of(value: &Value) -> Option<Self> {
        let operator = match value["operator"].as_str()? {
            "In" => "In",
            "NotIn" => "NotIn",
            "Exists" => "Exists",
            "DoesNotExist" => "DoesNotExist",
            _ => return None,
        };
        let values = value["values"].as_array().into_iter().flatten();
        let values = values.filter_map(|v| v.as_str().map(str::to_owned));
        Some(Term::new(
            value["key"].as_str()?,
            operator,
            values.collect(),
        ))
    }
}

/// The terms of a field selector; none of a selector that cannot be read, as whoever lists is told so later.
pub(crate) fn fields(text: &str) -> Vec<Term> {
    let selector = FieldSelector::parse(text).unwrap_or_default();
    let term = |t: FieldTerm| {
        let operator = if t.equal { "In" } else { "NotIn" };
        Term::new(&t.field, operator, vec![t.value])
    };
    selector.terms.into_iter().map(term).collect()
}

/// The terms of a label selector.
pub(crate) fn labels(text: &str) -> Vec<Term> {
    use knarr_api::selector::{LabelSelector, Operator};
    if text.is_empty() {
        return Vec::new();
    }
    let Ok(selector) = LabelSelector::parse(text) else {
        return Vec::new();
    };
    let term = |r: &knarr_api::selector::Requirement| {
        let operator = match &r.operator {
            Operator::In => "In",
            Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            _ => return None,
        };
        Some(Term::new(
            &r.key,
            operator,
            r.values.iter().cloned().collect(),
        ))
    };
    selector.requirements().iter().filter_map(term).collect()
}

/// The terms of a review's `fieldSelector` or `labelSelector`.
pub(crate) fn of_review(selector: &Value, parse: fn(&str) -> Vec<Term>) -> Vec<Term> {
    match selector["rawSelector"].as_str().filter(|t| !t.is_empty()) {
        Some(text) => parse(text),
        None => {
            let listed = selector["requirements"].as_array().into_iter().flatten();
            listed.filter_map(Term::of).collect()
        }
    }
}

/// What is wrong with the `fieldSelector` or `labelSelector` of a review. Operators that are unknown are left to newer servers.
pub(crate) fn check(selector: &Value, path: &field::Path, errors: &mut Vec<field::Error>) {
    if !selector.is_object() {
        return;
    }
    let raw = selector["rawSelector"].as_str().unwrap_or_default();
    let listed = selector["requirements"].items();
    if !raw.is_empty() && !listed.is_empty() {
        let why = "may not specified at the same time as requirements";
        errors.push(field::Error::invalid(&path.child("rawSelector"), raw, why));
    }
    if raw.is_empty() && listed.is_empty() {
        let why = format!("when {path} is specified, requirements or rawSelector is required");
        errors.push(field::Error::required(&path.child("requirements"), why));
    }
    for (n, term) in listed.iter().enumerate() {
        let path = path.child("requirements").index(n);
        if term["key"].as_str().unwrap_or_default().is_empty() {
            errors.push(field::Error::required(
                &path.child("key"),
                "must be specified",
            ));
        }
        let values = term["values"].as_array().is_some_and(|v| !v.is_empty());
        let path = path.child("values");
        match term["operator"].as_str() {
            Some("In" | "NotIn") if !values => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(field::Error::required(&path, why));
            }
            Some("Exists" | "DoesNotExist") if values => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(field::Error::forbidden(&path, why));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read() {
        let got = fields(r"spec.nodeName=a\,b,metadata.name!=x,status==y");
        assert!(got.iter().any(|t| t.is("spec.nodeName", "a,b")));
        assert!(got.iter().any(|t| t.is("status", "y")));
        assert!(
            got.iter()
                .any(|t| t.operator == "NotIn" && t.values == ["x"])
        );
        assert!(fields("rubbish").is_empty() && fields("").is_empty());
        assert_eq!(labels("a in (b),!c").len(), 2);
        let review = json!({"requirements": [{"key": "k", "operator": "In", "values": ["v"]}, {"key": "k", "operator": "Near"}]});
        assert_eq!(of_review(&review, fields).len(), 1);
        assert!(of_review(&json!({"rawSelector": "k=v"}), fields)[0].is("k", "v"));
    }

    #[test]
    fn selectors_of_reviews_are_checked() {
        let wrong = |selector: Value| {
            let mut errors = Vec::new();
            check(&selector, &field::Path::new("s"), &mut errors);
            errors.len()
        };
        assert_eq!(wrong(Value::Null), 0);
        assert_eq!(wrong(json!({"rawSelector": "a=b"})), 0);
        assert_eq!(wrong(json!({})), 1);
        let term = json!({"key": "", "operator": "In"});
        assert_eq!(
            wrong(json!({"rawSelector": "a=b", "requirements": [term]})),
            3
        );
        assert_eq!(
            wrong(json!({"requirements": [{"key": "k", "operator": "Exists", "values": ["v"]}]})),
            1
        );
    }
}

//! Field selectors: `metadata.name=a,status.phase!=Running`.

use crate::head::Head;

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    pub field: String,
    /// False for `!=`.
    pub equal: bool,
    pub value: String,
}

/// All of the terms must hold; none at all means everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    pub terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Parses the string form. Whether the fields exist is the kind's to say: see [`FieldSelector::unknown`].
    ///
    /// # Errors
    /// With the original's words for what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = split_terms(text);
        parts.sort();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let (field, operator, value) = split_term(&part)
                .ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{part}'"))?;
            terms.push(FieldTerm {
                field: field.to_owned(),
                equal: operator != "!=",
                value: unescape(value)?,
            });
        }
        Ok(FieldSelector { terms })
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The first field that is neither metadata.name, metadata.namespace nor one of `known`.
    /// [`crate::strategy::Strategy::unknown_field`] has the words for it.
    pub fn unknown(&self, known: &[&str]) -> Option<&str> {
        let is_known =
            |f: &str| f == "metadata.name" || f == "metadata.namespace" || known.contains(&f);
        self.terms
            .iter()
            .map(|t| t.field.as_str())
            .find(|f| !is_known(f))
    }

    /// The fields selected.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|t| t.field.as_str())
    }

    /// Selects by the fields that `name` tells in place of those that were given.
    pub fn rename(&mut self, name: impl Fn(&str) -> &str) {
        for term in &mut self.terms {
            term.field = name(&term.field).to_owned();
        }
    }

    /// The fields selected that are neither metadata.name nor metadata.namespace.
    pub fn fields_beyond_metadata(&self) -> impl Iterator<Item = &str> {
        let fields = self.terms.iter().map(|t| t.field.as_str());
        fields.filter(|f| *f != "metadata.name" && *f != "metadata.namespace")
    }

    /// Whether something with these values of fields is selected.
    pub fn matches_by(&self, value: impl Fn(&str) -> String) -> bool {
        self.terms
            .iter()
            .all(|t| (value(&t.field) == t.value) == t.equal)
    }

    /// The value that this selector demands of a field, if it does.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|t| t.equal && t.field == field)
            .map(|t| t.value.as_str())
    }

    /// Whether a stored object is selected; a field that its kind does not have counts as empty.
    pub fn matches(&self, head: &Head) -> bool {
        self.terms
            .iter()
            .all(|t| (head.field(&t.field).unwrap_or_default() == t.value) == t.equal)
    }
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut part = String::new();
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            out.push(std::mem::take(&mut part));
        } else {
            part.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    out.push(part);
    out
}

fn split_term(term: &str) -> Option<(&str, &str, &str)> {
    for (i, _) in term.char_indices() {
        for operator in ["!=", "==", "="] {
            if let Some(value) = term[i..].strip_prefix(operator) {
                return Some((&term[..i], operator, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => {
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: \\{c}"
                    ));
                }
                None => {
                    return Err("invalid field selector: invalid escape sequence: \\".to_owned());
                }
            },
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {c}"
                ));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_selectors_match() {
        let fields = vec![("status.phase", "Running".to_owned())];
        let head = Head {
            name: "a".into(),
            namespace: "n".into(),
            fields,
            ..Head::default()
        };
        for (text, want) in [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==a,metadata.namespace=n", true),
            ("metadata.name!=a", false),
            ("status.phase!=Failed", true),
            ("status.phase=", false),
            ("metadata.name=a,metadata.name=b", false),
        ] {
            assert_eq!(
                FieldSelector::parse(text).unwrap().matches(&head),
                want,
                "{text}"
            );
        }
    }

    #[test]
    fn wrong_and_unknown_terms_are_told() {
        for (text, part) in [
            ("metadata.name", "metadata.name"),
            ("metadata.name in (a,b)", "b)"),
        ] {
            let want = format!("invalid selector: '{text}'; can't understand '{part}'");
            assert_eq!(FieldSelector::parse(text).unwrap_err(), want);
        }
        assert_eq!(
            FieldSelector::parse("a=b\\,c").unwrap().terms[0].value,
            "b,c"
        );
        assert_eq!(
            FieldSelector::parse("spec.x=1")
                .unwrap()
                .unknown(&["spec.y"]),
            Some("spec.x")
        );
    }
}

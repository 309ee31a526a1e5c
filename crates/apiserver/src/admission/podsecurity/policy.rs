//! What a namespace's labels ask of its pods.

use std::{cmp::Ordering, fmt};

use knarr_api::field;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How strict. The order is that of strictness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

/// Whose rules: those of a minor version of Kubernetes, or the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    #[default]
    Latest,
    Minor(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rule {
    pub level: Level,
    pub version: Version,
}

/// What refuses pods, what is noted in the audit log, and what is warned about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    pub enforce: Rule,
    pub audit: Rule,
    pub warn: Rule,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

impl Version {
    /// Whether rules since `minor` are part of this version.
    pub fn has(self, minor: u32) -> bool {
        match self {
            Version::Latest => true,
            Version::Minor(own) => own >= minor,
        }
    }
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(Version::Latest);
    }
    let minor = text.strip_prefix("v1.")?;
    let plain = minor == "0" || !minor.starts_with('0');
    let digits = plain && !minor.is_empty() && minor.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| minor.parse().ok().map(Version::Minor))?
}

impl Policy {
    /// From labels. What cannot be read counts as strict where pods are refused and as nothing where they are not.
    /// Where they say nothing, `default` holds.
    pub fn of<'a>(
        default: Policy,
        label: impl Fn(&str) -> Option<&'a str>,
    ) -> (Self, field::Errors) {
        let mut errors = field::Errors::new();
        let mut policy = default;
        let given = |what: &str| label(&format!("{PREFIX}{what}"));
        let mut bad = |what: &str, value: &str, why: &str| {
            let path = field::Path::new("metadata").child("labels");
            let path = path.key(&format!("{PREFIX}{what}"));
            errors.push(field::Error::invalid(&path, value, why));
        };
        let mut enforced = (false, false);
        for (mode, rule, closed) in [
            ("enforce", &mut policy.enforce, true),
            ("audit", &mut policy.audit, false),
            ("warn", &mut policy.warn, false),
        ] {
            if let Some(text) = given(mode) {
                let read = level(text);
                if read.is_none() {
                    bad(
                        mode,
                        text,
                        "must be one of privileged, baseline, restricted",
                    );
                }
                let fallback = if closed {
                    Level::Restricted
                } else {
                    Level::Privileged
                };
                rule.level = read.unwrap_or(fallback);
                enforced.0 |= closed && read.is_some();
            }
            let name = format!("{mode}-version");
            if let Some(text) = given(&name) {
                let read = version(text);
                if read.is_none() {
                    bad(&name, text, "must be \"latest\" or \"v1.x\"");
                }
                rule.version = read.unwrap_or_default();
                enforced.1 |= closed && read.is_some();
            }
        }
        // Who makes workloads whose pods will be refused hears so at once.
        if given("warn").is_none() && enforced.0 {
            policy.warn.level = policy.warn.level.max(policy.enforce.level);
        }
        if given("warn-version").is_none() && enforced.1 {
            policy.warn.version = policy.enforce.version;
        }
        (policy, errors)
    }

    pub fn is_privileged(&self) -> bool {
        let rules = [self.enforce, self.audit, self.warn];
        rules.iter().all(|rule| rule.level == Level::Privileged)
    }
}

impl Rule {
    /// Whether going from `old` to this one can make pods wrong that were right.
    pub fn is_stricter_than(&self, old: &Rule) -> bool {
        *self != *old
            && self.level != Level::Privileged
            && !(self.version == old.version && self.level.cmp(&old.level) != Ordering::Greater)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(labels: &[(&str, &str)]) -> (String, usize) {
        let (policy, errors) = Policy::of(Policy::default(), |key| {
            let name = key.strip_prefix(PREFIX)?;
            labels.iter().find(|(k, _)| *k == name).map(|(_, v)| *v)
        });
        let shown = format!("{} {} {}", policy.enforce, policy.audit, policy.warn);
        (shown, errors.len())
    }

    #[test]
    fn labels_make_a_policy() {
        type Labels<'a> = &'a [(&'a str, &'a str)];
        let table: [(Labels<'_>, &str, usize); 6] = [
            (
                &[],
                "privileged:latest privileged:latest privileged:latest",
                0,
            ),
            (
                &[("enforce", "baseline"), ("enforce-version", "v1.20")],
                "baseline:v1.20 privileged:latest baseline:v1.20",
                0,
            ),
            (
                &[("enforce", "restricted"), ("warn", "baseline")],
                "restricted:latest privileged:latest baseline:latest",
                0,
            ),
            (
                &[
                    ("enforce", "what"),
                    ("audit", "what"),
                    ("audit-version", "v2"),
                ],
                "restricted:latest privileged:latest privileged:latest",
                3,
            ),
            (
                &[("warn", "restricted"), ("warn-version", "v1.01")],
                "privileged:latest privileged:latest restricted:latest",
                1,
            ),
            (
                &[("audit", "baseline")],
                "privileged:latest baseline:latest privileged:latest",
                0,
            ),
        ];
        for (labels, shown, errors) in table {
            assert_eq!(policy(labels), (shown.to_owned(), errors), "{labels:?}");
        }
    }
}

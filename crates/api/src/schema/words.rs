//! What built-in types and fields are for, in plain words: what `kubectl explain` shows.
//!
//! The texts are in files beside this one, one per group and version, and one for what many types share:
//!
//! ```text
//! package io.k8s.api.core.v1
//! Container: A program …             a type …
//!  image: Name of the image.         … and its fields
//! EphemeralContainer like Container: A container …     has the other's words for fields that it does not tell itself
//! *VolumeSource                      all types whose names end so; in their own words, {} is what stands for the star
//!  readOnly: Whether …
//! ```
//!
//! A type's own words go before those that it is like; then come types of the same name in other versions of its group,
//! then stars. Nothing here is read before an OpenAPI document is made.

use std::{borrow::Cow, collections::HashMap, iter, sync::LazyLock};

/// In the order in which versions of a group are asked for types that others of them tell nothing about.
static FILES: &[&str] = &[
    include_str!("words/meta.v1.words"),
    include_str!("words/core.v1.words"),
    include_str!("words/admissionregistration.v1.words"),
    include_str!("words/apidiscovery.v2.words"),
    include_str!("words/apiextensions.v1.words"),
    include_str!("words/apiregistration.v1.words"),
    include_str!("words/apps.v1.words"),
    include_str!("words/authentication.v1.words"),
    include_str!("words/authorization.v1.words"),
    include_str!("words/autoscaling.v2.words"),
    include_str!("words/autoscaling.v1.words"),
    include_str!("words/batch.v1.words"),
    include_str!("words/certificates.v1.words"),
    include_str!("words/coordination.v1.words"),
    include_str!("words/discovery.v1.words"),
    include_str!("words/discovery.v1beta1.words"),
    include_str!("words/events.v1.words"),
    include_str!("words/flowcontrol.v1.words"),
    include_str!("words/networking.v1.words"),
    include_str!("words/node.v1.words"),
    include_str!("words/policy.v1.words"),
    include_str!("words/rbac.v1.words"),
    include_str!("words/resource.v1.words"),
    include_str!("words/scheduling.v1.words"),
    include_str!("words/storage.v1.words"),
    include_str!("words/version.words"),
    include_str!("words/apiextensions.v1beta1.words"),
    include_str!("words/authorization.v1beta1.words"),
    include_str!("words/autoscaling.v2beta1.words"),
    include_str!("words/certificates.v1beta1.words"),
    include_str!("words/extensions.v1beta1.words"),
    include_str!("words/flowcontrol.v1beta2.words"),
    include_str!("words/networking.v1beta1.words"),
    include_str!("words/resource.v1beta1.words"),
    include_str!("words/storagemigration.v1beta1.words"),
    include_str!("words/apiserverinternal.v1alpha1.words"),
    include_str!("words/coordination.v1alpha2.words"),
    include_str!("words/resource.v1alpha3.words"),
    include_str!("words/scheduling.v1alpha2.words"),
];

/// What types of all groups share, and types that are scalars in JSON.
static COMMON: &str = include_str!("words/common.words");

static ALL: LazyLock<Vec<File>> = LazyLock::new(|| FILES.iter().map(|f| File::read(f)).collect());
static SHARED: LazyLock<File> = LazyLock::new(|| File::read(COMMON));

/// Feeds all words to a hasher.
pub(super) fn hash(hasher: &mut impl std::hash::Hasher) {
    std::hash::Hash::hash(&(FILES, COMMON), hasher);
}

/// What is said of one type, or of several.
struct Section {
    /// Empty when the type has none of its own.
    words: &'static str,
    /// Name of the type that this one is like; mostly empty.
    like: &'static str,
    /// Lines of its fields.
    body: &'static str,
}

impl Section {
    fn field(&self, name: &str) -> Option<&'static str> {
        let after = |line: &'static str| {
            line.strip_prefix(' ')?
                .strip_prefix(name)?
                .strip_prefix(": ")
        };
        self.body.lines().find_map(after)
    }
}

struct File {
    /// `io.k8s.api.core.v1`
    prefix: &'static str,
    types: HashMap<&'static str, Section>,
    /// By what names end with.
    stars: Vec<(&'static str, Section)>,
}

impl File {
    fn read(text: &'static str) -> Self {
        let mut file = File {
            prefix: "",
            types: HashMap::new(),
            stars: Vec::new(),
        };
        for (head, body) in sections(text) {
            if let Some(prefix) = head.strip_prefix("package ") {
                file.prefix = prefix;
                continue;
            }
            let (name, words) = head.split_once(": ").unwrap_or((head, ""));
            let (name, like) = name.split_once(" like ").unwrap_or((name, ""));
            let section = Section { words, like, body };
            match name.strip_prefix('*') {
                Some(end) => file.stars.push((end, section)),
                None => {
                    file.types.insert(name, section);
                }
            }
        }
        file
    }

    /// `io.k8s.api.core`
    fn group(&self) -> &'static str {
        self.prefix.rsplit_once('.').map_or("", |(group, _)| group)
    }
}

/// Cuts a text into lines that begin at the margin, each with the lines below that do not.
fn sections(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut rest = text;
    iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (head, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let inner = after
            .split_inclusive('\n')
            .take_while(|l| l.starts_with(' '));
        let (body, next) = after.split_at(inner.map(str::len).sum());
        rest = next;
        Some((head, body))
    })
}

/// All that is said of one type, the most fitting first; with what stands for the star.
pub(crate) struct Words<'n>(Vec<(&'static Section, &'n str)>);

impl<'n> Words<'n> {
    /// By a full name: `io.k8s.api.core.v1.PodSpec`. Nothing is said of types that are not built in.
    pub fn of(full: &'n str) -> Self {
        let mut found = Words(Vec::new());
        let Some((prefix, name)) = full.rsplit_once('.') else {
            return found;
        };
        let group = prefix.rsplit_once('.').map_or("", |(group, _)| group);
        let (own, others): (Vec<&File>, Vec<&File>) = ALL
            .iter()
            .filter(|f| f.group() == group)
            .partition(|f| f.prefix == prefix);
        let files: Vec<&'static File> = own.into_iter().chain(others).collect();
        if files.is_empty() {
            return found;
        }
        for file in &files {
            let Some(section) = file.types.get(name) else {
                continue;
            };
            found.0.push((section, name));
            let liked = files.iter().filter_map(|f| f.types.get(section.like));
            found.0.extend(liked.map(|s| (s, name)));
        }
        let stars = files
            .iter()
            .copied()
            .chain([&*SHARED])
            .flat_map(|f| &f.stars);
        let fitting = stars.filter_map(|(end, section)| Some((section, name.strip_suffix(end)?)));
        found.0.extend(fitting);
        found
    }

    /// What the type is for.
    pub fn own(&self) -> Option<Cow<'static, str>> {
        let (section, stem) = self.0.iter().find(|(s, _)| !s.words.is_empty())?;
        Some(if section.words.contains("{}") {
            section.words.replace("{}", stem).into()
        } else {
            section.words.into()
        })
    }

    /// What a field is for.
    pub fn field(&self, name: &str) -> Option<&'static str> {
        self.0.iter().find_map(|(section, _)| section.field(name))
    }
}

/// What a type is that is a scalar in JSON, by its full name.
pub(crate) fn scalar(full: &str) -> Option<&'static str> {
    let name = full.rsplit('.').next()?;
    SHARED.types.get(name).map(|section| section.words)
}

/// What a field is for that objects of every kind have.
pub(crate) fn of_every_kind(field: &str) -> &'static str {
    let any = SHARED.stars.iter().find(|(end, _)| end.is_empty());
    any.and_then(|(_, section)| section.field(field))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::builtin;
    use std::collections::HashSet;

    /// Every text with its place, those of scalars left out.
    fn texts() -> Vec<(String, &'static str)> {
        let mut out = Vec::new();
        for text in FILES.iter().copied().chain([COMMON]) {
            let package = File::read(text).prefix;
            for (head, body) in sections(text) {
                let (name, words) = head.split_once(": ").unwrap_or((head, ""));
                if !words.is_empty() && (!package.is_empty() || name.starts_with('*')) {
                    out.push((format!("{package} {name}"), words));
                }
                let fields = body.lines().map(|l| {
                    let (field, words) = l.trim_start().split_once(": ").unwrap_or((l, ""));
                    (format!("{package} {name} {field}"), words)
                });
                out.extend(fields);
            }
        }
        out
    }

    #[test]
    fn every_type_and_field_has_words_and_nothing_else_has() {
        let mut missing = Vec::new();
        let mut used = HashSet::new();
        for (_, schema) in builtin::all() {
            let words = Words::of(&schema.name);
            match words.0.iter().find(|(s, _)| !s.words.is_empty()) {
                Some((section, _)) => {
                    used.insert(section.words.as_ptr());
                }
                None => missing.push(schema.name.to_string()),
            }
            for field in &schema.fields {
                match words.field(&field.name) {
                    Some(text) => {
                        used.insert(text.as_ptr());
                    }
                    None => missing.push(format!("{}.{}", schema.name, field.name)),
                }
            }
        }
        assert!(missing.is_empty(), "without words: {missing:#?}");
        let idle: Vec<String> = texts()
            .into_iter()
            .filter(|(_, words)| !used.contains(&words.as_ptr()))
            .map(|(place, _)| place)
            .collect();
        assert!(idle.is_empty(), "words for nothing: {idle:#?}");
    }

    #[test]
    fn every_file_is_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/schema/words");
        let files = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(files, FILES.len() + 1);
    }

    #[test]
    fn words_are_short_sentences() {
        let all = texts();
        assert!(all.len() > 2000, "{} texts", all.len());
        let scalars = SHARED.types.iter().map(|(n, s)| (n.to_string(), s.words));
        let wrong: Vec<String> = all
            .into_iter()
            .chain(scalars)
            .filter(|(_, words)| {
                !words.starts_with(|c: char| c.is_ascii_uppercase())
                    || !words.ends_with('.')
                    || words.contains("  ")
                    || words.len() > 300
            })
            .map(|(place, words)| format!("{place}: {words}"))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn no_type_or_field_is_told_twice_in_one_place() {
        for text in FILES.iter().copied().chain([COMMON]) {
            let mut seen = HashSet::new();
            for (head, body) in sections(text) {
                let name = head.split(": ").next().and_then(|n| n.split(' ').next());
                let name = name.unwrap_or_default();
                assert!(seen.insert((name, "")), "{name}");
                for line in body.lines() {
                    let field = line.trim_start().split(": ").next().unwrap_or_default();
                    assert!(seen.insert((name, field)), "{name}.{field}");
                }
            }
        }
    }

    #[test]
    fn words_are_found_in_their_order() {
        fn of(full: &str, field: &str) -> Option<&'static str> {
            Words::of(full).field(field)
        }
        let core = "io.k8s.api.core.v1";
        let container = format!("{core}.Container");
        let ephemeral = format!("{core}.EphemeralContainer");
        assert!(of(&container, "image").is_some());
        assert_eq!(of(&ephemeral, "image"), of(&container, "image"));
        assert_ne!(of(&ephemeral, "ports"), of(&container, "ports"));
        // Another version of the group; then a star of the own file, and of the common one.
        let (old, new) = ("io.k8s.api.resource.v1beta2", "io.k8s.api.resource.v1");
        let count = |prefix| Words::of(&format!("{prefix}.DeviceSubRequest")).field("count");
        assert_eq!(count(old), count(new));
        assert!(of(&format!("{core}.NFSVolumeSource"), "readOnly").is_some());
        let list = format!("{core}.PodList");
        assert_eq!(
            Words::of(&list).own().unwrap(),
            "A list of objects of kind Pod."
        );
        assert_eq!(of(&list, "kind"), Some(of_every_kind("kind")));
        assert_eq!(of(&list, "nothing"), None);
        assert!(Words::of("com.example.v1.WidgetList").own().is_none());
        assert!(Words::of("").own().is_none());
    }
}

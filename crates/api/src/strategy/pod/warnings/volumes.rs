//! Volumes that no longer work, and files in each other's way.

use crate::validation::At;

/// Volume sources that no longer work.
const OLD: [(&str, &str); 9] = [
    (
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    (
        "gitRepo",
        "deprecated in v1.11, and disabled by default in v1.33+",
    ),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warns about sources that no longer work.
pub fn old(spec: &At, out: &mut Vec<String>) {
    for v in spec.items("volumes") {
        for (key, words) in &OLD {
            if v.has(key) {
                let shown = if *key == "storageos" {
                    "storageOS"
                } else {
                    key
                };
                out.push(format!("{}: {words}", v.path.child(shown)));
            }
            if *key == "glusterfs" {
                claim(&v, out);
            }
        }
    }
}

/// The claim that is made with a pod.
fn claim(v: &At, out: &mut Vec<String>) {
    let template = v.get("ephemeral").get("volumeClaimTemplate");
    if !template.v.is_null() {
        out.extend(crate::strategy::storage::claim_warnings(
            &template.get("spec"),
        ));
    }
}

/// A file and what it comes from.
struct File {
    path: String,
    source: String,
}

impl std::fmt::Display for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.path)?;
        if self.source.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.source)
        }
    }
}

impl File {
    /// Whether one is the other, or would be a folder that the other is in.
    fn overlaps(&self, other: &File) -> bool {
        let inside = |file: &str, folder: &str| {
            let rest = file.strip_prefix(folder);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let (a, b) = (&self.path, &other.path);
        !a.is_empty() && !b.is_empty() && (inside(a, b) || inside(b, a))
    }
}

fn files(source: &At, shown: &str) -> Vec<File> {
    source
        .items("items")
        .map(|item| file(item.text("path"), shown.to_owned()))
        .collect()
}

fn file(path: &str, source: String) -> File {
    File {
        path: path.trim_end_matches('/').to_owned(),
        source,
    }
}

/// Warns about files of one volume that want the same place.
pub fn overlaps(spec: &At, out: &mut Vec<String>) {
    for v in spec.items("volumes") {
        let name = v.text("name");
        for (key, title, reference) in [
            ("configMap", "ConfigMap", "name"),
            ("secret", "Secret", "secretName"),
            ("downwardAPI", "DownwardAPI", ""),
        ] {
            let Some(source) = v.some(key) else { continue };
            let title = match reference {
                "" => title.to_owned(),
                key => format!("{title} {:?}", source.text(key)),
            };
            collide(name, &title, files(&source, ""), out);
        }
        if let Some(projected) = v.some("projected") {
            let mut all = Vec::new();
            for source in projected.items("sources") {
                let parts = source.v.as_object().into_iter().flatten();
                if parts.filter(|(_, v)| !v.is_null()).count() == 0 {
                    out.push(format!(
                        "volume {name:?} (Projected) has no sources provided"
                    ));
                }
                all.extend(projected_files(&source));
            }
            collide(name, "Projected", all, out);
        }
    }
}

fn projected_files(source: &At) -> Vec<File> {
    for (key, title) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        if let Some(s) = source.some(key).filter(|s| s.has("items")) {
            return files(&s, &format!("{title} {:?}", s.text("name")));
        }
    }
    if let Some(s) = source.some("downwardAPI").filter(|s| s.has("items")) {
        return files(&s, "DownwardAPI");
    }
    source
        .some("serviceAccountToken")
        .map(|t| file(t.text("path"), "ServiceAccountToken".to_owned()))
        .into_iter()
        .collect()
}

fn collide(volume: &str, title: &str, files: Vec<File>, out: &mut Vec<String>) {
    for (i, this) in files.iter().enumerate() {
        for other in files[..i].iter().filter(|o| this.overlaps(o)) {
            out.push(format!(
                "volume {volume:?} ({title}): overlapping paths: {this} with {other}"
            ));
        }
    }
}

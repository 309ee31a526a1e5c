//! Kubeconfig files: the admin's, and the context `knarr` in the user's own, which is otherwise left as it is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{files, pki::Pair};

/// Cluster, user and context of one cluster.
pub struct Entry<'a> {
    /// Name of context and cluster, e.g. `knarr`.
    pub name: &'a str,
    /// Name of the user entry, e.g. `knarr-admin`.
    pub user: &'a str,
    /// `https://127.0.0.1:6443`.
    pub server: &'a str,
    /// PEM.
    pub ca: &'a str,
    pub client: &'a Pair,
}

impl Entry<'_> {
    fn cluster(&self) -> Value {
        json!({"name": self.name, "cluster": {"server": self.server, "certificate-authority-data": STANDARD.encode(self.ca)}})
    }

    fn user(&self) -> Value {
        json!({"name": self.user, "user": {
            "client-certificate-data": STANDARD.encode(&self.client.certificate),
            "client-key-data": STANDARD.encode(&self.client.key),
        }})
    }

    fn context(&self) -> Value {
        json!({"name": self.name, "context": {"cluster": self.name, "user": self.user}})
    }

    /// A kubeconfig with this entry alone.
    pub fn render(&self) -> Result<String> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [self.cluster()],
            "users": [self.user()],
            "contexts": [self.context()],
            "current-context": self.name,
        });
        Ok(serde_saphyr::to_string(&config)?)
    }

    /// Adds or replaces this entry in an existing kubeconfig's text; everything else stays. The current context changes only
    /// where there is none.
    ///
    /// # Errors
    /// When the text is not a kubeconfig: it is then better left alone.
    pub fn merge_into(&self, text: &str) -> Result<String> {
        let mut config = parse(text)?;
        put(&mut config, "clusters", self.cluster())?;
        put(&mut config, "users", self.user())?;
        put(&mut config, "contexts", self.context())?;
        if config["current-context"]
            .as_str()
            .unwrap_or_default()
            .is_empty()
        {
            config["current-context"] = json!(self.name);
        }
        Ok(serde_saphyr::to_string(&config)?)
    }
}

fn parse(text: &str) -> Result<Value> {
    if text.trim().is_empty() {
        return Ok(json!({"apiVersion": "v1", "kind": "Config"}));
    }
    let config: Value = serde_saphyr::from_str(text).context("not a YAML file")?;
    anyhow::ensure!(config.is_object(), "not a kubeconfig");
    Ok(config)
}

fn put(config: &mut Value, list: &str, entry: Value) -> Result<()> {
    if config[list].is_null() {
        config[list] = json!([]);
    }
    let items = config[list]
        .as_array_mut()
        .with_context(|| format!("`{list}` is not a list"))?;
    match items.iter_mut().find(|item| item["name"] == entry["name"]) {
        Some(old) => *old = entry,
        None => items.push(entry),
    }
    Ok(())
}

/// Takes an entry that [`Entry::merge_into`] made out again. Text without it comes back unchanged.
///
/// # Errors
/// When the text is not a kubeconfig.
pub fn remove_from(text: &str, name: &str, user: &str) -> Result<String> {
    let mut config = parse(text)?;
    let mut changed = false;
    for (list, name) in [("clusters", name), ("users", user), ("contexts", name)] {
        if let Some(items) = config[list].as_array_mut() {
            let before = items.len();
            items.retain(|item| item["name"] != name);
            changed |= items.len() != before;
        }
    }
    if config["current-context"] == name {
        config["current-context"] = json!("");
        changed = true;
    }
    if changed {
        Ok(serde_saphyr::to_string(&config)?)
    } else {
        Ok(text.to_owned())
    }
}

/// The file kubectl reads for this user: the first of `$KUBECONFIG`, else `~/.kube/config`. Under sudo, of the user who called it.
pub fn user_file() -> Option<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG")
        && let Some(first) = std::env::split_paths(&list).find(|p| !p.as_os_str().is_empty())
    {
        return Some(first);
    }
    home().map(|home| home.join(".kube/config"))
}

fn home() -> Option<PathBuf> {
    if let Ok(user) = std::env::var("SUDO_USER")
        && let Ok(Some(user)) = nix::unistd::User::from_name(&user)
    {
        return Some(user.dir);
    }
    std::env::var_os("HOME").map(PathBuf::from)
}

/// Rewrites the user's kubeconfig with `change`, keeping its owner. A file that does not exist is only made when the
/// result says something.
///
/// # Errors
/// When it cannot be read, understood or written; it is then unchanged.
pub fn edit(path: &Path, change: impl FnOnce(&str) -> Result<String>) -> Result<()> {
    let old = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let new = change(&old).with_context(|| format!("{} left as it is", path.display()))?;
    if new == old {
        return Ok(());
    }
    let made_parent = path.parent().filter(|p| !p.exists()).map(Path::to_owned);
    files::write(path, new.as_bytes(), 0o600)
        .with_context(|| format!("cannot write {}", path.display()))?;
    give_to_caller(path);
    if let Some(parent) = made_parent {
        give_to_caller(&parent);
    }
    Ok(())
}

/// Under sudo the file belongs to the user who called it, not to root.
fn give_to_caller(path: &Path) {
    let id = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u32>().ok());
    if let (Some(uid), Some(gid)) = (id("SUDO_UID"), id("SUDO_GID")) {
        let _ = std::os::unix::fs::chown(path, Some(uid), Some(gid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Pair {
        Pair {
            certificate: "c".into(),
            key: "k".into(),
        }
    }

    const OTHER: &str = "apiVersion: v1\nkind: Config\nclusters:\n- name: other\n  cluster: {server: https://other}\nusers:\n- name: me\n  user: {token: t}\ncontexts:\n- name: other\n  context: {cluster: other, user: me}\ncurrent-context: other\npreferences: {colors: true}\n";

    #[test]
    fn merging_and_removing_leaves_the_rest_alone() {
        let pair = pair();
        let entry = Entry {
            name: "knarr",
            user: "knarr-admin",
            server: "https://127.0.0.1:6443",
            ca: "ca",
            client: &pair,
        };
        let merged = entry.merge_into(OTHER).unwrap();
        let value = parse(&merged).unwrap();
        assert_eq!(value["current-context"], "other");
        assert_eq!(value["contexts"].as_array().unwrap().len(), 2);
        assert_eq!(value["preferences"]["colors"], true);
        assert_eq!(parse(&entry.merge_into(&merged).unwrap()).unwrap(), value);
        let removed = remove_from(&merged, "knarr", "knarr-admin").unwrap();
        assert_eq!(parse(&removed).unwrap(), parse(OTHER).unwrap());
    }

    #[test]
    fn an_empty_file_gets_the_context_as_current() {
        let pair = pair();
        let entry = Entry {
            name: "knarr",
            user: "knarr-admin",
            server: "s",
            ca: "ca",
            client: &pair,
        };
        let value = parse(&entry.merge_into("").unwrap()).unwrap();
        assert_eq!(value["current-context"], "knarr");
        assert!(entry.merge_into("- just\n- a list\n").is_err());
    }
}

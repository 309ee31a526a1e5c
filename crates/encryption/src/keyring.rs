//! Which key seals and which keys open what.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use knarr_store::Transformer;
use parking_lot::Mutex;

use crate::{
    aes::{Cbc, Gcm},
    config::{self, Keys, Rule},
    kms::Kms,
    secretbox::Secretbox,
};

/// What everything that is sealed begins with.
const SEALED: &[u8] = b"k8s:enc:";

/// Prefixes of stored keys, such as `/registry/secrets/`, with the resource that is kept there, such as `secrets` or
/// `deployments.apps`. Other prefixes are read as those of custom resources: `/registry/GROUP/PLURAL/`.
pub type Kinds = HashMap<String, String>;

/// Seals and opens by a configuration that can be replaced while it is in use.
pub struct Keyring {
    kinds: Kinds,
    rules: ArcSwap<Vec<Ring>>,
    /// Keys of objects that are not kept as the first provider would keep them.
    stale: Mutex<HashSet<String>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")
    }
}

/// One rule of the configuration.
struct Ring {
    resources: Vec<String>,
    locks: Vec<Lock>,
}

/// One key of one provider.
struct Lock {
    /// `k8s:enc:aescbc:v1:KEY:`; empty for what is kept plain.
    prefix: String,
    cipher: Cipher,
}

enum Cipher {
    Cbc(Box<Cbc>),
    Gcm(Box<Gcm>),
    Secretbox(Box<Secretbox>),
    Kms(Arc<Kms>),
    Identity,
}

impl Keyring {
    /// # Errors
    /// When a key or a service cannot be used.
    pub fn new(rules: &[Rule], kinds: Kinds) -> Result<Self, String> {
        Ok(Keyring {
            kinds,
            rules: ArcSwap::from_pointee(rings(rules)?),
            stale: Mutex::default(),
        })
    }

    /// Takes on another configuration. `keys` are those of all stored objects: what is among them and covered is to be
    /// written anew by the new first provider ([`Transformer::stale`]).
    ///
    /// # Errors
    /// When a key or a service cannot be used; the old configuration stays.
    pub fn replace(
        &self,
        rules: &[Rule],
        keys: impl Iterator<Item = String>,
    ) -> Result<(), String> {
        let rules = Arc::new(rings(rules)?);
        let mut stale = self.stale.lock();
        self.rules.store(rules.clone());
        stale.extend(keys.filter(|key| self.ring(&rules, key).is_some()));
        Ok(())
    }

    /// Notes whether what is kept for a key, by these rules, is to be written anew.
    fn note(&self, rules: &Arc<Vec<Ring>>, key: &str, old: bool) {
        let mut stale = self.stale.lock();
        // What was sealed or opened while other rules came is as old as they are.
        if old || !Arc::ptr_eq(rules, &self.rules.load()) {
            stale.insert(key.to_owned());
        } else if !stale.is_empty() {
            stale.remove(key);
        }
    }

    fn ring<'a>(&self, rules: &'a [Ring], key: &str) -> Option<&'a Ring> {
        let resource = resource_of(&self.kinds, key)?;
        let group = resource.split_once('.').map_or("", |(_, group)| group);
        rules.iter().find(|ring| {
            ring.resources.iter().any(|wanted| match wanted.as_str() {
                "*.*" => true,
                // Without a group: the core group's.
                wanted => match wanted.strip_prefix("*.") {
                    Some(of) => of == group,
                    None => wanted.strip_suffix('.').unwrap_or(wanted) == resource,
                },
            })
        })
    }
}

/// The resource that a key belongs to.
fn resource_of(kinds: &Kinds, key: &str) -> Option<String> {
    let mut end = key.len();
    while let Some(slash) = key[..end].rfind('/') {
        if let Some(found) = kinds.get(&key[..=slash]) {
            return Some(found.clone());
        }
        end = slash;
    }
    let mut parts = key.strip_prefix("/registry/")?.split('/');
    let (group, plural) = (parts.next()?, parts.next()?);
    group.contains('.').then(|| format!("{plural}.{group}"))
}

fn rings(rules: &[Rule]) -> Result<Vec<Ring>, String> {
    let mut services: Vec<(config::Kms, Arc<Kms>)> = Vec::new();
    let mut out = Vec::new();
    for rule in rules {
        let mut locks = Vec::new();
        for provider in &rule.providers {
            let mut add = |kind: &str, keys: &Keys, make: fn(&[u8]) -> Result<Cipher, String>| {
                for key in &keys.keys {
                    let cipher =
                        make(&key.bytes()?).map_err(|e| format!("key {:?}: {e}", key.name))?;
                    let prefix = format!("k8s:enc:{kind}:v1:{}:", key.name);
                    locks.push(Lock { prefix, cipher });
                }
                Ok::<(), String>(())
            };
            if let Some(keys) = &provider.aescbc {
                add("aescbc", keys, |k| Ok(Cipher::Cbc(Box::new(Cbc::new(k)?))))?;
            }
            if let Some(keys) = &provider.aesgcm {
                add("aesgcm", keys, |k| Ok(Cipher::Gcm(Box::new(Gcm::new(k)?))))?;
            }
            if let Some(keys) = &provider.secretbox {
                add("secretbox", keys, |k| {
                    Ok(Cipher::Secretbox(Box::new(Secretbox::new(k)?)))
                })?;
            }
            if provider.identity.is_some() {
                locks.push(Lock {
                    prefix: String::new(),
                    cipher: Cipher::Identity,
                });
            }
            if let Some(kms) = &provider.kms {
                let known = services
                    .iter()
                    .find(|(c, _)| c == kms)
                    .map(|(_, s)| s.clone());
                let service = match known {
                    Some(service) => service,
                    None => Arc::new(Kms::start(kms)?),
                };
                services.push((kms.clone(), service.clone()));
                let prefix = format!("k8s:enc:kms:v2:{}:", kms.name);
                locks.push(Lock {
                    prefix,
                    cipher: Cipher::Kms(service),
                });
            }
        }
        out.push(Ring {
            resources: rule.resources.clone(),
            locks,
        });
    }
    Ok(out)
}

impl Lock {
    fn seal(&self, key: &str, plain: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let sealed = match &self.cipher {
            Cipher::Identity => return Ok(None),
            Cipher::Cbc(cipher) => cipher.seal(plain)?,
            Cipher::Gcm(cipher) => cipher.seal(key, plain)?,
            Cipher::Secretbox(cipher) => cipher.seal(plain)?,
            Cipher::Kms(service) => service.seal(key, plain)?,
        };
        Ok(Some([self.prefix.as_bytes(), &sealed].concat()))
    }

    /// The plain bytes, and whether they would be sealed otherwise now.
    fn open(&self, key: &str, sealed: &[u8]) -> Result<(Vec<u8>, bool), String> {
        Ok(match &self.cipher {
            Cipher::Identity => return Err("it is not plain".into()),
            Cipher::Cbc(cipher) => (cipher.open(sealed)?, false),
            Cipher::Gcm(cipher) => (cipher.open(key, sealed)?, false),
            Cipher::Secretbox(cipher) => (cipher.open(sealed)?, false),
            Cipher::Kms(service) => service.open(key, sealed)?,
        })
    }
}

impl Transformer for Keyring {
    fn seal(&self, key: &str, plain: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let rules = self.rules.load();
        // What no rule covers (any more) is kept plain.
        let first = self.ring(&rules, key).and_then(|r| r.locks.first());
        let sealed = match first {
            Some(first) => first.seal(key, plain),
            None => Ok(None),
        };
        let sealed = sealed.map_err(|e| format!("encrypting {key}: {e}"))?;
        self.note(&rules, key, false);
        Ok(sealed)
    }

    fn open(&self, key: &str, kept: &[u8]) -> Result<Option<Bytes>, String> {
        let rules = self.rules.load();
        let ring = self.ring(&rules, key);
        if !kept.starts_with(SEALED) {
            let Some(ring) = ring else {
                return Ok(None);
            };
            let plain = ring
                .locks
                .iter()
                .position(|l| matches!(l.cipher, Cipher::Identity));
            return match plain {
                Some(at) => {
                    self.note(&rules, key, at > 0);
                    Ok(None)
                }
                None => Err(format!(
                    "{key} is not encrypted, and the provider `identity` is not there to read it"
                )),
            };
        }
        // What was covered once stays readable by every key that there is.
        let locks = match ring {
            Some(ring) => ring.locks.iter().collect(),
            None => rules.iter().flat_map(|r| &r.locks).collect::<Vec<_>>(),
        };
        let mut failed = None;
        for (n, lock) in locks.iter().enumerate() {
            let Some(sealed) = kept
                .strip_prefix(lock.prefix.as_bytes())
                .filter(|_| !lock.prefix.is_empty())
            else {
                continue;
            };
            match lock.open(key, sealed) {
                Ok((plain, old)) => {
                    self.note(&rules, key, n > 0 || old || ring.is_none());
                    return Ok(Some(plain.into()));
                }
                Err(why) => failed = failed.or(Some(why)),
            }
        }
        let shown = kept
            .splitn(6, |b| *b == b':')
            .take(5)
            .collect::<Vec<_>>()
            .join(&b':');
        let shown = String::from_utf8_lossy(&shown);
        Err(match failed {
            Some(why) => format!("decrypting {key} ({shown}): {why}"),
            None => format!("no key is there for {key}, which begins with {shown}"),
        })
    }

    fn stale(&self, key: &str) -> bool {
        let stale = self.stale.lock();
        !stale.is_empty() && stale.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(providers: &str) -> Keyring {
        Keyring::new(&rules(providers), kinds()).unwrap()
    }

    fn kinds() -> Kinds {
        [
            ("/registry/secrets/", "secrets"),
            ("/registry/deployments/", "deployments.apps"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into()
    }

    fn rules(providers: &str) -> Vec<Rule> {
        let head =
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n";
        config::parse(&format!(
            "{head}- resources: [secrets, things.example.com, '*.apps']\n  providers:\n{providers}"
        ))
        .unwrap()
    }

    const A: &str = "{name: a, secret: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}";
    const B: &str = "{name: b, secret: BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=}";
    const KEY: &str = "/registry/secrets/default/x";

    #[test]
    fn each_provider_keeps_the_originals_form() {
        for kind in ["aescbc", "aesgcm", "secretbox"] {
            let ring = keyring(&format!("  - {kind}: {{keys: [{A}]}}\n"));
            let kept = ring.seal(KEY, b"{}").unwrap().unwrap();
            assert!(kept.starts_with(format!("k8s:enc:{kind}:v1:a:").as_bytes()));
            assert_eq!(ring.open(KEY, &kept).unwrap().unwrap(), "{}");
            assert!(!ring.stale(KEY));
            assert!(ring.open(KEY, b"{}").unwrap_err().contains("identity"));
        }
    }

    #[test]
    fn resources_are_covered_by_name_or_star() {
        let ring = keyring(&format!("  - secretbox: {{keys: [{A}]}}\n"));
        let sealed = |key: &str| ring.seal(key, b"{}").unwrap().is_some();
        let table = [
            (KEY, true),
            ("/registry/deployments/a/b", true),
            ("/registry/example.com/things/a/b", true),
            ("/registry/example.com/others/a/b", false),
            ("/registry/configmaps/a/b", false),
        ];
        for (key, want) in table {
            assert_eq!(sealed(key), want, "{key}");
        }
    }

    #[test]
    fn keys_are_rotated() {
        let old = keyring(&format!(
            "  - aescbc: {{keys: [{A}]}}\n  - identity: {{}}\n"
        ));
        let kept = old.seal(KEY, b"{\"a\":1}").unwrap().unwrap();
        let new = keyring(&format!(
            "  - aesgcm: {{keys: [{B}]}}\n  - aescbc: {{keys: [{A}]}}\n  - identity: {{}}\n"
        ));
        assert_eq!(new.open(KEY, &kept).unwrap().unwrap(), "{\"a\":1}");
        assert!(new.stale(KEY), "read with another key than is written with");
        assert!(
            new.seal(KEY, b"{}")
                .unwrap()
                .unwrap()
                .starts_with(b"k8s:enc:aesgcm:v1:b:")
        );
        assert!(!new.stale(KEY));
        assert_eq!(
            new.open("/registry/secrets/default/y", b"{}").unwrap(),
            None
        );
        assert!(new.stale("/registry/secrets/default/y"));
        let without = keyring(&format!("  - aesgcm: {{keys: [{B}]}}\n"));
        let error = without.open(KEY, &kept).unwrap_err();
        assert!(
            error.contains("k8s:enc:aescbc:v1:a") && !error.contains("{\"a\""),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_covered_any_more_is_written_plain_once() {
        let old = keyring(&format!("  - aescbc: {{keys: [{A}]}}\n"));
        let kept = old.seal(KEY, b"{}").unwrap().unwrap();
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [configmaps]\n  providers:\n  - aescbc: {{keys: [{A}]}}\n"
        );
        let new = Keyring::new(&config::parse(&text).unwrap(), kinds()).unwrap();
        assert_eq!(new.open(KEY, &kept).unwrap().unwrap(), "{}");
        assert!(new.stale(KEY));
        assert_eq!(new.seal(KEY, b"{}"), Ok(None));
        assert!(!new.stale(KEY), "it is as it should be now");
    }

    #[test]
    fn what_is_sealed_while_the_configuration_changes_is_written_anew() {
        let ring = keyring(&format!("  - aescbc: {{keys: [{A}]}}\n"));
        let before = ring.rules.load_full();
        let rules = rules(&format!("  - aesgcm: {{keys: [{B}, {A}]}}\n"));
        ring.replace(&rules, [KEY.to_owned()].into_iter()).unwrap();
        // As a write does that began with the old key.
        ring.note(&before, KEY, false);
        ring.note(&before, "/registry/secrets/default/new", false);
        assert!(ring.stale(KEY) && ring.stale("/registry/secrets/default/new"));
        // Another server wrote it anew.
        let other = keyring(&format!("  - aesgcm: {{keys: [{B}]}}\n"));
        let kept = other.seal(KEY, b"{}").unwrap().unwrap();
        ring.open(KEY, &kept).unwrap();
        assert!(!ring.stale(KEY));
    }

    #[test]
    fn another_configuration_is_taken_on() {
        let ring = keyring("  - identity: {}\n");
        assert_eq!(ring.seal(KEY, b"{}").unwrap(), None);
        let rules = rules(&format!(
            "  - aescbc: {{keys: [{A}]}}\n  - identity: {{}}\n"
        ));
        let keys = [KEY.to_owned(), "/registry/configmaps/a/b".to_owned()];
        ring.replace(&rules, keys.into_iter()).unwrap();
        assert!(ring.stale(KEY) && !ring.stale("/registry/configmaps/a/b"));
        assert!(ring.seal(KEY, b"{}").unwrap().is_some() && !ring.stale(KEY));
    }
}

//! Configurations and sealed bytes that are almost right.

#[path = "../../api/tests/common/fuzz.rs"]
mod bytes;

use knarr_encryption::{Keyring, Kinds, parse};
use knarr_store::Transformer;

const FILE: &str = "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets, 'configmaps.', things.example.com, '*.apps']
  providers:
  - aescbc: {keys: [{name: a, secret: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}]}
  - aesgcm: {keys: [{name: b, secret: BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=}]}
  - secretbox: {keys: [{name: c, secret: CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA=}]}
  - identity: {}
";
const KEY: &str = "/registry/secrets/default/x";

fn kinds() -> Kinds {
    [("/registry/secrets/".to_owned(), "secrets".to_owned())].into()
}

#[test]
fn configurations() {
    let words: &[&[u8]] = &[
        b"kms: {apiVersion: v2, name: k, endpoint: 'unix:///nonexistent', timeout: 10000000000000000000s}",
        b"&a ", b"*a", b"- ", b": ", b"{}", b"[]", b"null", b"'", b"\"", b"!!binary ", b"identity", b"secret: ", b"~",
    ];
    bytes::run(&[FILE.as_bytes()], words, |input| {
        let text = String::from_utf8_lossy(input);
        // A service would be waited for.
        if let Ok(rules) = parse(&text)
            && !text.contains("kms")
        {
            let _ = Keyring::new(&rules, kinds());
        }
    });
}

#[test]
fn sealed_bytes() {
    let provider = |at: usize| {
        let all: Vec<&str> = FILE.split("  - ").collect();
        format!("{}  - {}", all[0], all[at])
    };
    let seal = |at: usize| {
        let ring = Keyring::new(&parse(&provider(at)).unwrap(), kinds()).unwrap();
        ring.seal(KEY, b"{\"metadata\":{\"name\":\"x\"}}")
            .unwrap()
            .unwrap()
    };
    let seeds = [seal(1), seal(2), seal(3)];
    let ring = Keyring::new(&parse(FILE).unwrap(), kinds()).unwrap();
    for seed in &seeds {
        assert!(ring.open(KEY, seed).unwrap().is_some());
    }
    let words: &[&[u8]] = &[
        b"k8s:enc:",
        b"aescbc:v1:a:",
        b"aesgcm:v1:b:",
        b"secretbox:v1:c:",
        b"kms:v2:k:",
        b":",
        b"{",
    ];
    bytes::run(&[&seeds[0], &seeds[1], &seeds[2]], words, |input| {
        for key in [KEY, "/registry/secrets/", "/", "", "/registry/a.b/c/d"] {
            let _ = ring.open(key, input);
        }
    });
}

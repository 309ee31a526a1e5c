//! Kinds whose rules look into what other libraries make, and volumes that come with their attachments.

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_api::{Registry, Resource, builtin, strategy::Context};
use knarr_json::{Value, json};
use rcgen::{CertificateParams, KeyPair};

fn of<'r>(registry: &'r Registry, group: &str, plural: &str) -> &'r Resource {
    registry.get(group, plural).expect("a built-in kind")
}

/// What is wrong with a new object, defaults filled in.
fn wrong(resource: &Resource, mut object: Value) -> Vec<String> {
    let ctx = Context::default();
    resource.strategy.default(&ctx, &mut object);
    let errs = resource.strategy.validate_create(&ctx, &object);
    errs.iter().map(ToString::to_string).collect()
}

#[test]
fn attachments_bring_volumes_of_drivers() {
    let registry = builtin::registry();
    let kind = of(&registry, "storage.k8s.io", "volumeattachments");
    let with = |volume: Value, status: Value| {
        json!({"metadata": {"name": "a"}, "status": status, "spec": {"attacher": "d.example", "nodeName": "n",
        "source": {"inlineVolumeSpec": volume}}})
    };
    let csi = || json!({"accessModes": ["ReadWriteOnce"], "csi": {"driver": "d.example", "volumeHandle": "h"}});
    let long = "x".repeat(1025);
    let cases: &[(Value, &[&str])] = &[
        (with(csi(), json!({})), &[]),
        (
            with(
                json!({"accessModes": ["ReadWriteOnce"], "nfs": {"server": "s", "path": "/"}}),
                json!({}),
            ),
            &[
                "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
            ],
        ),
        (
            with(
                csi(),
                json!({"attachmentMetadata": {"k": "x".repeat(256 << 10)}, "attachError": {"message": long, "errorCode": -1}}),
            ),
            &[
                "status.attachmentMetadata: Too long: may not be more than 262144 bytes",
                "status.attachError.message: Too long: may not be more than 262144 bytes",
                "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            ],
        ),
    ];
    for (object, want) in cases {
        assert_eq!(wrong(kind, object.clone()), *want);
    }
    let mut object = with(json!({"iscsi": {}}), json!({}));
    kind.strategy.default(&Context::default(), &mut object);
    let volume = &object["spec"]["source"]["inlineVolumeSpec"];
    assert_eq!(volume["iscsi"]["iscsiInterface"], "default");
}

#[test]
fn secrets_warn_of_keys_that_do_not_fit() {
    let registry = builtin::registry();
    let kind = of(&registry, "", "secrets");
    let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&one).unwrap().pem();
    for (key, want) in [
        (one, None),
        (other, Some("tls: private key does not match public key")),
    ] {
        let data = json!({"tls.crt": STANDARD.encode(&certificate), "tls.key": STANDARD.encode(key.serialize_pem())});
        let object = json!({"metadata": {"name": "t"}, "type": "kubernetes.io/tls", "data": data});
        let told = kind.strategy.warnings(&Context::default(), &object, None);
        assert_eq!(told.first().map(String::as_str), want);
    }
}

#[test]
fn requests_are_signed_by_who_makes_them() {
    let registry = builtin::registry();
    let kind = of(
        &registry,
        "certificates.k8s.io",
        "certificatesigningrequests",
    );
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let mut forged = made.der().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = format!(
        "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
        STANDARD.encode(forged)
    );
    for (request, faults) in [(made.pem().unwrap(), 0), (forged, 1)] {
        let spec = json!({"request": STANDARD.encode(request), "signerName": "a.example/b", "usages": ["client auth"]});
        let told = wrong(kind, json!({"metadata": {"name": "r"}, "spec": spec}));
        assert_eq!(told.len(), faults, "{told:?}");
        assert!(
            told.iter()
                .all(|t| t.ends_with("x509: ECDSA verification failure"))
        );
    }
}

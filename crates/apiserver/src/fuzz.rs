//! What is almost right: certificates and requests for them, tokens, configuration files, answers of webhooks.

#[path = "../../api/tests/common/fuzz.rs"]
mod bytes;

use rustls_pki_types::CertificateDer;

use crate::{
    admission, audit,
    authn::{
        bearer, jwt, static_tokens,
        token::{Bound, TokenConfig, Tokens},
        x509::Authorities,
    },
    authz,
};

/// What files in YAML are made of.
const YAML: &[&[u8]] = &[
    b"- ",
    b": ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"&a ",
    b"*a",
    b"<<: ",
    b"null",
    b"~",
    b"'",
    b"\"",
    b"---\n",
    b"|\n",
    b"\t",
    b"9999999999h",
    b"!!binary ",
    b"{}",
    b"[]",
];

#[test]
fn certificates() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["a.example.com".into()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let mut params = rcgen::CertificateParams::default();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let own = rcgen::KeyPair::generate().unwrap();
    let leaf = params.signed_by(&own, &issuer).unwrap();
    let authorities = Authorities::new(&[authority.der().clone()], &[]).unwrap();
    let good = CertificateDer::from(leaf.der().to_vec());
    assert!(!authorities.judge(&[good]).refused());
    let words: &[&[u8]] = &[
        &[0x30, 0x80],
        &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        &[0x06, 0],
        &[0x17, 1, b'9'],
    ];
    bytes::run(&[leaf.der(), authority.der()], words, |der| {
        let chain = [CertificateDer::from(der.to_vec()), authority.der().clone()];
        let _ = authorities.judge(&chain);
    });
}

#[test]
fn requests_for_certificates() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "system:node:n");
    let request = params
        .serialize_request(&rcgen::KeyPair::generate().unwrap())
        .unwrap();
    let pem = request.pem().unwrap();
    let read = |pem: &[u8]| {
        let object = knarr_json::json!({"spec": {"request": STANDARD.encode(pem)}});
        admission::subject_of(&object)
    };
    assert!(read(pem.as_bytes()).is_ok());
    let words: &[&[u8]] = &[
        b"-----BEGIN",
        b"-----END",
        b"=",
        b"\r\n",
        b"MII",
        b"Proc-Type: 4,ENCRYPTED\n",
    ];
    bytes::run(&[pem.as_bytes()], words, |pem| drop(read(pem)));
    // Behind good PEM, bad DER.
    let der: &[u8] = request.der();
    bytes::run(&[der], &[&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]], |der| {
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            STANDARD.encode(der)
        );
        drop(read(pem.as_bytes()));
    });
}

#[test]
fn tokens() {
    let tokens = Tokens::new(TokenConfig {
        signing_key_pem: rcgen::KeyPair::generate().unwrap().serialize_pem(),
        issuer: "https://i".into(),
        ..TokenConfig::default()
    })
    .unwrap();
    let claims = tokens.claims(vec!["a".into()], 600, Bound::default());
    let good = tokens.sign(&claims).unwrap();
    assert!(matches!(tokens.check(&good), Ok(Some(_))));
    // `{"alg":"none"}`, `{"alg":"HS256"}`, an issuer.
    let words: &[&[u8]] = &[
        b".",
        b"=",
        b"eyJhbGciOiJub25lIn0",
        b"eyJhbGciOiJIUzI1NiJ9",
        b"eyJpc3MiOiJodHRwczovL2kifQ",
        b"e30",
        b"bnVsbA",
        b"-",
        b"_",
    ];
    bytes::run(&[good.as_bytes()], words, |token| {
        let text = String::from_utf8_lossy(token);
        let _ = jwt::issuer_of(&text);
        if let Ok(Some(_)) = tokens.check(&text) {
            // The last character of a signature has bits that mean nothing.
            let same = text.rsplit_once('.').map(|(signed, _)| signed);
            assert_eq!(
                same,
                good.rsplit_once('.').map(|(signed, _)| signed),
                "{text}"
            );
        }
    });
    let header = format!(
        "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.{}",
        "dG9rZW4"
    );
    let words: &[&[u8]] = &[
        b",",
        b" ",
        b"base64url.bearer.authorization.k8s.io.",
        b"Bearer ",
    ];
    bytes::run(&[header.as_bytes(), b"Bearer token"], words, |value| {
        let Ok(value) = http::HeaderValue::from_bytes(value) else {
            return;
        };
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::SEC_WEBSOCKET_PROTOCOL, value.clone());
        let _ = bearer::token(&headers, true);
        bearer::strip(&mut headers);
        assert!(bearer::token(&headers, true) == Ok(None));
        headers.insert(http::header::AUTHORIZATION, value);
        let _ = bearer::token(&headers, false);
    });
}

#[test]
fn configuration_files() {
    let authentication = b"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {url: 'https://i', audiences: [a], audienceMatchPolicy: MatchAny}\n  claimValidationRules: [{claim: hd, requiredValue: x}, {expression: 'claims.exp > 1', message: m}]\n  claimMappings:\n    username: {claim: sub, prefix: ''}\n    extra: [{key: a.b/c, valueExpression: claims.x}]\n  userValidationRules: [{expression: \"!user.username.startsWith('system:')\"}]\nanonymous: {enabled: true, conditions: [{path: /livez}]}\n";
    bytes::run(&[authentication], YAML, |text| {
        let file = jwt::config::parse(&String::from_utf8_lossy(text));
        if let Ok(file) = file {
            let _ = jwt::Issuers::default().set(file.jwt);
        }
    });
    let authorization = b"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n- type: Webhook\n  name: w\n  webhook:\n    timeout: 3s\n    authorizedTTL: 1h30m\n    subjectAccessReviewVersion: v1\n    matchConditionSubjectAccessReviewVersion: v1\n    failurePolicy: Deny\n    connectionInfo: {type: KubeConfigFile, kubeConfigFile: /x}\n    matchConditions: [{expression: 'true'}]\n- {type: RBAC, name: rbac}\n";
    bytes::run(&[authorization], YAML, |text| {
        drop(authz::config::parse(&String::from_utf8_lossy(text), None));
    });
    let policy = b"apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- {level: None, users: ['system:kube-proxy'], verbs: [watch]}\n- level: Request\n  resources: [{group: '', resources: ['pods/*'], resourceNames: [a]}]\n  omitManagedFields: true\n- {level: Metadata, nonResourceURLs: ['/healthz*']}\n";
    bytes::run(&[policy], YAML, |text| {
        drop(audit::policy::parse(&String::from_utf8_lossy(text)));
    });
    let tokens = b"t1,ann,1\nt2,bob,2,\"g1,g2\"\n# no\n t3, \"c\"\"d\" ,3,one\n";
    bytes::run(&[tokens], &[b",", b"\"", b"\n", b"#"], |text| {
        drop(static_tokens::parse(&String::from_utf8_lossy(text)));
    });
    bytes::run(
        &[b"1h30m", b"1.5s", b"300ms", b"2\xc2\xb5s"],
        &[b"h", b"9999999999999999999", b".", b"-"],
        |text| {
            if let Ok(duration) = authz::config::duration(&String::from_utf8_lossy(text)) {
                let _ = std::time::Instant::now() + duration * 2;
            }
        },
    );
}

#[test]
fn answers_of_webhooks() {
    let review = br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u","allowed":true,"status":{"code":403,"message":"m","details":{"causes":[{"field":"f"}]}},"patch":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL2EiLCJ2YWx1ZSI6MX1d","patchType":"JSONPatch","auditAnnotations":{"a":"b"},"warnings":["w"]}}"#;
    let words: &[&[u8]] = &[
        b"null",
        b"{",
        b"}",
        b"[",
        b"\"",
        b":",
        b",",
        b"-1",
        b"1e999",
        b"\"response\":",
        b"==",
    ];
    bytes::run(&[review], words, |body| admission::read_review(body, "u"));
}

/// Claims of a token that an issuer signed: whatever they are, they become a user or a refusal.
#[test]
fn claims() {
    let file = jwt::config::parse("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {url: 'https://i', audiences: [a]}\n  claimValidationRules: [{expression: 'claims.exp > 1', message: m}]\n  claimMappings:\n    username: {expression: 'claims.sub + claims.?x.orValue(\"\")'}\n    groups: {claim: groups, prefix: 'g:'}\n    uid: {claim: uid}\n    extra: [{key: a.b/c, valueExpression: 'claims.x'}]\n- issuer: {url: 'https://j', audiences: [a]}\n  claimMappings:\n    username: {claim: email, prefix: ''}\n").unwrap();
    let rules: Vec<_> = file
        .jwt
        .iter()
        .map(|issuer| jwt::claims::Rules::new(issuer).unwrap())
        .collect();
    let seed = br#"{"iss":"https://i","aud":["a"],"exp":4000000000,"nbf":1.5,"iat":0,"sub":"s","email":"a@b","email_verified":true,"groups":["x","y"],"uid":"u","x":{"y":[1,null]},"_claim_names":{"groups":"g"},"_claim_sources":{"g":{"endpoint":"https://e"}}}"#;
    let words: &[&[u8]] = &[
        b"null",
        b"[",
        b"]",
        b"{",
        b"}",
        b"\"",
        b",",
        b"-1",
        b"1e308",
        b"9223372036854775807",
        b"true",
    ];
    bytes::run(&[seed], words, |text| {
        let Ok(claims) = serde_json::from_slice::<knarr_json::Value>(text) else {
            return;
        };
        let _ = jwt::claims::check_standard(&claims, &["a".into()], 1_700_000_000);
        for rules in &rules {
            let _ = rules.user(&claims);
        }
    });
}

/// Key sets that issuers serve.
#[test]
fn key_sets() {
    use jsonwebtoken::jwk::JwkSet;
    let seed = br#"{"keys":[{"kty":"RSA","kid":"k","use":"sig","alg":"RS256","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#;
    let words: &[&[u8]] = &[
        b"null",
        b"\"kty\":\"oct\",\"k\":\"AA\"",
        b"==",
        b"[",
        b"{",
        b"P-521",
        b"none",
        b"\"n\":\"\"",
    ];
    let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.e30.AAAA";
    let header = jsonwebtoken::decode_header(token).unwrap();
    bytes::run(&[seed], words, |text| {
        if let Ok(set) = serde_json::from_slice::<JwkSet>(text) {
            assert!(jwt::keys::try_keys(Some(&set), token, &header).is_none());
        }
    });
}

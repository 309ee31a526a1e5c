//! Kinds by which the API server is told what to do.

use knarr_json::{Value, json};

use super::{Kind, dated};

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

fn rules() -> Value {
    json!([{"operations": ["CREATE"], "apiGroups": ["walk.example.com"], "apiVersions": ["v1"], "resources": ["things"]}])
}

fn hooks() -> Value {
    json!({"webhooks": [{"name": "walk.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "rules": rules(),
        "clientConfig": {"url": "https://127.0.0.1:1/"}}]})
}

fn policies() -> Vec<Kind> {
    let constraints = json!({ "resourceRules": rules() });
    let validating = json!({"spec": {"matchConstraints": constraints, "validations": [{"expression": "object.spec.replicas <= 100"}]}});
    let expression = "Object{metadata: Object.metadata{labels: {'a': 'b'}}}";
    let mutating = json!({"spec": {"matchConstraints": constraints, "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]}});
    let binding = |actions: bool| match actions {
        true => json!({"spec": {"policyName": "nobody", "validationActions": ["Deny"]}}),
        false => json!({"spec": {"policyName": "nobody"}}),
    };
    let selected =
        || json!({"spec": {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}});
    vec![
        Kind::new(
            ADMISSION,
            "ValidatingAdmissionPolicy",
            "validatingadmissionpolicies",
            validating,
        )
        .cluster()
        .change(json!({"spec": {"failurePolicy": "Ignore"}}))
        .status(json!({"conditions": [dated()]})),
        Kind::new(
            ADMISSION,
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
            binding(true),
        )
        .cluster()
        .change(selected()),
        Kind::new(
            ADMISSION,
            "MutatingAdmissionPolicy",
            "mutatingadmissionpolicies",
            mutating,
        )
        .cluster()
        .change(json!({"spec": {"failurePolicy": "Ignore"}})),
        Kind::new(
            ADMISSION,
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings",
            binding(false),
        )
        .cluster()
        .change(selected()),
        Kind::new(
            ADMISSION,
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
            hooks(),
        )
        .cluster(),
        Kind::new(
            ADMISSION,
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
            hooks(),
        )
        .cluster(),
    ]
}

fn request() -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "walk");
    let request = params.serialize_request(&key).unwrap();
    STANDARD.encode(request.pem().unwrap())
}

pub fn kinds() -> Vec<Kind> {
    let mut kinds = policies();
    kinds.push(
        Kind::new(
            "/apis/certificates.k8s.io/v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
            json!({"spec": {"request": request(), "signerName": "example.com/walk", "expirationSeconds": 3600,
                "usages": ["digital signature", "key encipherment", "server auth"]}}),
        )
        .cluster()
        .conditions(),
    );
    kinds.push(
        Kind::new(
            "/apis/apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            Value::Null,
        )
        .cluster()
        .names(["firsts.example.com", "seconds.example.com", "thirds.example.com"])
        .each(|name| {
            let plural = name.split('.').next().unwrap();
            json!({"spec": {"group": "example.com", "scope": "Cluster", "names": {"plural": plural, "kind": plural.to_uppercase()},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
        })
        .metadata_apart(),
    );
    kinds.push(
        Kind::new(
            "/apis/apiregistration.k8s.io/v1",
            "APIService",
            "apiservices",
            Value::Null,
        )
        .cluster()
        .names(["v1.first.example.com", "v1.second.example.com", "v1.third.example.com"])
        .each(|name| {
            let group = name.split_once('.').unwrap().1;
            json!({"spec": {"group": group, "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 200, "insecureSkipTLSVerify": true,
                "service": {"namespace": "default", "name": "nobody"}}})
        })
        .change(json!({"spec": {"versionPriority": 100}}))
        .conditions(),
    );
    kinds
}

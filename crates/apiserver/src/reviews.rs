//! Requests that ask instead of storing: TokenReview, the SubjectAccessReviews, SelfSubjectReview, rules reviews.

use jiff::Timestamp;
use knarr_api::{Registry, Status, field, old::Old, validation};
use knarr_json::{Value, json};

use crate::{
    Outcome, UserInfo,
    admission::{self, Attributes, Operation},
    authn::Known,
    authz::{self, selectors},
    body::{self, RequestBody, Response},
    chain::Call,
    codec,
    discovery::Entry,
    query::{OptionsKind, WriteOptions},
    request::RequestInfo,
    respond,
    rest::{Target, managed, meta},
};

/// A kind of review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Review {
    Token,
    SelfSubject,
    SubjectAccess,
    SelfSubjectAccess,
    LocalSubjectAccess,
    SelfSubjectRules,
}

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

const ALL: [(Review, &str, &str, &str); 6] = [
    (Review::Token, AUTHENTICATION, "tokenreviews", "TokenReview"),
    (
        Review::SelfSubject,
        AUTHENTICATION,
        "selfsubjectreviews",
        "SelfSubjectReview",
    ),
    (
        Review::SubjectAccess,
        AUTHORIZATION,
        "subjectaccessreviews",
        "SubjectAccessReview",
    ),
    (
        Review::SelfSubjectAccess,
        AUTHORIZATION,
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
    ),
    (
        Review::LocalSubjectAccess,
        AUTHORIZATION,
        "localsubjectaccessreviews",
        "LocalSubjectAccessReview",
    ),
    (
        Review::SelfSubjectRules,
        AUTHORIZATION,
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
    ),
];

pub(crate) fn has_group(group: &str) -> bool {
    group == AUTHENTICATION || group == AUTHORIZATION
}

/// The review that a path names, and the version of old that it does so in.
pub(crate) fn find(
    registry: &Registry,
    info: &RequestInfo,
) -> Option<(Review, Option<&'static Old>)> {
    let (review, ..) = ALL
        .iter()
        .find(|(_, group, plural, _)| info.group == *group && info.resource == *plural)
        .filter(|_| info.subresource.is_empty())?;
    if info.version == "v1" {
        return Some((*review, None));
    }
    let (old, _) = registry.old_version(&info.group, &info.version, &info.resource)?;
    Some((*review, Some(old)))
}

/// As discovery shows them.
pub(crate) fn entries() -> Vec<Entry> {
    let entry = |(review, group, plural, kind): &(Review, &str, &str, &str)| Entry {
        group: (*group).into(),
        versions: vec!["v1".into()],
        name: (*plural).into(),
        singular: kind.to_ascii_lowercase(),
        kind: (*kind).into(),
        namespaced: *review == Review::LocalSubjectAccess,
        verbs: vec!["create".into()],
        short_names: Vec::new(),
        categories: Vec::new(),
        kind_of: None,
        storage_hash: None,
    };
    ALL.iter().map(entry).collect()
}

impl Review {
    fn kind(self) -> (&'static str, &'static str) {
        let (_, group, _, kind) = self.row();
        (group, kind)
    }

    fn resource(self) -> (&'static str, &'static str) {
        let (_, group, plural, _) = self.row();
        (group, plural)
    }

    fn row(self) -> (Review, &'static str, &'static str, &'static str) {
        let row = ALL.iter().find(|(r, ..)| *r == self);
        row.copied().unwrap_or(ALL[0])
    }
}

/// # Errors
/// 400, 405, 422.
pub(crate) async fn answer(
    call: &Call,
    (review, old): (Review, Option<&'static Old>),
    body: RequestBody,
) -> Outcome<Response> {
    let local = review == Review::LocalSubjectAccess;
    if call.method != http::Method::POST
        || !call.info.name.is_empty()
        || local == call.info.namespace.is_empty()
    {
        return Err(respond::not_allowed().into());
    }
    let accept = call.negotiate(&[])?;
    let bytes = body::read(body).await?;
    let options = WriteOptions::new(&call.query, OptionsKind::Create)?;
    let (group, kind) = review.kind();
    let version = old.map_or("v1", |old| old.version);
    call.warn(old.map(Old::warning));
    let mut object =
        codec::decode_as(call, group, version, kind, &bytes, options.field_validation)?;
    if let Some(old) = old {
        old.modernize(&mut object);
    }
    managed::note_answer(call, (group, "v1", kind), "", &mut object, &options);
    let target = target(call, review);
    let attributes = target
        .as_ref()
        .map(|target| Attributes::new(call, target, Operation::Create).dry_run(options.dry_run));
    if let Some(attributes) = &attributes {
        admission::mutate(attributes, &mut object).await?;
    }
    check(call, review, &mut object)?;
    if let Some(attributes) = &attributes {
        admission::validate(attributes, &object).await?;
    }
    match review {
        Review::Token => token(call, &mut object).await,
        Review::SelfSubject => {
            object["metadata"] = json!({"creationTimestamp": meta::time(Timestamp::now())});
            object["status"] = json!({"userInfo": call.user.to_json()});
        }
        Review::SelfSubjectRules => rules(call, &mut object),
        _ => access(call, review, &mut object).await,
    }
    if let Some(old) = old {
        old.age(&mut object);
    }
    Ok(respond::encoded(201, &accept, &object))
}

/// What admission looks at; none when the registry knows nothing of reviews.
fn target(call: &Call, review: Review) -> Option<Target> {
    let (group, plural) = review.resource();
    let registry = call.shared.registry.load();
    Some(Target {
        resource: registry.get(group, plural)?.clone(),
        version: "v1".into(),
        namespace: call.info.namespace.clone(),
        name: String::new(),
        subresource: None,
        old: None,
    })
}

/// # Errors
/// 400 and 422 for what cannot be answered.
fn check(call: &Call, review: Review, object: &mut Value) -> Outcome<()> {
    let text = |key: &str| object["spec"][key].as_str().unwrap_or_default();
    let missing = match review {
        Review::Token if text("token").is_empty() => {
            "token is required for TokenReview in authentication"
        }
        Review::SelfSubjectRules if text("namespace").is_empty() => "no namespace on request",
        Review::Token | Review::SelfSubject | Review::SelfSubjectRules => return Ok(()),
        _ => return check_access(call, review, object),
    };
    Err(Status::bad_request(missing).into())
}

/// Metadata of an access review says nothing, but for a namespace where there is one.
fn check_metadata(review: Review, object: &Value, errors: &mut Vec<field::Error>) {
    let local = review == Review::LocalSubjectAccess;
    let metadata = object["metadata"].as_object();
    let allowed = |k: &str| k == "managedFields" || (local && k == "namespace");
    if metadata.is_none_or(|m| m.iter().all(|(k, v)| allowed(k) || v.is_null())) {
        return;
    }
    let why = if local {
        "must be empty except for namespace"
    } else {
        "must be empty"
    };
    const FIELDS: [&str; 20] = [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
        "managedFields",
        "manager",
        "operation",
        "apiVersion",
        "time",
        "fieldsType",
        "fieldsV1",
        "subresource",
    ];
    let shown = validation::ordered_json(&object["metadata"], &FIELDS);
    let path = field::Path::new("metadata");
    errors.push(field::Error::invalid(&path, Value::Null, why).showing(shown));
}

fn invalid(review: Review, errors: &[field::Error]) -> Box<Status> {
    let (group, kind) = review.kind();
    // Access reviews are refused without their kind's name.
    let kind = if group == AUTHORIZATION { "" } else { kind };
    Status::invalid(group, kind, "", errors).into()
}

async fn token(call: &Call, object: &mut Value) {
    let token = object["spec"]["token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let shared = &call.shared;
    let mut asked: Vec<String> = texts(&object["spec"]["audiences"]);
    if asked.is_empty() {
        asked = shared.audiences().to_vec();
    }
    let known = shared.authenticators.token(shared, &token, &asked).await;
    object["status"] = match known {
        Ok(Some(Known { user, audiences })) if !audiences.is_empty() => {
            json!({"authenticated": true, "user": user.to_json(), "audiences": audiences})
        }
        Ok(Some(known)) => json!({"authenticated": true, "user": known.user.to_json()}),
        Ok(None) => json!({"user": {}, "error": "invalid bearer token"}),
        Err(error) => json!({"user": {}, "error": format!("[invalid bearer token, {error}]")}),
    };
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

async fn access(call: &Call, review: Review, object: &mut Value) {
    let user = match review {
        Review::SelfSubjectAccess => call.user.clone(),
        _ => subject(&object["spec"]),
    };
    let ask = attributes(user, &object["spec"]);
    let decision = call.shared.authorizer.decide(&ask).await;
    let mut status = json!({"allowed": decision.allowed});
    if decision.denied {
        status["denied"] = true.into();
    }
    for (key, text) in [
        ("reason", decision.reason),
        ("evaluationError", decision.error),
    ] {
        if !text.is_empty() {
            status[key] = text.into();
        }
    }
    object["status"] = status;
}

fn check_access(call: &Call, review: Review, object: &mut Value) -> Outcome<()> {
    let local = review == Review::LocalSubjectAccess;
    let namespace = &call.info.namespace;
    if local && meta::text(object, "namespace").is_empty() {
        meta::of(object).insert("namespace", namespace.as_str().into());
    }
    let mut errors = Vec::new();
    check_spec(review, &object["spec"], &mut errors);
    check_metadata(review, object, &mut errors);
    if local {
        check_local(namespace, &object["spec"], &mut errors);
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(invalid(review, &errors))
    }
}

fn check_spec(review: Review, spec: &Value, errors: &mut Vec<field::Error>) {
    let root = field::Path::new("spec");
    match (
        spec["resourceAttributes"].is_object(),
        spec["nonResourceAttributes"].is_object(),
    ) {
        (true, true) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.push(of_url(spec, why));
        }
        (false, false) => {
            let why =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let path = root.child("resourceAttributes");
            errors.push(field::Error::invalid(&path, Value::Null, why));
        }
        _ => {}
    }
    let nobody =
        spec["user"].as_str().unwrap_or_default().is_empty() && texts(&spec["groups"]).is_empty();
    if review != Review::SelfSubjectAccess && nobody {
        let why = "at least one of user or group must be specified";
        errors.push(field::Error::invalid(&root.child("user"), "", why));
    }
    for key in ["fieldSelector", "labelSelector"] {
        let path = root.child("resourceAttributes").child(key);
        selectors::check(&spec["resourceAttributes"][key], &path, errors);
    }
}

/// What is wrong with attributes of something that is no resource.
fn of_url(spec: &Value, why: &str) -> field::Error {
    let other = &spec["nonResourceAttributes"];
    let text = |key: &str| other[key].as_str().unwrap_or_default();
    let shown = json!({"Path": text("path"), "Verb": text("verb")});
    let path = field::Path::new("spec").child("nonResourceAttributes");
    field::Error::invalid(&path, shown, why)
}

/// A review in a namespace is about that namespace.
fn check_local(namespace: &str, spec: &Value, errors: &mut Vec<field::Error>) {
    let resource = &spec["resourceAttributes"];
    let asked = resource["namespace"].as_str().unwrap_or_default();
    if resource.is_object() && asked != namespace {
        let path = field::Path::new("spec").child("resourceAttributes");
        let why = "must match metadata.namespace";
        errors.push(field::Error::invalid(&path.child("namespace"), asked, why));
    }
    if !spec["nonResourceAttributes"].is_null() {
        errors.push(of_url(spec, "disallowed on this kind of request"));
    }
}

fn subject(spec: &Value) -> UserInfo {
    let extra = spec["extra"].as_object().into_iter().flatten();
    UserInfo {
        name: spec["user"].as_str().unwrap_or_default().into(),
        uid: spec["uid"].as_str().unwrap_or_default().into(),
        groups: texts(&spec["groups"]),
        extra: extra.map(|(k, v)| (k.to_string(), texts(v))).collect(),
    }
}

fn attributes(user: UserInfo, spec: &Value) -> authz::Attributes {
    let of = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_object() {
        return authz::Attributes {
            user,
            verb: of(resource, "verb"),
            group: of(resource, "group"),
            version: of(resource, "version"),
            resource: of(resource, "resource"),
            subresource: of(resource, "subresource"),
            name: of(resource, "name"),
            namespace: of(resource, "namespace"),
            is_resource: true,
            fields: selectors::of_review(&resource["fieldSelector"], selectors::fields),
            labels: selectors::of_review(&resource["labelSelector"], selectors::labels),
            ..authz::Attributes::default()
        };
    }
    authz::Attributes {
        user,
        verb: of(other, "verb"),
        path: of(other, "path"),
        ..authz::Attributes::default()
    }
}

fn rules(call: &Call, object: &mut Value) {
    let namespace = object["spec"]["namespace"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let (mut resource, mut other) = (Vec::new(), Vec::new());
    let (held, error) = call.shared.authorizer.rules(&call.user, &namespace);
    for rule in held {
        if !rule.resources.is_empty() {
            let mut shown = json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
            if !rule.resource_names.is_empty() {
                shown["resourceNames"] = rule.resource_names.clone().into();
            }
            resource.push(shown);
        }
        if !rule.non_resource_urls.is_empty() {
            other.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        }
    }
    object["spec"] = json!({});
    object["status"] = json!({"resourceRules": resource, "nonResourceRules": other, "incomplete": !error.is_empty()});
    if !error.is_empty() {
        object["status"]["evaluationError"] = error.into();
    }
}

//! Who may use the kubelet's server: the API server by its certificate, others by what the API server says of them.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use http::{Method, Request, StatusCode, header};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long an answer of the API server counts.
const REMEMBER: Duration = Duration::from_secs(30);
const MASTERS: &str = "system:masters";
const MAX_REMEMBERED: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct User {
    name: String,
    groups: Vec<String>,
}

/// Who wants to do what (verb, subresource of the node).
type Question = (User, &'static str, &'static str);

/// Checks requests.
pub struct Auth {
    client: Client,
    node: String,
    allowed: Mutex<HashMap<Question, (bool, Instant)>>,
}

type Refusal = (StatusCode, String);

impl Auth {
    pub fn new(client: Client, node: String) -> Self {
        Auth {
            client,
            node,
            allowed: Mutex::default(),
        }
    }

    /// Lets a request pass or says why not.
    pub async fn check<B>(
        &self,
        request: &Request<B>,
        certificate: Option<&CertificateDer<'_>>,
    ) -> Result<(), Refusal> {
        let verb = verb(request.method());
        let subresource = subresource(request.uri().path());
        let token = bearer(request).map(str::to_owned);
        let unauthorized = || (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
        let user = match (certificate.and_then(user_of), token) {
            (Some(user), _) => user,
            (None, Some(token)) => self.review(token).await.ok_or_else(unauthorized)?,
            (None, None) => return Err(unauthorized()),
        };
        if user.groups.iter().any(|g| g == MASTERS) || self.may(&user, verb, subresource).await {
            return Ok(());
        }
        let why = format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource={subresource})",
            user.name
        );
        Err((StatusCode::FORBIDDEN, why))
    }

    async fn review(&self, token: String) -> Option<User> {
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let spec = TokenReviewSpec {
            token,
            audiences: None,
        };
        let review: TokenReview =
            serde_json::from_value(serde_json::json!({"metadata": {}, "spec": spec})).ok()?;
        let answer = api
            .create(&PostParams::default(), &review)
            .await
            .ok()?
            .status?;
        let user = answer.user.filter(|_| answer.authenticated == Some(true))?;
        Some(User {
            name: user.username.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
        })
    }

    async fn may(&self, user: &User, verb: &'static str, subresource: &'static str) -> bool {
        let key = (user.clone(), verb, subresource);
        if let Some((allowed, at)) = self.allowed.lock().get(&key)
            && at.elapsed() < REMEMBER
        {
            return *allowed;
        }
        let spec = SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            groups: Some(user.groups.clone()),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                version: Some("v1".to_owned()),
                resource: Some("nodes".to_owned()),
                subresource: Some(subresource.to_owned()),
                name: Some(self.node.clone()),
                ..ResourceAttributes::default()
            }),
            extra: None::<BTreeMap<_, _>>,
            ..SubjectAccessReviewSpec::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let Ok(review) = serde_json::from_value(serde_json::json!({"metadata": {}, "spec": spec}))
        else {
            return false;
        };
        let Ok(answer) = api.create(&PostParams::default(), &review).await else {
            return false;
        };
        let allowed = answer.status.is_some_and(|s| s.allowed);
        let mut known = self.allowed.lock();
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(key, (allowed, Instant::now()));
        allowed
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

fn subresource(path: &str) -> &'static str {
    match path.trim_matches('/').split('/').next() {
        Some("stats") => "stats",
        Some("metrics") => "metrics",
        Some("logs") => "log",
        _ => "proxy",
    }
}

fn bearer<B>(request: &Request<B>) -> Option<&str> {
    request
        .headers()
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

/// The user a certificate speaks for: common name and organizations. The handshake verified it.
fn user_of(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject
        .iter_organization()
        .filter_map(|o| o.as_str().ok())
        .map(str::to_owned)
        .collect();
    Some(User { name, groups })
}

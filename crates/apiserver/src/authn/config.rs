//! How users may show who they are.

use std::{path::PathBuf, time::Duration};

use rustls_pki_types::CertificateDer;

use crate::UserInfo;

/// The ways to authenticate beyond client certificates and service account tokens. [`Default`] is v1.36's, except that
/// bootstrap tokens are taken (as kubeadm sets it).
#[derive(Debug, Clone)]
pub struct AuthenticationConfig {
    /// `--anonymous-auth`, or the `anonymous` part of the configuration file.
    pub anonymous: Anonymous,
    /// `--enable-bootstrap-token-auth`
    pub bootstrap_tokens: bool,
    /// `--requestheader-*`
    pub front_proxy: Option<FrontProxy>,
    /// `--authentication-config`: a file that is read again when it changes.
    pub file: Option<PathBuf>,
    /// `--oidc-*`, as an issuer of the same form as in the file.
    pub issuers: Vec<super::jwt::config::Issuer>,
    /// `--authentication-token-webhook-*`
    pub webhook: Option<TokenWebhook>,
}

impl Default for AuthenticationConfig {
    fn default() -> Self {
        AuthenticationConfig {
            anonymous: Anonymous::default(),
            bootstrap_tokens: true,
            front_proxy: None,
            file: None,
            issuers: Vec::new(),
            webhook: None,
        }
    }
}

/// Whether requests without credentials are those of `system:anonymous`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anonymous {
    pub enabled: bool,
    /// Paths that anonymous requests are taken for; empty means all.
    pub paths: Vec<String>,
}

impl Default for Anonymous {
    fn default() -> Self {
        Anonymous {
            enabled: true,
            paths: Vec::new(),
        }
    }
}

impl Anonymous {
    /// The anonymous user, when a request to `path` may be his.
    pub(crate) fn user(&self, path: &str) -> Option<UserInfo> {
        let open = self.enabled && (self.paths.is_empty() || self.paths.iter().any(|p| p == path));
        open.then(UserInfo::anonymous)
    }
}

/// A proxy in front of this server that authenticates users and names them in headers.
#[derive(Debug, Clone)]
pub struct FrontProxy {
    /// Authorities of the proxy's client certificate.
    pub cas: Vec<CertificateDer<'static>>,
    /// Common names that the proxy's certificate may have; empty means any.
    pub allowed_names: Vec<String>,
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_prefixes: Vec<String>,
}

/// A service that is asked about tokens that nobody here knows.
#[derive(Debug, Clone)]
pub struct TokenWebhook {
    /// A kubeconfig whose current cluster is the service.
    pub kubeconfig: PathBuf,
    /// `v1` or `v1beta1` of TokenReview.
    pub version: String,
    /// How long answers hold.
    pub cache: Duration,
}

//! Flags of authentication.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use knarr_apiserver::{
    Anonymous, Config, FrontProxy, TokenConfig, TokenWebhook, authentication_file as file,
    parse_token_file,
};

use super::{certificates, duration, read};

#[derive(Args, Clone, Default)]
#[group(skip)]
pub struct Flags {
    /// Take requests without credentials for those of system:anonymous.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    anonymous_auth: Option<bool>,
    /// AuthenticationConfiguration (apiserver.config.k8s.io/v1); read again when it changes.
    #[arg(long, value_name = "FILE")]
    authentication_config: Option<PathBuf>,
    /// Lines of `token,user,uid,"group1,group2"`.
    #[arg(long, value_name = "FILE")]
    token_auth_file: Option<PathBuf>,
    /// Take Secrets of type bootstrap.kubernetes.io/token of kube-system as credentials.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_bootstrap_token_auth: Option<bool>,
    /// Authorities of client certificates, beside the cluster's own.
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    #[command(flatten)]
    proxy: Proxy,
    #[command(flatten)]
    oidc: Oidc,
    /// kubeconfig of a service that is asked by TokenReview about tokens that nobody here knows.
    #[arg(long, value_name = "FILE")]
    authentication_token_webhook_config_file: Option<PathBuf>,
    /// Version of TokenReview that the service is asked with: v1beta1 or v1.
    #[arg(long, value_name = "VERSION", default_value = "v1beta1")]
    authentication_token_webhook_version: Option<String>,
    /// How long its answers hold.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2m")]
    authentication_token_webhook_cache_ttl: Option<Duration>,
    #[command(flatten)]
    accounts: Accounts,
}

/// Service account tokens.
#[derive(Args, Clone, Default)]
struct Accounts {
    /// Key that service account tokens are signed with.
    #[arg(long, value_name = "FILE")]
    service_account_signing_key_file: Option<PathBuf>,
    /// Further keys, public or private, whose tokens are taken. May be repeated.
    #[arg(long, value_name = "FILE")]
    service_account_key_file: Vec<PathBuf>,
    /// Issuer of service account tokens; those of further ones are taken, too. May be repeated.
    #[arg(long, value_name = "URL")]
    service_account_issuer: Vec<String>,
    /// Audiences of this server.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    api_audiences: Vec<String>,
    /// The longest that a service account token may last.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    service_account_max_token_expiration: Option<Duration>,
    /// Let tokens of pods live on for clients that do not read them again.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    service_account_extend_token_expiration: Option<bool>,
}

/// A proxy that authenticates.
#[derive(Args, Clone, Default)]
struct Proxy {
    /// Authorities of the proxy's client certificate.
    #[arg(long, value_name = "FILE")]
    requestheader_client_ca_file: Option<PathBuf>,
    /// Common names that its certificate may have; any if empty.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    requestheader_allowed_names: Vec<String>,
    #[arg(long, value_name = "HEADERS", value_delimiter = ',')]
    requestheader_username_headers: Vec<String>,
    #[arg(long, value_name = "HEADERS", value_delimiter = ',')]
    requestheader_uid_headers: Vec<String>,
    #[arg(long, value_name = "HEADERS", value_delimiter = ',')]
    requestheader_group_headers: Vec<String>,
    #[arg(long, value_name = "PREFIXES", value_delimiter = ',')]
    requestheader_extra_headers_prefix: Vec<String>,
}

/// One issuer of OpenID Connect.
#[derive(Args, Clone, Default)]
struct Oidc {
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    oidc_issuer_url: Option<String>,
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    oidc_client_id: Option<String>,
    /// Authority of the issuer; the machine's own ones without it.
    #[arg(long, value_name = "FILE")]
    oidc_ca_file: Option<PathBuf>,
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    oidc_username_claim: Option<String>,
    /// `-` for none; the issuer's URL and `#` unless the claim is `email`.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    oidc_username_prefix: Option<String>,
    #[arg(long, value_name = "CLAIM")]
    oidc_groups_claim: Option<String>,
    #[arg(long, value_name = "TEXT")]
    oidc_groups_prefix: Option<String>,
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "RS256"
    )]
    oidc_signing_algs: Vec<String>,
    /// A claim that tokens must have. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    oidc_required_claim: Vec<String>,
}

impl Flags {
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        let oidc = self.oidc.issuer()?;
        ensure!(
            self.authentication_config.is_none() || oidc.is_none(),
            "authentication-config file and oidc-* flags are mutually exclusive"
        );
        let authentication = &mut config.authentication;
        if let Some(enabled) = self.anonymous_auth {
            authentication.anonymous = Anonymous {
                enabled,
                paths: Vec::new(),
            };
        }
        authentication.file = self.authentication_config.clone();
        authentication.issuers.extend(oidc);
        if let Some(on) = self.enable_bootstrap_token_auth {
            authentication.bootstrap_tokens = on;
        }
        if let Some(proxy) = self.proxy.front_proxy()? {
            authentication.front_proxy = Some(proxy);
        }
        if let Some(kubeconfig) = &self.authentication_token_webhook_config_file {
            let version = self.authentication_token_webhook_version.as_deref();
            authentication.webhook = Some(TokenWebhook {
                kubeconfig: kubeconfig.clone(),
                version: version.unwrap_or("v1beta1").to_owned(),
                cache: self
                    .authentication_token_webhook_cache_ttl
                    .unwrap_or(Duration::from_secs(120)),
            });
        }
        if let Some(path) = &self.client_ca_file {
            config.client_cas.extend(certificates(path)?);
        }
        if let Some(path) = &self.token_auth_file {
            let told = |e| anyhow!("{}: {e}", path.display());
            let tokens = parse_token_file(&read(path)?).map_err(told)?;
            config.static_tokens.extend(tokens);
        }
        if let Some(tokens) = &mut config.tokens {
            self.accounts.apply(tokens)?;
        }
        Ok(())
    }
}

impl Accounts {
    fn apply(&self, tokens: &mut TokenConfig) -> Result<()> {
        if let Some(path) = &self.service_account_signing_key_file {
            let own = std::mem::replace(&mut tokens.signing_key_pem, read(path)?);
            tokens.further_keys.push(own);
        }
        for path in &self.service_account_key_file {
            tokens.further_keys.push(read(path)?);
        }
        if let Some((first, rest)) = self.service_account_issuer.split_first() {
            tokens.issuer = first.clone();
            tokens.former_issuers = rest.to_vec();
            tokens.audiences = self.service_account_issuer.clone();
        }
        if !self.api_audiences.is_empty() {
            tokens.audiences = self.api_audiences.clone();
        }
        if let Some(most) = self.service_account_max_token_expiration {
            ensure!(
                most >= Duration::from_secs(3600),
                "the service-account-max-token-expiration must be between 1 hour and 2^32 seconds"
            );
            tokens.max_seconds = Some(most.as_secs());
        }
        tokens.strict_expiration = self.service_account_extend_token_expiration == Some(false);
        Ok(())
    }
}

impl Proxy {
    fn front_proxy(&self) -> Result<Option<FrontProxy>> {
        let Some(path) = &self.requestheader_client_ca_file else {
            return Ok(None);
        };
        let or = |given: &[String], usual: &str| match given {
            [] => vec![usual.to_owned()],
            given => given.to_vec(),
        };
        Ok(Some(FrontProxy {
            cas: certificates(path)?,
            allowed_names: self.requestheader_allowed_names.clone(),
            username_headers: or(&self.requestheader_username_headers, "x-remote-user"),
            uid_headers: or(&self.requestheader_uid_headers, "x-remote-uid"),
            group_headers: or(&self.requestheader_group_headers, "x-remote-group"),
            extra_prefixes: or(&self.requestheader_extra_headers_prefix, "x-remote-extra-"),
        }))
    }
}

impl Oidc {
    fn issuer(&self) -> Result<Option<file::Issuer>> {
        let (Some(url), Some(client)) = (&self.oidc_issuer_url, &self.oidc_client_id) else {
            return Ok(None);
        };
        let claim = self.oidc_username_claim.clone().unwrap_or("sub".into());
        let prefix = match self.oidc_username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) if !prefix.is_empty() => prefix.to_owned(),
            _ if claim == "email" => String::new(),
            _ => format!("{url}#"),
        };
        let rules = self.oidc_required_claim.iter().map(|pair| {
            let (claim, value) = pair
                .split_once('=')
                .ok_or_else(|| anyhow!("--oidc-required-claim {pair}: expected KEY=VALUE"))?;
            Ok(file::ClaimRule {
                claim: claim.to_owned(),
                required_value: value.to_owned(),
                ..file::ClaimRule::default()
            })
        });
        let certificate_authority = match &self.oidc_ca_file {
            Some(path) => read(path)?,
            None => String::new(),
        };
        Ok(Some(file::Issuer {
            issuer: file::Source {
                url: url.clone(),
                certificate_authority,
                audiences: vec![client.clone()],
                ..file::Source::default()
            },
            claim_validation_rules: rules.collect::<Result<_>>()?,
            claim_mappings: file::Mappings {
                username: file::Mapping {
                    claim,
                    prefix: Some(prefix),
                    ..file::Mapping::default()
                },
                groups: file::Mapping {
                    claim: self.oidc_groups_claim.clone().unwrap_or_default(),
                    prefix: Some(self.oidc_groups_prefix.clone().unwrap_or_default()),
                    ..file::Mapping::default()
                },
                ..file::Mappings::default()
            },
            algorithms: match self.oidc_signing_algs.as_slice() {
                [] => vec!["RS256".to_owned()],
                some => some.to_vec(),
            },
            ..file::Issuer::default()
        }))
    }
}

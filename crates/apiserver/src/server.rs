//! The server itself: what every stage shares, and the ways in.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, LazyLock, Weak},
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::Request;
use http_body_util::BodyExt;
use ipnet::IpNet;
use knarr_api::{Registry, schema::Schemas};
use knarr_store::{Store, Transformer};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config, ExtensionAuthentication, Tls, TlsOptions, UserInfo,
    admission::{Addresses, Admission, Enabled, Settings},
    aggregation::{self, Aggregator},
    audit::Audit,
    authn::{Authenticators, jwt, token::Tokens, x509::Authorities},
    authz::Authorizer,
    body::Response,
    chain::{self, Peer},
    components::Components,
    custom,
    discovery::Documents,
    expire,
    flow::{Flow, dangling},
    health::Health,
    leaks,
    metrics::Metrics,
    poststart,
    proxy::Kubelets,
    reload::{self, Followed},
    serve,
    webhook::Clients,
};

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("authentication: {0}")]
    Authentication(String),
    #[error("audit: {0}")]
    Audit(String),
    #[error("authorization: {0}")]
    Authorization(String),
    #[error("client certificate authorities: {0}")]
    Authorities(rustls::Error),
    #[error("service account signing key: {0}")]
    SigningKey(String),
    #[error("kubelet client certificate: {0}")]
    KubeletClient(String),
    #[error("{0}")]
    Admission(String),
    #[error("bringing up the default objects: {0}")]
    Defaults(String),
}

/// What every stage shares.
pub(crate) struct Shared {
    /// This very thing, for tasks that outlive a request.
    pub me: Weak<Shared>,
    pub store: Store,
    pub registry: ArcSwap<Registry>,
    pub schemas: ArcSwap<Schemas>,
    /// Tells those who watch custom resources when definitions change.
    pub definitions: tokio::sync::watch::Sender<()>,
    pub authorizer: Authorizer,
    pub tokens: Option<Tokens>,
    pub authenticators: Authenticators,
    pub audit: Option<Audit>,
    pub flow: Arc<Flow>,
    /// Those of client certificates.
    pub authorities: ArcSwap<Authorities>,
    pub addresses: Addresses,
    pub admission: Admission,
    pub webhooks: Clients,
    pub documents: Documents,
    pub aggregator: Aggregator,
    pub extension_authentication: ExtensionAuthentication,
    pub kubelets: Kubelets,
    pub service_cidrs: Vec<IpNet>,
    pub advertise: Option<std::net::SocketAddr>,
    pub client_cas: Vec<rustls_pki_types::CertificateDer<'static>>,
    pub flags: BTreeMap<String, String>,
    pub event_ttl: Duration,
    pub request_timeout: Duration,
    pub tls: TlsOptions,
    pub goaway_chance: f64,
    pub encryption: Option<Arc<dyn Transformer>>,
    pub metrics: Metrics,
    pub health: Health,
    pub components: Components,
    /// How long the server goes on after it has said that it is not ready any more.
    pub shutdown_delay: Duration,
    /// Cancelled when the server is about to stop.
    pub draining: CancellationToken,
    /// Cancelled when the server stops: ends watches and background tasks.
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

impl Shared {
    /// Whether an object must be written though nothing changes, so that it is kept with today's key.
    pub fn is_stale(&self, key: &str) -> bool {
        self.encryption.as_ref().is_some_and(|e| e.stale(key))
    }

    /// Audiences that tokens for this server name.
    pub fn audiences(&self) -> &[String] {
        self.tokens.as_ref().map_or(&[], |t| &t.audiences)
    }
}

/// The API server. Clones share everything.
#[derive(Clone)]
pub struct ApiServer(pub(crate) Arc<Shared>);

impl ApiServer {
    /// Reads what authorization and allocation need from the store, brings up the default objects (namespaces, RBAC,
    /// the `kubernetes` Service) and starts the background tasks.
    ///
    /// # Errors
    /// When keys cannot be read or the default objects cannot be written.
    pub async fn new(mut config: Config) -> Result<Self, StartError> {
        if config.old_versions {
            config.registry.serve_old_versions();
        }
        LazyLock::force(&crate::metrics::STARTED);
        let tokens = config
            .tokens
            .map(Tokens::new)
            .transpose()
            .map_err(StartError::SigningKey)?;
        let kubelets = Kubelets::new(config.kubelet).map_err(StartError::KubeletClient)?;
        let plugins = Enabled::new(&config.admission.enable, &config.admission.disable)
            .map_err(StartError::Admission)?;
        let file = config.admission.config_file.as_deref();
        let settings = file.map(Settings::read).transpose();
        let settings = settings.map_err(StartError::Admission)?.unwrap_or_default();
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let modes = config.authorization.file.clone();
        let modes = modes.map(|file| Followed::read("authorization", file));
        let modes = modes.transpose().map_err(StartError::Authorization)?;
        let authorizer = Authorizer::new(config.authorization, &config.store)
            .await
            .map_err(StartError::Authorization)?;
        let proxies = config.authentication.front_proxy.as_ref();
        let proxies = proxies.map_or_else(Vec::new, |p| p.cas.clone());
        let authorities =
            Authorities::new(&config.client_cas, &proxies).map_err(StartError::Authorities)?;
        let file = config.authentication.file.clone();
        let authenticators = Authenticators::new(config.authentication, config.static_tokens)
            .await
            .map_err(StartError::Authentication)?;
        let audit = Audit::new(config.audit, &stop, &tasks)
            .await
            .map_err(StartError::Audit)?;
        let flow = Arc::new(Flow::new(&config.flow, &config.store));
        Flow::follow(&flow, &config.store, &stop, &tasks);
        let issuers = file.map(|file| Followed::read("authentication", file));
        let issuers = issuers.transpose().map_err(StartError::Authentication)?;
        if let Some(issuers) = &issuers {
            let taken = jwt::config::parse(&issuers.text);
            let taken = taken.and_then(|parsed| authenticators.reconfigure(parsed));
            taken.map_err(|why| {
                StartError::Authentication(format!("{}: {why}", issuers.file.display()))
            })?;
        }
        let admission = Admission::new(plugins, settings, &config.store);
        let webhooks = Clients::new(config.store.clone());
        let addresses = Addresses::new(
            config.service_cidrs.clone(),
            config.node_ports,
            Some(config.store.clone()),
        );
        let shared = Arc::new_cyclic(|me| Shared {
            me: me.clone(),
            store: config.store,
            registry: ArcSwap::from_pointee(config.registry),
            schemas: ArcSwap::default(),
            definitions: tokio::sync::watch::Sender::new(()),
            authorizer,
            tokens,
            authenticators,
            audit,
            flow,
            authorities: ArcSwap::from_pointee(authorities),
            addresses,
            admission,
            webhooks,
            documents: Documents::default(),
            aggregator: Aggregator::new(config.proxy_client),
            extension_authentication: config.extension_authentication,
            kubelets,
            service_cidrs: config.service_cidrs,
            advertise: config.advertise,
            client_cas: config.client_cas,
            flags: config.flags,
            event_ttl: config.event_ttl,
            request_timeout: config.request_timeout,
            tls: config.tls,
            goaway_chance: config.goaway_chance,
            encryption: config.encryption,
            metrics: Metrics::default(),
            health: Health::default(),
            components: Components::default(),
            shutdown_delay: config.shutdown_delay,
            draining: CancellationToken::new(),
            stop,
            tasks,
        });
        let definitions = custom::load(&shared);
        poststart::run(&shared)
            .await
            .map_err(StartError::Defaults)?;
        custom::start(&shared, definitions);
        dangling::start(&shared);
        expire::start(&shared);
        leaks::start(&shared);
        if let Some(issuers) = issuers {
            reload::follow(&shared, issuers, |shared, text| {
                let taken = jwt::config::parse(text);
                let taken = taken.and_then(|parsed| shared.authenticators.reconfigure(parsed));
                Box::pin(std::future::ready(taken))
            });
        }
        if let Some(modes) = modes {
            reload::follow(&shared, modes, |shared, text| {
                Box::pin(shared.authorizer.reconfigure(text))
            });
        }
        aggregation::start(&shared);
        Ok(ApiServer(shared))
    }

    /// The chain for components of this process: same authorization, admission and semantics, no sockets.
    pub fn service(&self, user: UserInfo) -> Service {
        Service {
            shared: self.0.clone(),
            peer: Peer::Local(Arc::new(user)),
        }
    }

    /// Serves HTTPS (HTTP/1.1 and HTTP/2) on `listener` until [`ApiServer::stop`].
    ///
    /// # Errors
    /// When the TLS material cannot be used.
    pub async fn serve(&self, listener: TcpListener, tls: Tls) -> Result<(), rustls::Error> {
        serve::run(self.0.clone(), listener, tls).await
    }

    /// Has a part of the control plane that runs in this process, such as the scheduler, among the ComponentStatuses.
    pub fn runs_here(&self, name: &str, alive: impl Fn() -> bool + Send + Sync + 'static) {
        self.0.components.add(name, Box::new(alive));
    }

    /// Says that the server is not ready any more, gives clients the configured time to notice, then ends watches,
    /// connections and background tasks and waits for them.
    pub async fn stop(&self) {
        self.0.draining.cancel();
        tokio::time::sleep(self.0.shutdown_delay).await;
        self.0.stop.cancel();
        self.0.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.0.tasks.wait()).await;
    }
}

/// The chain as a [`tower::Service`] for one user.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
    peer: Peer,
}

impl tower::Service<Request<kube::client::Body>> for Service {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let (shared, peer) = (self.shared.clone(), self.peer.clone());
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        Box::pin(async move { Ok(chain::handle(shared, request, peer).await) })
    }
}

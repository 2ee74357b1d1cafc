//! Server: accepts connections, identifies their peers, and drains on shutdown.

mod admin;
mod client;
mod preamble;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::{Cluster, ClusterEvent};
use limits::{Admission, AdmissionLimits, ConcurrencyLimiter, RequestLimiter};
use llm::{Model, ModelError};
use service_runtime::{AcceptBackoff, LogThrottle};
use socket2::{SockRef, TcpKeepalive};
use store::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connection;
use crate::guard::{Guard, GuardError, GuardMetrics};
use crate::metrics::Metrics;
use crate::sessions::{SessionLimits, Sessions};
use crate::turn::{Budget, BudgetSettings, Context, Referrals, Summarizer, TurnService};

/// Time after the drain timeout for connections to send `shutting_down` and close.
const DRAIN_MARGIN: Duration = Duration::from_secs(2);
/// Silence before TCP keepalive probes, which end half-open connections.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);

/// Core server: accept loop, admission and shared state of its connections.
#[derive(Debug)]
pub struct Server {
    context: Arc<connection::Context>,
    metrics: Arc<Metrics>,
    admission: Arc<Admission>,
    /// For sockets dropped at accept; `rejection_log` for connections rejected because of their PROXY header.
    drop_log: LogThrottle,
    rejection_log: LogThrottle,
    /// Taken once, by [`Self::serve`].
    cluster_events: Mutex<Option<mpsc::Receiver<ClusterEvent>>>,
}

/// A server cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The model's client cannot be created.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The second opinion's client cannot be created.
    #[error(transparent)]
    Guard(#[from] GuardError),
}

/// Binds the listener of `config`.
///
/// # Errors
///
/// The port is taken, or the address belongs to no interface of this host; the message names both settings.
pub async fn bind(config: &Config) -> io::Result<TcpListener> {
    TcpListener::bind((config.host.as_str(), config.port)).await.map_err(|error| {
        let Config { host, port, .. } = config;
        io::Error::new(error.kind(), format!("cannot listen on {host}:{port} (APP_HOST, APP_PORT): {error}"))
    })
}

impl Server {
    /// Creates a server with the settings of `config` on `store`.
    ///
    /// # Errors
    ///
    /// See [`ServerError`].
    pub fn new(config: Config, store: Arc<dyn Store>) -> Result<Self, ServerError> {
        safety::prepare();
        let (tasks, draining) = (TaskTracker::new(), CancellationToken::new());
        let (_, counted) = store.pool().unwrap_or_default();
        let metrics = Arc::new(Metrics::new(&counted));
        let guard_metrics = GuardMetrics::new(metrics.registry());
        let about = config.about();
        let Config { per_user_max, orphan, retention, unreached, .. } = config;
        let limits = SessionLimits { per_user_max, abandoned_after: orphan, retention, unreached };
        let new_cluster = |settings| Cluster::new(settings, metrics.cluster.redis_disconnects.clone());
        let (cluster, cluster_events) = config.cluster.map(new_cluster).unzip();
        let slots = ConcurrencyLimiter::new(config.max_in_flight, config.queue_max, config.queue_timeout);
        let Config { rate, address_rate, .. } = config;
        let budget = BudgetSettings { rate, address_rate };
        let turns = TurnService {
            store,
            budget: Budget::new(budget, Arc::clone(&slots), cluster.clone()),
            slots,
            model: config.llm.map(|llm| Model::new(llm, &metrics.model)).transpose()?,
            guard: config.guard.map(|guard| Guard::new(guard, guard_metrics)).transpose()?,
            context: Context::new(config.context),
            cluster,
            summarizer: Summarizer::new(draining.clone()),
            referrals: Referrals::default(),
            metrics: Arc::clone(&metrics),
        };
        let context = connection::Context {
            sessions: Sessions::new(turns, limits, tasks.clone(), draining.clone()),
            timeouts: config.timeouts,
            tasks,
            draining,
            request_limiter: RequestLimiter::default(),
            about,
        };
        Ok(Self {
            context: Arc::new(context),
            metrics,
            admission: Admission::new(AdmissionLimits {
                max_connections: config.max_connections,
                max_connections_per_address: config.max_connections_per_address,
                connects: config.connects,
                trusted: config.trusted_proxies,
            }),
            drop_log: LogThrottle::default(),
            rejection_log: LogThrottle::default(),
            cluster_events: Mutex::new(cluster_events),
        })
    }

    /// Serves clients of `listener` until `shutdown`, then drains: clients get a notice, answers in progress end,
    /// connections close. Returns the number of tasks left when the drain timed out, else 0.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) -> usize {
        let sweeping = Arc::clone(&self.context.sessions).sweep_forever();
        // Upkeep outlives `shutdown`: answers that end during the drain must still be published to the other cores.
        let upkeep_end = CancellationToken::new();
        let _end_upkeep = upkeep_end.clone().drop_guard();
        self.spawn_upkeep(&upkeep_end);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.accept_all(&listener) => {}
            () = sweeping => {}
        }
        // Closed before the drain, so that new connections go to another core.
        drop(listener);
        let tasks = &self.context.tasks;
        tracing::info!(tasks.open = tasks.len(), "draining");
        self.context.draining.cancel();
        tasks.close();
        if timeout(self.context.timeouts.drain + DRAIN_MARGIN, tasks.wait()).await.is_err() {
            tracing::warn!(tasks.left = tasks.len(), "drain timed out");
        }
        self.context.sessions.flush_at_end().await;
        tasks.len()
    }

    /// Spawns background work that runs until `end`: exchange with the other cores of the cluster, and the flush of
    /// counts to the store.
    fn spawn_upkeep(&self, end: &CancellationToken) {
        let sessions = Arc::clone(&self.context.sessions);
        // A tracker of its own: these never end by themselves, so the drain must not wait for them.
        let upkeep = TaskTracker::new();
        upkeep.spawn(end.clone().run_until_cancelled_owned(Arc::clone(&sessions).flush_forever()));
        upkeep.spawn(end.clone().run_until_cancelled_owned(Arc::clone(&sessions).count_tokens_forever()));
        let cluster_events = self.cluster_events.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(cluster), Some(cluster_events)) = (sessions.turns().cluster.clone(), cluster_events) {
            let handling = Arc::clone(&sessions).run_cluster_events(cluster_events);
            upkeep.spawn(end.clone().run_until_cancelled_owned(handling));
            upkeep.spawn(
                end.clone().run_until_cancelled_owned(async move { cluster.run(&sessions.turns().slots).await }),
            );
        }
    }

    async fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
        let mut backoff = AcceptBackoff::default();
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    backoff.reset();
                    self.accept(stream, address);
                }
                Err(error) => {
                    if let Some(delay) = backoff.next_delay(&error) {
                        tracing::warn!(%error, pause_ms = delay.as_millis(), "accept failed; backing off");
                        self.metrics.accept_backoffs.inc();
                        sleep(delay).await;
                    }
                }
            }
        }
    }

    fn accept(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let permit = match self.admission.accept(address.ip()) {
            Ok(permit) => permit,
            Err(rejection) => {
                if let Some(suppressed) = self.drop_log.admit(Instant::now()) {
                    tracing::warn!(client.address = %address.ip(), suppressed, "connection dropped: {rejection}");
                }
                return;
            }
        };
        // Best effort: a socket without these options works too.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_TIME));
        let server = Arc::clone(self);
        self.context.tasks.spawn(async move { server.handle_socket(stream, address.ip(), Some(permit)).await });
    }
}

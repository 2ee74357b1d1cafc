//! Accepts clients, learns who they are, and drains when asked to.

mod admin;
mod hop;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use boot::{AcceptPauses, Household, Seats, TrustedProxies};
use bytes::BytesMut;
use protocol::CloseReason;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connection::{self, Beginning, Begun, Connection, Outcome};
use crate::limits::{RateLimiter, Slots};
use crate::llm::{Model, ModelError};
use crate::metrics::{Metrics, OpenConnection};
use crate::session::{Policy, Sessions};
use crate::shared::{Heard, Shared};
use crate::store::Store;
use crate::turn::{Budget, BudgetSettings, Context, Engine, Folding};
use hop::Arrival;

/// Sockets accepted beyond `MAX_CONNECTIONS`: to tell people that there is no room.
const SPARE_SOCKETS: usize = 128;
/// Time for connections to be told when their drain time is over.
const DRAIN_MARGIN: Duration = Duration::from_secs(2);
/// Time for a refused client to take its one line.
const REFUSAL_LIMIT: Duration = Duration::from_secs(1);
/// A silent peer is asked for life after this time: half-open connections end.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Everything the server's connections share.
#[derive(Debug)]
pub struct Server {
    context: Arc<connection::Context>,
    metrics: Arc<Metrics>,
    seats: Arc<Seats>,
    connects: RateLimiter<Household>,
    trusted: TrustedProxies,
    sockets: Arc<Semaphore>,
    retention: Option<Duration>,
    /// What other cores tell, until it is taken up.
    heard: Mutex<Option<mpsc::Receiver<Heard>>>,
}

/// Opens the port of `config`.
///
/// # Errors
///
/// The port is taken, or the address is not ours; the message says which.
pub async fn bind(config: &Config) -> io::Result<TcpListener> {
    TcpListener::bind((config.host.as_str(), config.port)).await.map_err(|error| {
        let Config { host, port, .. } = config;
        io::Error::new(error.kind(), format!("cannot listen on {host}:{port} (APP_HOST, APP_PORT): {error}"))
    })
}

impl Server {
    /// A server with the settings of `config` that keeps its conversations in `store`.
    ///
    /// # Errors
    ///
    /// The client for the model cannot be made.
    pub fn new(config: Config, store: Arc<dyn Store>) -> Result<Self, ModelError> {
        let (tasks, draining) = (TaskTracker::new(), CancellationToken::new());
        let (_, counted) = store.pool().unwrap_or_default();
        let metrics = Arc::new(Metrics::new(&counted));
        let policy = Policy { per_user_max: config.per_user_max, orphan: config.orphan };
        let share = |settings| Shared::new(settings, metrics.redis_links_lost.clone());
        let (shared, heard) = config.shared.map(share).unzip();
        let slots = Slots::new(config.max_in_flight, config.queue_max, config.queue_timeout);
        let Config { rate, address_rate, .. } = config;
        let budget = BudgetSettings { rate, address_rate };
        let engine = Engine {
            store,
            budget: Budget::new(budget, Arc::clone(&slots), shared.clone()),
            slots,
            model: config.llm.map(|llm| Model::new(llm, &metrics.model)).transpose()?,
            context: Context::new(config.context),
            shared,
            folding: Folding::new(draining.clone()),
            metrics: Arc::clone(&metrics),
        };
        let context = connection::Context {
            sessions: Sessions::new(engine, policy, tasks.clone()),
            times: config.times,
            tasks,
            draining,
        };
        Ok(Self {
            context: Arc::new(context),
            metrics,
            seats: Seats::new(config.max_connections, config.max_connections_per_address),
            connects: RateLimiter::new(config.connects),
            trusted: config.trusted_proxies,
            retention: config.retention,
            heard: Mutex::new(heard),
            sockets: Arc::new(Semaphore::new(config.max_connections.saturating_add(SPARE_SOCKETS))),
        })
    }

    /// Serves clients of `listener` until `shutdown`, then drains: clients are told, answers
    /// under way end, connections close. Returns how much was left when the time was over.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) -> usize {
        let sweeping = Arc::clone(&self.context.sessions).sweep_forever(self.retention);
        // Answers that end while the server drains are told to the other cores too.
        let sharing = CancellationToken::new();
        let _end_sharing = sharing.clone().drop_guard();
        self.share(&sharing);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.accept_all(&listener) => {}
            () = sweeping => {}
        }
        drop(listener);
        let tasks = &self.context.tasks;
        tracing::info!(tasks.open = tasks.len(), "draining");
        self.context.draining.cancel();
        tasks.close();
        if timeout(self.context.times.drain + DRAIN_MARGIN, tasks.wait()).await.is_err() {
            tracing::warn!(tasks.left = tasks.len(), "drain timed out");
        }
        tasks.len()
    }

    /// Keeps in touch with the other cores until `end`, if there are any.
    fn share(&self, end: &CancellationToken) {
        let sessions = Arc::clone(&self.context.sessions);
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(shared), Some(heard)) = (sessions.engine().shared.clone(), heard) {
            let hearing = Arc::clone(&sessions).hear_forever(heard);
            // Not among the tasks a drain waits for.
            let tasks = TaskTracker::new();
            tasks.spawn(end.clone().run_until_cancelled_owned(hearing));
            tasks.spawn(
                end.clone().run_until_cancelled_owned(async move { shared.run(&sessions.engine().slots).await }),
            );
        }
    }

    async fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
        let mut pauses = AcceptPauses::default();
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    pauses.reset();
                    self.accept(stream, address);
                }
                Err(error) => {
                    if let Some(pause) = pauses.after(&error) {
                        tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept connections");
                        self.metrics.accept_pauses.inc();
                        sleep(pause).await;
                    }
                }
            }
        }
    }

    fn accept(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let Ok(permit) = Arc::clone(&self.sockets).try_acquire_owned() else {
            return tracing::warn!(client.address = %address.ip(), "connection dropped: no sockets left");
        };
        // A socket without these options works too.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
        let server = Arc::clone(self);
        self.context.tasks.spawn(async move {
            server.handle(stream, address.ip()).await;
            drop(permit);
        });
    }

    /// Serves one client whose socket comes from `address`, from its first byte to its last.
    pub async fn handle<S>(&self, stream: S, address: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let beginning = Beginning { stream, first: BytesMut::new(), begun: Begun::default() };
        let mut next = Some(Box::new(beginning));
        let mut counted = self.metrics.open_connection();
        // Twice at most: who has introduced itself is not asked again.
        while let Some(beginning) = next.take() {
            next = self.serve_one(beginning, address, &mut counted).await;
        }
    }

    /// Serves the client until it leaves, or turns out to speak for somebody else.
    async fn serve_one<S>(
        &self,
        mut beginning: Box<Beginning<S>>,
        address: IpAddr,
        counted: &mut OpenConnection<'_>,
    ) -> Option<Box<Beginning<S>>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let begin = Instant::now();
        let trusted = self.trusted.contains(address);
        // Boxed, as the conversation is: what only a connection's beginning needs is let go with it.
        let arriving = Box::pin(hop::arrive(&mut beginning.stream, &mut beginning.first, self.context.times));
        let peer = match arriving.await {
            Arrival::Lost => {
                counted.closing(CloseReason::ClientGone);
                return None;
            }
            Arrival::Late | Arrival::BadHeader if trusted => {
                return refused(address, counted, CloseReason::HandshakeTimeout);
            }
            Arrival::Header(_) if !trusted => return refused(address, counted, CloseReason::Unauthorized),
            Arrival::Late | Arrival::BadHeader => return refused(address, counted, CloseReason::Unauthorized),
            arrival => arrival.peer(address, begin, trusted),
        };
        let Beginning { stream, first, begun } = *beginning;
        let (trace, address) = (peer.trace.trace_id, peer.address);
        tracing::info!(trace_id = %trace, client.address = %address, "connection opened");
        // Whoever comes too often is told what is told where there is no room.
        let seat =
            self.connects.take(Household::of(address), Instant::now()).ok().and_then(|()| self.seats.take(address));
        let outcome = match seat {
            Some(_seat) => {
                Box::pin(Connection::new(peer, Arc::clone(&self.context)).continuing(begun).run(stream, first)).await
            }
            None => Outcome::Over(Box::pin(turn_away(stream, peer)).await),
        };
        let duration_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        match outcome {
            Outcome::Over(reason) => {
                counted.closing(reason);
                tracing::info!(
                    trace_id = %trace, client.address = %address, close.reason = %reason, duration_ms, "connection closed"
                );
                None
            }
            Outcome::Introduced(anew) => {
                tracing::info!(
                    trace_id = %trace, client.address = %address, duration_ms, "connection begins anew: its PROXY header came late"
                );
                Some(anew)
            }
        }
    }
}

/// Tells a client that there is no room for it.
async fn turn_away(mut stream: impl AsyncWrite + Unpin, peer: connection::Peer) -> CloseReason {
    let tell = async {
        stream.write_all(&connection::too_many_connections(&peer)).await?;
        stream.shutdown().await
    };
    // Who does not take the line in time does without it.
    let _ = timeout(REFUSAL_LIMIT, tell).await;
    CloseReason::TooManyConnections
}

/// There is nothing more to serve.
fn refused<S>(address: IpAddr, counted: &mut OpenConnection<'_>, reason: CloseReason) -> Option<Box<Beginning<S>>> {
    counted.closing(reason);
    tracing::warn!(client.address = %address, close.reason = %reason, "connection refused in its PROXY header");
    None
}

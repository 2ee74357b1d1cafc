//! Accepts clients, learns who they are, and drains when asked to.

mod admin;
mod hop;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use boot::{AcceptBackoff, Admission, AdmissionLimits, ConnectionPermit, LogThrottle, SocketPermit};
use bytes::BytesMut;
use protocol::CloseReason;
use protocol::trace::TraceId;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster::{Cluster, ClusterEvent};
use crate::config::Config;
use crate::connection::{self, Beginning, Begun, Connection, Outcome};
use crate::guard::{Guard, GuardError};
use crate::limits::{ConcurrencyLimiter, RequestLimiter};
use crate::llm::{Model, ModelError};
use crate::metrics::{Metrics, OpenConnection};
use crate::session::{Policy, Sessions};
use crate::store::Store;
use crate::turn::{Budget, BudgetSettings, Context, Engine, Folding, Referrals};
use hop::Arrival;

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
    admission: Arc<Admission>,
    /// Of sockets for which there was no room, and of those refused in their PROXY header.
    dropped: LogThrottle,
    refused: LogThrottle,
    /// What other cores tell, until it is taken up.
    heard: Mutex<Option<mpsc::Receiver<ClusterEvent>>>,
}

/// The server cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The client for the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The client for the second opinion.
    #[error(transparent)]
    Guard(#[from] GuardError),
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
    /// A client cannot be made.
    pub fn new(config: Config, store: Arc<dyn Store>) -> Result<Self, ServerError> {
        safety::prepare();
        let (tasks, draining) = (TaskTracker::new(), CancellationToken::new());
        let (_, counted) = store.pool().unwrap_or_default();
        let metrics = Arc::new(Metrics::new(&counted));
        let about = config.about();
        let Config { per_user_max, orphan, retention, unreached, .. } = config;
        let policy = Policy { per_user_max, orphan, retention, unreached };
        let share = |settings| Cluster::new(settings, metrics.redis_disconnects.clone());
        let (cluster, heard) = config.cluster.map(share).unzip();
        let slots = ConcurrencyLimiter::new(config.max_in_flight, config.queue_max, config.queue_timeout);
        let Config { rate, address_rate, .. } = config;
        let budget = BudgetSettings { rate, address_rate };
        let engine = Engine {
            store,
            budget: Budget::new(budget, Arc::clone(&slots), cluster.clone()),
            slots,
            model: config.llm.map(|llm| Model::new(llm, &metrics.model)).transpose()?,
            guard: config.guard.map(|guard| Guard::new(guard, metrics.guard.clone())).transpose()?,
            context: Context::new(config.context),
            cluster,
            folding: Folding::new(draining.clone()),
            referrals: Referrals::default(),
            metrics: Arc::clone(&metrics),
        };
        let context = connection::Context {
            sessions: Sessions::new(engine, policy, tasks.clone(), draining.clone()),
            times: config.times,
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
            dropped: LogThrottle::default(),
            refused: LogThrottle::default(),
            heard: Mutex::new(heard),
        })
    }

    /// Serves clients of `listener` until `shutdown`, then drains: clients are told, answers
    /// under way end, connections close. Returns how much was left when the time was over.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) -> usize {
        let sweeping = Arc::clone(&self.context.sessions).sweep_forever();
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
        self.context.sessions.flush_at_end().await;
        tasks.len()
    }

    /// Works in the background until `end`: keeps in touch with the other cores, if there are any, and brings
    /// counts to the store.
    fn share(&self, end: &CancellationToken) {
        let sessions = Arc::clone(&self.context.sessions);
        // Not among the tasks a drain waits for.
        let upkeep = TaskTracker::new();
        upkeep.spawn(end.clone().run_until_cancelled_owned(Arc::clone(&sessions).flush_forever()));
        upkeep.spawn(end.clone().run_until_cancelled_owned(Arc::clone(&sessions).count_tokens_forever()));
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(cluster), Some(heard)) = (sessions.engine().cluster.clone(), heard) {
            let hearing = Arc::clone(&sessions).hear_forever(heard);
            upkeep.spawn(end.clone().run_until_cancelled_owned(hearing));
            upkeep.spawn(
                end.clone().run_until_cancelled_owned(async move { cluster.run(&sessions.engine().slots).await }),
            );
        }
    }

    async fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
        let mut pauses = AcceptBackoff::default();
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    pauses.reset();
                    self.accept(stream, address);
                }
                Err(error) => {
                    if let Some(pause) = pauses.next_delay(&error) {
                        tracing::warn!(%error, pause_ms = pause.as_millis(), "accept failed; backing off");
                        self.metrics.accept_backoffs.inc();
                        sleep(pause).await;
                    }
                }
            }
        }
    }

    fn accept(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let permit = match self.admission.accept(address.ip()) {
            Ok(permit) => permit,
            Err(refusal) => {
                if let Some(suppressed) = self.dropped.admit(Instant::now()) {
                    tracing::warn!(client.address = %address.ip(), suppressed, "connection dropped: {refusal}");
                }
                return;
            }
        };
        // A socket without these options works too.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
        let server = Arc::clone(self);
        self.context.tasks.spawn(async move { server.handle_socket(stream, address.ip(), Some(permit)).await });
    }

    /// Serves one client whose socket comes from `address`, from its first byte to its last.
    pub async fn handle<S>(&self, stream: S, address: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.handle_socket(stream, address, None).await;
    }

    async fn handle_socket<S>(&self, stream: S, address: IpAddr, permit: Option<SocketPermit>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let beginning = Beginning { stream, first: BytesMut::new(), begun: Begun::default() };
        let mut next = Some(Box::new(beginning));
        let mut client = Client { address, counted: self.metrics.open_connection(), permit };
        // Twice at most: who has introduced itself is not asked again.
        while let Some(beginning) = next.take() {
            next = self.serve_one(beginning, &mut client).await;
        }
    }

    /// Serves the client until it leaves, or turns out to speak for somebody else.
    async fn serve_one<S>(&self, mut beginning: Box<Beginning<S>>, client: &mut Client<'_>) -> Option<Box<Beginning<S>>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let begin = Instant::now();
        let trusted = self.admission.trusts(client.address);
        // A peer that speaks for itself is counted before a byte of it is waited for.
        let early = (!trusted).then(|| self.admit(client.address, client));
        let arrival = match early {
            Some(None) => Arrival::Ordinary,
            // Boxed, as the conversation is: what only a connection's beginning needs is let go with it.
            Some(Some(_)) | None => Box::pin(self.arrive(&mut beginning, trusted)).await,
        };
        let is_check = arrival.is_check();
        let peer = match arrival {
            Arrival::Lost => {
                client.counted.closing(CloseReason::ClientGone);
                return None;
            }
            Arrival::Late | Arrival::BadHeader => return self.refused(client, CloseReason::HandshakeTimeout),
            Arrival::Untrusted => return self.refused(client, CloseReason::Unauthorized),
            arrival => arrival.peer(client.address, begin, trusted),
        };
        let seat = match early {
            Some(seat) => seat,
            None if is_check => None,
            None => self.admit(peer.address, client),
        };
        let Beginning { stream, first, begun } = *beginning;
        let visit = Visit { trace: peer.trace.trace_id, address: peer.address, is_check, begin };
        visit.log_opened();
        let outcome = if seat.is_some() || is_check {
            Box::pin(Connection::new(peer, Arc::clone(&self.context)).continuing(begun).run(stream, first)).await
        } else {
            Outcome::Over(Box::pin(turn_away(stream, peer)).await)
        };
        drop(seat);
        match outcome {
            Outcome::Over(reason) => {
                client.counted.closing(reason);
                visit.log_closed(reason);
                None
            }
            Outcome::Introduced(anew) => {
                visit.log_introduced();
                Some(anew)
            }
        }
    }

    /// How a connection begins. A trusted peer may take its time, unless too many others do.
    async fn arrive<S>(&self, beginning: &mut Beginning<S>, trusted: bool) -> Arrival
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let arriving = hop::arrive(&mut beginning.stream, &mut beginning.first, self.context.times, trusted);
        if !trusted {
            return arriving.await;
        }
        let permit = self.admission.preamble();
        tokio::select! {
            arrival = arriving => arrival,
            () = permit.evicted() => Arrival::Late,
        }
    }

    /// A seat for a person at `address`. One who comes too often is treated as if there were none left.
    fn admit(&self, address: IpAddr, client: &mut Client<'_>) -> Option<ConnectionPermit> {
        self.admission.connect(address, Instant::now()).ok()?;
        let seat = self.admission.acquire_connection(address)?;
        if let Some(permit) = &mut client.permit {
            permit.finish_handshake();
        }
        Some(seat)
    }

    /// There is nothing more to serve.
    fn refused<S>(&self, client: &mut Client<'_>, reason: CloseReason) -> Option<Box<Beginning<S>>> {
        client.counted.closing(reason);
        if let Some(suppressed) = self.refused.admit(Instant::now()) {
            tracing::warn!(
                client.address = %client.address, close.reason = %reason, suppressed,
                "connection refused in its PROXY header"
            );
        }
        None
    }
}

/// A client while it is served.
struct Client<'a> {
    /// Where its socket comes from.
    address: IpAddr,
    counted: OpenConnection<'a>,
    /// None where there is no socket.
    permit: Option<SocketPermit>,
}

/// What is logged of a connection.
struct Visit {
    trace: TraceId,
    address: IpAddr,
    /// A gateway's question whether this core answers: one every few seconds, and no person's.
    is_check: bool,
    begin: Instant,
}

impl Visit {
    fn log_opened(&self) {
        let Self { trace, address, .. } = self;
        if self.is_check {
            tracing::debug!(trace_id = %trace, client.address = %address, "checked by a gateway");
        } else {
            tracing::info!(trace_id = %trace, client.address = %address, "connection opened");
        }
    }

    fn log_closed(&self, reason: CloseReason) {
        let Self { trace, address, .. } = self;
        if !self.is_check {
            tracing::info!(
                trace_id = %trace, client.address = %address, close.reason = %reason, duration_ms = self.duration_ms(),
                "connection closed"
            );
        }
    }

    fn log_introduced(&self) {
        let Self { trace, address, .. } = self;
        tracing::info!(
            trace_id = %trace, client.address = %address, duration_ms = self.duration_ms(),
            "connection begins anew: its PROXY header came late"
        );
    }

    fn duration_ms(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Tells a client that there is no room for it, and reads what it has sent: a socket closed with unread bytes is
/// reset, and the reset may overtake the line.
async fn turn_away(mut stream: impl AsyncRead + AsyncWrite + Unpin, peer: connection::Peer) -> CloseReason {
    let tell = async {
        stream.write_all(&connection::too_many_connections(&peer)).await?;
        stream.shutdown().await?;
        let mut unread = [0; 1_024];
        while 0 < stream.read(&mut unread).await? {}
        Ok::<(), io::Error>(())
    };
    // Who does not take the line in time does without it.
    let _ = timeout(REFUSAL_LIMIT, tell).await;
    CloseReason::TooManyConnections
}

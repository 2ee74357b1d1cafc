//! Tracks open and idle connections of the pool.
//!
//! A connection is open from its establishment, TLS and proxies included, until its socket is closed. It is idle except
//! while the pool has assigned it to a call whose response has not been read to the end or dropped. A connection that
//! the pool established for a call which then got a freed one is open and idle; so is, until its socket is closed a
//! moment later, that of a cancelled call.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::http::Extensions;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection};

use crate::metrics::ProviderMetrics;

/// Socket of a connection; counts as open until it is dropped.
#[derive(Debug)]
pub(super) struct TrackedStream<S> {
    socket: S,
    /// The peer is a forward proxy: requests carry the absolute URL.
    is_proxy: bool,
    handle: ConnectionHandle,
}

/// Shared handle of a connection's usage.
#[derive(Debug, Clone)]
pub(super) struct ConnectionHandle(Arc<ConnectionState>);

/// RAII guard of a call on a connection, which is not idle meanwhile.
#[derive(Debug)]
pub(super) struct InFlightGuard(ConnectionHandle);

#[derive(Debug)]
struct ConnectionState {
    metrics: Arc<ProviderMetrics>,
    /// Gauges change under this lock only: otherwise a close that races with a call would count a connection twice.
    load: Mutex<Load>,
}

#[derive(Debug)]
struct Load {
    is_open: bool,
    /// Exceeds one for a moment: the pool may reassign the connection after the last byte, before the first call's
    /// reader has seen the end.
    calls: usize,
}

impl<S> TrackedStream<S> {
    /// Tracks a connection from its establishment on.
    pub(super) fn new(socket: S, is_proxy: bool, metrics: Arc<ProviderMetrics>) -> Self {
        metrics.connections_open.inc();
        metrics.connections_idle.inc();
        let load = Mutex::new(Load { is_open: true, calls: 0 });
        Self { socket, is_proxy, handle: ConnectionHandle(Arc::new(ConnectionState { metrics, load })) }
    }
}

impl<S> Drop for TrackedStream<S> {
    fn drop(&mut self) {
        let ConnectionState { metrics, .. } = &*self.handle.0;
        let mut load = self.handle.load();
        load.is_open = false;
        metrics.connections_open.dec();
        if load.calls == 0 {
            metrics.connections_idle.dec();
        }
    }
}

impl ConnectionHandle {
    fn start_call(&self) -> InFlightGuard {
        let mut load = self.load();
        load.calls += 1;
        if load.is_open && load.calls == 1 {
            self.0.metrics.connections_idle.dec();
        }
        drop(load);
        InFlightGuard(self.clone())
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        self.0.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut load = self.0.load();
        load.calls -= 1;
        if load.is_open && load.calls == 0 {
            self.0.0.metrics.connections_idle.inc();
        }
    }
}

/// Moves `in_flight` to the connection that the pool has assigned to the request last.
pub(super) fn track_assignment(in_flight: &mut Option<InFlightGuard>, captured: &CaptureConnection) {
    let mut extras = Extensions::new();
    if let Some(connected) = captured.connection_metadata().as_ref() {
        connected.get_extras(&mut extras);
    }
    let is_known =
        |handle: &ConnectionHandle| in_flight.as_ref().is_some_and(|in_flight| Arc::ptr_eq(&in_flight.0.0, &handle.0));
    if let Some(handle) = extras.remove::<ConnectionHandle>().filter(|handle| !is_known(handle)) {
        *in_flight = Some(handle.start_call());
    }
}

impl<S: Connection> Connection for TrackedStream<S> {
    fn connected(&self) -> Connected {
        self.socket.connected().proxy(self.is_proxy).extra(self.handle.clone())
    }
}

impl<S: Read + Unpin> Read for TrackedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: Write + Unpin> Write for TrackedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection counts once, whatever the order in which its parts are dropped.
    #[test]
    fn counts_each_connection_once() {
        let metrics = Arc::new(ProviderMetrics::default());
        let counts = || (metrics.connections_open.get(), metrics.connections_idle.get());
        let first = TrackedStream::new((), false, Arc::clone(&metrics));
        let second = TrackedStream::new((), false, Arc::clone(&metrics));
        assert_eq!(counts(), (2, 2));
        let call = first.handle.start_call();
        assert_eq!(counts(), (2, 1));
        let next = first.handle.start_call();
        drop(call);
        assert_eq!(counts(), (2, 1), "the next call has it already");
        drop(next);
        assert_eq!(counts(), (2, 2));
        let call = second.handle.start_call();
        drop(second);
        assert_eq!(counts(), (1, 1), "closed below a call");
        drop(call);
        assert_eq!(counts(), (1, 1));
        let (late, idle) = (first.handle.clone(), first.handle.start_call());
        drop((idle, first));
        assert_eq!(counts(), (0, 0));
        drop(late.start_call());
        assert_eq!(counts(), (0, 0), "closed before a call");
    }
}

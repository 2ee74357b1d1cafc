//! TCP or TLS stream.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::WireError;
use crate::address::Address;

/// TLS settings that replace the platform's.
pub(crate) type Tls = Arc<ClientConfig>;

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub(super) async fn secure(tcp: TcpStream, address: &Address, tls: Option<Tls>) -> Result<Stream, WireError> {
    let tls = tls.map_or_else(platform, Ok)?;
    let name = ServerName::try_from(address.host()).map_err(|error| WireError::Refused(error.to_string()))?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await.map_err(untrusted)?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// Uses the platform's root certificates, as the core's model client does.
fn platform() -> Result<Tls, WireError> {
    static PLATFORM: OnceLock<Result<Tls, String>> = OnceLock::new();
    let build = || {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.and_then(|builder| builder.with_platform_verifier());
        Ok(Arc::new(builder.map_err(|error| error.to_string())?.with_no_client_auth()))
    };
    PLATFORM.get_or_init(build).clone().map_err(WireError::Refused)
}

/// Classifies an invalid certificate as final: a retry would fail the same way.
fn untrusted(error: io::Error) -> WireError {
    let certificate = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
    match certificate {
        Some(error @ rustls::Error::InvalidCertificate(_)) => WireError::Refused(error.to_string()),
        _ => error.into(),
    }
}

/// Forwards to either variant.
macro_rules! either {
    ($stream:expr, $inner:ident => $do:expr) => {
        match $stream.get_mut() {
            Stream::Plain(inner) => {
                let $inner = Pin::new(inner);
                $do
            }
            Stream::Tls(inner) => {
                let $inner = Pin::new(inner.as_mut());
                $do
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, inner => inner.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_shutdown(cx))
    }
}

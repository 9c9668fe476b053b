//! QUIC on the dialling side (transport-storage.md T21). The only room of the client that makes connections.

use crate::tls::{SERVER_DNS, TlsError};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Window of one stream: quinn-proto closes connections with too many gaps above it (T20).
const STREAM_WINDOW: u32 = 8 << 20;
/// Window of the connection; quinn's default has no bound.
const RECEIVE_WINDOW: u32 = 32 << 20;
/// Bytes in flight to the server.
const SEND_WINDOW: u64 = 64 << 20;

/// Why there is no connection. The world's; tried again later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The address does not resolve.
    #[error("the server's address does not resolve")]
    Address(#[source] std::io::Error),
    /// The address resolves to nothing.
    #[error("the server's address resolves to nothing")]
    NoAddress,
    /// No local socket.
    #[error("no local socket")]
    Socket(#[source] std::io::Error),
    /// Refused before anything was sent.
    #[error("the connection could not be begun")]
    Connect(#[from] quinn::ConnectError),
    /// The handshake failed.
    #[error("the handshake failed")]
    Handshake(#[from] quinn::ConnectionError),
    /// The handshake took too long.
    #[error("no answer from the server within 10 s")]
    TimedOut,
    /// TLS settings.
    #[error("TLS could not be set up")]
    Tls(#[from] TlsError),
    /// No certificate came with the handshake.
    #[error("the server showed no certificate")]
    NoCertificate,
}

fn transport() -> TransportConfig {
    let mut t = TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(1452);
    t.stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .send_window(SEND_WINDOW)
        .max_concurrent_bidi_streams(VarInt::from_u32(8))
        .max_concurrent_uni_streams(VarInt::from_u32(16))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(30_000))))
        .keep_alive_interval(Some(Duration::from_secs(10)))
        .datagram_receive_buffer_size(None)
        .initial_mtu(1200)
        .min_mtu(1200)
        .mtu_discovery_config(Some(mtu))
        .allow_spin(false);
    t
}

/// A connection and the socket that carries it.
pub(crate) struct Dialled {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
    /// The server's chain, leaf first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

/// Dials `address` (`host:port`) with these TLS settings. One UDP socket per connection (T21).
pub(crate) async fn dial(address: &str, tls: rustls::ClientConfig) -> Result<Dialled, EndpointError> {
    let mut addresses = tokio::net::lookup_host(address).await.map_err(EndpointError::Address)?;
    let server = addresses.next().ok_or(EndpointError::NoAddress)?;
    let local: SocketAddr = if server.is_ipv6() { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() };
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(TlsError::Quic)?));
    config.transport_config(Arc::new(transport()));
    let endpoint = Endpoint::client(local).map_err(EndpointError::Socket)?;
    let connecting = endpoint.connect_with(config, server, SERVER_DNS)?;
    let connection = tokio::time::timeout(HANDSHAKE, connecting).await.map_err(|_| EndpointError::TimedOut)??;
    let chain = connection.peer_identity().and_then(|i| i.downcast::<Vec<CertificateDer<'static>>>().ok());
    let chain = chain.filter(|c| !c.is_empty()).ok_or(EndpointError::NoCertificate)?;
    Ok(Dialled { endpoint, connection, chain: *chain })
}

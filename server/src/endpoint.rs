//! The QUIC endpoint (transport-storage.md section 4): handshakes, who is there, frames and chunks. Limits first, then parsing.

use crate::config::Config;
use crate::driver::{Door, Input, Reply};
use crate::identity;
use crate::init::Keys;
use crate::join;
use crate::uploads::Uploads;
use protocol::ids::{ClientId, Sha256};
use protocol::membership::Barred;
use protocol::messages::{
    ALPN, ALPN_JOIN, CLOSE_BARRED, CLOSE_NOT_ENROLLED, ChunkHeader, ClientMessage, MAX_FRAME, Request, Response, ServerMessage, frame,
    unframe,
};
use protocol::reject::Rejection;
use protocol::renewal::Lifetime;
use protocol::time::Time;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

/// Handshakes and first messages must be quick (T25).
const PATIENCE: Duration = Duration::from_secs(10);
/// A chunk of 8 MiB in this time is 140 kB/s: slower lines resume.
const CHUNK_PATIENCE: Duration = Duration::from_secs(60);
/// Messages waiting for one client. A round sends a few per member; a client that is this far behind is gone.
const OUTBOX: usize = 4096;

/// Application bytes in and out, for the round's report.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) up: AtomicU64,
    pub(crate) down: AtomicU64,
}

/// What every connection shares.
pub(crate) struct Shared {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) uploads: Uploads,
    pub(crate) traffic: Traffic,
    pub(crate) federation: String,
    /// Bytes of chunks that may be in memory at once (T34).
    pub(crate) memory: Arc<Semaphore>,
}

/// Close codes, beside those that `protocol` knows.
#[derive(Clone, Copy)]
pub(crate) enum Close {
    Done = 0,
    Malformed = 2,
    TooSlow = 3,
}

impl Close {
    fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

/// TLS and transport settings (T4, T6, T7, T21), with a certificate made at `now` and the time in which it holds.
pub(crate) fn server_config(keys: &Keys, federation: &str, config: &Config, now: Time) -> anyhow::Result<(quinn::ServerConfig, Lifetime)> {
    let issuer = identity::issuer(&keys.root_der, &keys.root)?;
    let cert = identity::make_server(federation, &keys.tls, &issuer, now)?;
    let life = identity::lifetime(&cert)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(keys.root_der.clone())?;
    // Newcomers have no certificate yet; who speaks the members' protocol without one is closed in `member`.
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).allow_unauthenticated().build()?;
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(keys.tls.serialize_der()).map_err(|_| anyhow::anyhow!("the TLS key is damaged"))?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![cert, keys.root_der.clone()], key)?;
    tls.alpn_protocols = vec![ALPN.to_vec(), ALPN_JOIN.to_vec()];
    // On resumption rustls skips the client's certificate, so a revoked client could come back (T6).
    tls.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls)?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(Arc::new(transport(config)));
    server.max_incoming(256);
    Ok((server, life))
}

fn transport(config: &Config) -> quinn::TransportConfig {
    let mut t = quinn::TransportConfig::default();
    t.stream_receive_window(VarInt::from_u32(8 << 20));
    t.receive_window(VarInt::from_u32(config.receive_window()));
    t.send_window(64 << 20);
    t.max_concurrent_bidi_streams(VarInt::from_u32(8));
    t.max_concurrent_uni_streams(VarInt::from_u32(16));
    t.max_idle_timeout(Some(VarInt::from_u32(30_000).into()));
    t.datagram_receive_buffer_size(None);
    t.allow_spin(false);
    t
}

/// Accepts connections until the endpoint closes, and ends when the last of them has.
pub(crate) async fn accept(endpoint: quinn::Endpoint, shared: Arc<Shared>, max_connections: u32) {
    let places = Arc::new(Semaphore::new(usize::try_from(max_connections).unwrap_or(256)));
    let mut tasks = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while tasks.try_join_next().is_some() {}
        if !incoming.remote_address_validated() && endpoint.open_connections() > 64 {
            // Spoofed addresses get no work out of us (T25). A failed retry means that the packet was not worth one.
            drop(incoming.retry());
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let shared = shared.clone();
        tasks.spawn(async move {
            if let Ok(Ok(connection)) = tokio::time::timeout(PATIENCE, incoming).await {
                serve(connection, &shared).await;
            }
            drop(place);
        });
    }
    drop(endpoint);
    while tasks.join_next().await.is_some() {}
}

async fn serve(connection: Connection, shared: &Arc<Shared>) {
    let alpn = connection.handshake_data().and_then(|d| d.downcast::<quinn::crypto::rustls::HandshakeData>().ok()).and_then(|d| d.protocol);
    if alpn.as_deref() == Some(ALPN_JOIN) {
        join::serve(&connection, shared).await;
        return connection.close(Close::Done.code(), b"");
    }
    match identify(&connection, shared).await {
        Some((Door::Member(who), key)) => member(connection, (who, key), shared).await,
        Some((Door::Barred(barred), _)) => shut(&connection, Some(barred)),
        Some((Door::Stranger, _)) => shut(&connection, None),
        // No name of this federation, or a driver that is gone: nothing is said about the key.
        None => connection.close(Close::Malformed.code(), b""),
    }
}

/// Ends the connection of somebody whose membership does not hold, and says why (F30), or of somebody whose key is no member's.
fn shut(connection: &Connection, barred: Option<Barred>) {
    match barred {
        Some(barred) => connection.close(VarInt::from_u32(CLOSE_BARRED), barred.to_wire().as_bytes()),
        None => connection.close(VarInt::from_u32(CLOSE_NOT_ENROLLED), b"not enrolled"),
    }
}

/// Who is there: chain (rustls), one URI of this federation with the role `client`, and a key that a member entry names (T5). With
/// that key.
async fn identify(connection: &Connection, shared: &Shared) -> Option<(Door, Sha256)> {
    let chain = connection.peer_identity()?.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()?;
    let leaf = chain.first()?;
    let name = identity::peer_name(leaf).ok().filter(|n| n.federation == shared.federation && n.role == "client")?;
    let key = identity::spki_hash(leaf).ok()?;
    let door = ask(shared, |reply| Input::Identify { name: name.institution, key, reply }).await?;
    Some((door, key))
}

/// Asks the driver and waits for the answer; none if it is gone.
pub(crate) async fn ask<T>(shared: &Shared, input: impl FnOnce(Reply<T>) -> Input) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    shared.inputs.send(input(reply)).await.ok()?;
    answer.await.ok()
}

/// One member's connection, from its first message to its end.
async fn member(connection: Connection, (who, key): (ClientId, Sha256), shared: &Arc<Shared>) {
    let Ok(Ok((mut send, mut recv))) = tokio::time::timeout(PATIENCE, connection.accept_bi()).await else {
        return connection.close(Close::TooSlow.code(), b"");
    };
    let first = tokio::time::timeout(PATIENCE, read_frame::<ClientMessage>(&mut recv, shared)).await;
    let Ok(Some(ClientMessage::Hello { note, handovers, .. })) = first else {
        return connection.close(Close::Malformed.code(), b"expected Hello");
    };
    let (outbox, mut messages) = mpsc::channel::<ServerMessage>(OUTBOX);
    let link = connection.stable_id();
    let (cut, mut ended) = oneshot::channel();
    let note: Vec<u8> = note.into();
    let handovers: Vec<Vec<u8>> = handovers.into_iter().map(Into::into).collect();
    let welcome = ask(shared, |reply| Input::Connected { who, key, link, outbox: outbox.clone(), cut, note, handovers, reply }).await;
    let welcome = match welcome {
        Some(Ok(welcome)) => welcome,
        Some(Err(reason)) => {
            return match ended.try_recv() {
                Ok(barred) => shut(&connection, barred),
                Err(_) => connection.close(Close::Malformed.code(), reason.name().as_bytes()),
            };
        }
        None => return connection.close(Close::Done.code(), b""),
    };
    let writer_shared = shared.clone();
    let writer = tokio::spawn(async move {
        if write_frame(&mut send, &welcome, &writer_shared).await.is_err() {
            return;
        }
        while let Some(message) = messages.recv().await {
            if write_frame(&mut send, &message, &writer_shared).await.is_err() {
                return;
            }
        }
    });
    let streams = tokio::spawn(streams(connection.clone(), who, shared.clone(), outbox));
    tokio::select! {
        () = hear(&mut recv, who, shared) => {}
        // Without a reason where a newer connection took its place, or where it does not take what it is sent: no connection outlives its link, so
        // a membership that ends leaves none open (T5).
        why = ended => {
            if let Ok(barred) = why {
                shut(&connection, barred);
            }
        }
    }
    streams.abort();
    writer.abort();
    connection.close(Close::Done.code(), b"");
    // The driver may be gone already when the process ends.
    shared.inputs.send(Input::Disconnected { who, link }).await.ok();
}

/// Hands on what a member says until the stream ends.
async fn hear(recv: &mut RecvStream, who: ClientId, shared: &Shared) {
    while let Some(message) = read_frame::<ClientMessage>(recv, shared).await {
        if shared.inputs.send(Input::Message(who, message)).await.is_err() {
            return;
        }
    }
}

/// Requests and chunks; quinn's stream limits bound how many run at once.
async fn streams(connection: Connection, who: ClientId, shared: Arc<Shared>, outbox: mpsc::Sender<ServerMessage>) {
    loop {
        tokio::select! {
            bidi = connection.accept_bi() => {
                let Ok((send, recv)) = bidi else { return };
                tokio::spawn(request(send, recv, who, shared.clone()));
            }
            uni = connection.accept_uni() => {
                let Ok(recv) = uni else { return };
                let (shared, outbox) = (shared.clone(), outbox.clone());
                tokio::spawn(async move {
                    let verdict = tokio::time::timeout(CHUNK_PATIENCE, chunk(recv, who, &shared)).await;
                    let message = match verdict {
                        Ok(Some(Ok(header))) => ServerMessage::Ack { upload: header.upload, address: header.address },
                        Ok(Some(Err(reason))) => ServerMessage::Refused { reason },
                        Ok(None) | Err(_) => return,
                    };
                    outbox.send(message).await.ok();
                });
            }
        }
    }
}

/// Reads, checks and stores one chunk. None when the connection or the disk failed: then nothing is acknowledged.
async fn chunk(mut recv: RecvStream, who: ClientId, shared: &Shared) -> Option<Result<ChunkHeader, Rejection>> {
    let mut head = [0u8; ChunkHeader::LEN];
    recv.read_exact(&mut head).await.ok()?;
    let Ok(header) = ChunkHeader::parse(&head) else { return Some(Err(Rejection::Malformed)) };
    if let Err(reason) = shared.uploads.expect(who, &header) {
        return Some(Err(reason));
    }
    let permits = shared.memory.clone().acquire_many_owned(header.length).await.ok()?;
    let bytes = recv.read_to_end(usize::try_from(header.length).ok()?).await.ok()?;
    if bytes.len() as u64 != u64::from(header.length) {
        return Some(Err(Rejection::BadChunk));
    }
    shared.traffic.up.fetch_add(bytes.len() as u64 + ChunkHeader::LEN as u64, Ordering::Relaxed);
    let uploads = shared.uploads.clone();
    let stored = tokio::task::spawn_blocking(move || uploads.store(&header, &bytes)).await;
    drop(permits);
    match stored {
        Ok(Ok(verdict)) => Some(verdict.map(|()| header)),
        Ok(Err(error)) => {
            tracing::error!(%error, "a chunk could not be made durable");
            shared.inputs.send(Input::StorageFailed).await.ok();
            None
        }
        Err(_) => None,
    }
}

async fn request(mut send: SendStream, mut recv: RecvStream, who: ClientId, shared: Arc<Shared>) {
    let Ok(Some(request)) = tokio::time::timeout(PATIENCE, read_frame::<Request>(&mut recv, &shared)).await else { return };
    if let Request::Commit { upload } = &request
        && let Some((chunks, blobs)) = shared.uploads.missing(who, *upload)
        && (!chunks.is_empty() || !blobs.is_empty())
    {
        let have = Response::Have { upload: *upload, chunks, blobs };
        write_frame(&mut send, &have, &shared).await.ok();
        return;
    }
    let Some(answer) = ask(&shared, |reply| Input::Request { who, request: Box::new(request), reply }).await else { return };
    if write_frame(&mut send, &answer.response, &shared).await.is_ok()
        && let Some(path) = answer.stream
    {
        stream_file(&mut send, &path, &shared).await;
    }
    send.finish().ok();
}

async fn stream_file(send: &mut SendStream, path: &std::path::Path, shared: &Shared) {
    use tokio::io::AsyncReadExt as _;
    let Ok(mut file) = tokio::fs::File::open(path).await else { return };
    let mut buffer = vec![0u8; 256 << 10];
    while let Ok(n @ 1..) = file.read(&mut buffer).await {
        if send.write_all(&buffer[..n]).await.is_err() {
            return;
        }
        shared.traffic.down.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// Reads one frame; none when the stream ends or what comes is no frame.
pub(crate) async fn read_frame<T>(recv: &mut RecvStream, shared: &Shared) -> Option<T>
where
    T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()>,
{
    let mut length = [0u8; 4];
    recv.read_exact(&mut length).await.ok()?;
    let length = usize::try_from(u32::from_le_bytes(length)).ok().filter(|l| *l <= MAX_FRAME)?;
    let mut content = vec![0u8; length];
    recv.read_exact(&mut content).await.ok()?;
    shared.traffic.up.fetch_add(length as u64 + 4, Ordering::Relaxed);
    unframe(&content).ok()
}

/// Writes one frame.
pub(crate) async fn write_frame<T: minicbor::Encode<()>>(
    send: &mut SendStream,
    message: &T,
    shared: &Shared,
) -> Result<(), quinn::WriteError> {
    let bytes = frame(message);
    shared.traffic.down.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    send.write_all(&bytes).await
}

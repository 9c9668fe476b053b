//! The connection that a member holds: hello and welcome, the control stream, and pauses between attempts (transport-storage.md T31, T36).
//! Knows no machine: messages go in and come out.

use crate::clock::OsEntropy;
use crate::endpoint::{self, EndpointError};
use crate::files::{self, Item, StoreError};
use crate::frames::{self, FrameError};
use crate::home::Home;
use crate::identity::Identity;
use crate::keys::Keys;
use crate::tls::{self, TlsError};
use crate::wire::Wire;
use privacy::noise::EntropySource as _;
use protocol::membership::Barred;
use protocol::messages::{ALPN, CLOSE_BARRED, CLOSE_NOT_ENROLLED, ClientMessage, MAX_FRAME, ServerMessage};
use protocol::time::Time;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt};
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages of the server that may wait: a committee member of a large cohort gets one per update.
const INBOX: usize = 256;
/// Longest wait for `Welcome`.
const WELCOME: Duration = Duration::from_secs(30);
/// Longest certificate file.
pub(crate) const MAX_CERTIFICATE: usize = 64 * 1024;
/// Most certificates of our chain.
const MAX_CHAIN: usize = 8;

/// Why there is no link. Tried again after a pause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No connection.
    #[error("no connection to the server")]
    Endpoint(#[from] EndpointError),
    /// The connection broke.
    #[error("the connection to the server was lost")]
    Lost(#[from] quinn::ConnectionError),
    /// TLS settings or the server's name.
    #[error("the server's identity is not the federation's")]
    Tls(#[from] TlsError),
    /// A frame.
    #[error("a message did not come through")]
    Frame(#[from] FrameError),
    /// The membership does not hold.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// No member has our TLS key.
    #[error("the server knows no member under this TLS key")]
    NoMember,
    /// The server did not say welcome.
    #[error("the server did not answer hello with welcome")]
    NotWelcome,
    /// Our certificates.
    #[error("the certificates could not be read")]
    Store(#[from] StoreError),
}

/// An open link.
pub(crate) struct Link {
    endpoint: Endpoint,
    connection: quinn::Connection,
    control: SendStream,
    /// What the server says; closed when the link is lost.
    pub(crate) inbox: mpsc::Receiver<ServerMessage>,
    /// The server's clock and the log's size when we came.
    pub(crate) welcome: (Time, u64),
}

impl Link {
    /// Dials, shows who we are, says hello and waits for welcome.
    pub(crate) async fn open(home: &Home, identity: &Identity, keys: &Keys, hello: &ClientMessage) -> Result<Self, LinkError> {
        let root = files::read(&home.certificate("root.der"), MAX_CERTIFICATE, Item::Certificate)?;
        let chain = read_chain(home)?;
        let dialled = endpoint::dial(&identity.server, tls::member_config(&root, &chain, keys, ALPN)?).await?;
        let leaf = dialled.chain.first().ok_or(EndpointError::NoCertificate)?;
        tls::check_server(leaf, &identity.federation)?;
        // Whoever is shut out is told why as the connection closes, wherever we are in saying hello.
        let greeted = greet(&dialled.connection, hello).await;
        let (control, receive, welcome) = greeted.map_err(|e| refusal(dialled.connection.close_reason()).unwrap_or(e))?;
        let (sender, inbox) = mpsc::channel(INBOX);
        tokio::spawn(read_control(receive, sender));
        Ok(Self { endpoint: dialled.endpoint, connection: dialled.connection, control, inbox, welcome })
    }

    /// Says something on the control stream.
    pub(crate) async fn say(&mut self, message: &ClientMessage) -> Result<(), FrameError> {
        frames::send(&mut self.control, message).await
    }

    /// Tells this connection from every other one of the process.
    pub(crate) fn id(&self) -> usize {
        self.connection.stable_id()
    }

    /// A handle for requests.
    pub(crate) fn wire(&self) -> Wire {
        Wire::new(self.connection.clone())
    }

    /// Closes in order and lets the close go out.
    pub(crate) async fn close(mut self) {
        self.control.finish().unwrap_or(());
        self.connection.close(VarInt::from_u32(0), b"bye");
        // A peer that is gone must not keep us.
        tokio::time::timeout(Duration::from_secs(3), self.endpoint.wait_idle()).await.unwrap_or(());
    }
}

/// Says hello and waits for welcome: the control stream, and the server's clock with the log's size.
async fn greet(connection: &Connection, hello: &ClientMessage) -> Result<(SendStream, RecvStream, (Time, u64)), LinkError> {
    let (mut control, mut receive) = connection.open_bi().await?;
    frames::send(&mut control, hello).await?;
    let first = tokio::time::timeout(WELCOME, frames::receive(&mut receive, MAX_FRAME)).await.map_err(|_| LinkError::NotWelcome)??;
    match first {
        Some(ServerMessage::Welcome { now, log_size }) => Ok((control, receive, (now, log_size))),
        Some(_) | None => Err(LinkError::NotWelcome),
    }
}

/// Why the server closed the connection, if it is because the membership does not hold, or nobody's does with our key.
fn refusal(closed: Option<ConnectionError>) -> Option<LinkError> {
    let Some(ConnectionError::ApplicationClosed(closed)) = closed else { return None };
    if closed.error_code == VarInt::from_u32(CLOSE_BARRED) {
        return Barred::from_wire(&closed.reason).map(LinkError::Barred);
    }
    (closed.error_code == VarInt::from_u32(CLOSE_NOT_ENROLLED)).then_some(LinkError::NoMember)
}

/// Moves messages from the stream to the inbox. Anything unreadable ends the link: the sender is dropped.
async fn read_control(mut stream: RecvStream, inbox: mpsc::Sender<ServerMessage>) {
    loop {
        match frames::receive(&mut stream, MAX_FRAME).await {
            Ok(Some(message)) => {
                if inbox.send(message).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "the control stream ended");
                return;
            }
        }
    }
}

/// Our TLS chain, leaf first: `leaf.der`, then `chain-1.der` and on.
fn read_chain(home: &Home) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut chain = vec![files::read(&home.certificate("leaf.der"), MAX_CERTIFICATE, Item::Certificate)?];
    for n in 1..MAX_CHAIN {
        match files::read_if_there(&home.certificate(&format!("chain-{n}.der")), MAX_CERTIFICATE, Item::Certificate)? {
            Some(der) => chain.push(der),
            None => break,
        }
    }
    Ok(chain)
}

/// Writes what [`read_chain`] reads.
pub(crate) fn store_chain(home: &Home, chain: &[Vec<u8>], root: &[u8]) -> Result<(), StoreError> {
    files::replace(&home.certificate("root.der"), root, Item::Certificate)?;
    for (n, der) in chain.iter().take(MAX_CHAIN).enumerate() {
        let name = if n == 0 { "leaf.der".to_owned() } else { format!("chain-{n}.der") };
        files::replace(&home.certificate(&name), der, Item::Certificate)?;
    }
    Ok(())
}

/// Pauses between attempts: doubling from 1 s, full jitter (T36).
pub(crate) struct Backoff {
    ceiling: Duration,
    most: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_secs(1);

    pub(crate) fn new(most: Duration) -> Self {
        Self { ceiling: Self::FIRST.min(most), most }
    }

    /// The link was good: start small again.
    pub(crate) fn reset(&mut self) {
        self.ceiling = Self::FIRST.min(self.most);
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let mut byte = [0u8; 1];
        // Without entropy the pause is the whole ceiling, which is only less polite.
        let share = OsEntropy.fill(&mut byte).map_or(255, |()| u32::from(byte[0]));
        let pause = self.ceiling * (share + 1) / 256;
        self.ceiling = (self.ceiling * 2).min(self.most);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::LeafIndex;
    use protocol::membership::{Standing, StandingReason};

    #[test]
    fn a_closed_connection_says_whether_it_is_the_membership_or_the_key() {
        let closed = |code: u32, reason: String| {
            let (error_code, reason) = (VarInt::from_u32(code), reason.into_bytes().into());
            refusal(Some(ConnectionError::ApplicationClosed(quinn::ApplicationClose { error_code, reason })))
        };
        let barred = Barred { standing: Standing::Suspended(StandingReason::Incident), since: LeafIndex(4) };
        assert!(matches!(closed(CLOSE_BARRED, barred.to_wire()), Some(LinkError::Barred(b)) if b == barred));
        assert!(closed(CLOSE_BARRED, "no reason".to_owned()).is_none());
        assert!(matches!(closed(CLOSE_NOT_ENROLLED, String::new()), Some(LinkError::NoMember)));
        assert!(closed(0, barred.to_wire()).is_none() && refusal(Some(ConnectionError::TimedOut)).is_none() && refusal(None).is_none());
    }

    #[test]
    fn pauses_grow_to_their_limit_and_start_again() {
        let most = Duration::from_secs(20);
        let mut backoff = Backoff::new(most);
        for n in 0..10 {
            let ceiling = (Duration::from_secs(1) * 2u32.pow(n)).min(most);
            assert!(backoff.next() <= ceiling, "pause {n}");
        }
        assert_eq!(backoff.ceiling, most);
        backoff.reset();
        assert!(backoff.next() <= Duration::from_secs(1));
    }
}

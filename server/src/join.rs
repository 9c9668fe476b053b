//! Enrolment (transport-storage.md section 2): a newcomer with a token, from its first word to its TLS certificate.

use crate::driver::Input;
use crate::endpoint::{Shared, ask, read_frame, write_frame};
use protocol::ids::Sha256;
use protocol::messages::{JoinMessage, JoinReply};
use quinn::Connection;
use std::sync::Arc;
use std::time::Duration;

/// Questions on one connection: start, request, and polling while administrators decide.
const MAX_QUESTIONS: usize = 64;
/// A newcomer that says nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves one newcomer: one stream, few questions, little time (T25).
pub(crate) async fn serve(connection: &Connection, shared: &Arc<Shared>) {
    let Ok(Ok((mut send, mut recv))) = tokio::time::timeout(PATIENCE, connection.accept_bi()).await else { return };
    let mut nonce = [0u8; 32];
    if getrandom::fill(&mut nonce).is_err() {
        return;
    }
    let nonce = Sha256(nonce);
    for _ in 0..MAX_QUESTIONS {
        let Ok(Some(message)) = tokio::time::timeout(PATIENCE, read_frame::<JoinMessage>(&mut recv, shared)).await else { break };
        let Some(answer) = ask(shared, |reply| Input::Join { message: Box::new(message), nonce, reply }).await else { break };
        if write_frame::<JoinReply>(&mut send, &answer, shared).await.is_err() {
            break;
        }
    }
    send.finish().ok();
    // The last receiver closes: wait until the newcomer has read the answer (T26).
    tokio::time::timeout(PATIENCE, connection.closed()).await.ok();
}

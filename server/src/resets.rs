//! Telling members of a server that ended without a word that their connections are gone (RFC 9000 section 10.3). Reset tokens are made with
//! a key that outlives the process; without it members would find out only when a connection has been idle for too long (T21).

use crate::init::Keys;
use hmac::{Hmac, KeyInit, Mac};
use protocol::hash::sha256;
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use std::sync::Arc;

type HmacSha256 = Hmac<sha2::Sha256>;

/// Longer than the secrets of tokens, which the same key is used on: no token is ever taken for a reset key or the other way round.
const DOMAIN: &[u8] = b"concordat/quic/stateless-reset/key/v1";
/// Bytes of a connection id: as many as the library gives by itself.
const ID: usize = 8;

/// The endpoint's settings.
///
/// # Errors
/// No randomness, or a key of no length.
pub(crate) fn endpoint_config(keys: &Keys) -> anyhow::Result<EndpointConfig> {
    let derived = HmacSha256::new_from_slice(&keys.token_mac[..])?.chain_update(DOMAIN).finalize().into_bytes();
    let mut config = EndpointConfig::new(Arc::new(ResetKey(HmacSha256::new_from_slice(&derived)?)));
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed)?;
    config.cid_generator(move || Box::new(Ids { seed, next: 0 }));
    Ok(config)
}

/// HMAC-SHA-256 over a connection id.
struct ResetKey(HmacSha256);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        let mac = self.0.clone().chain_update(data).finalize().into_bytes();
        out.iter_mut().zip(mac).for_each(|(to, from)| *to = from);
    }
    fn signature_len(&self) -> usize {
        32
    }
    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        self.0.clone().chain_update(data).verify_slice(signature).map_err(|_| CryptoError)
    }
}

/// Ids of any shape are taken for ours, those of the last process among them. They never repeat: the seed is new in each process.
struct Ids {
    seed: [u8; 32],
    next: u64,
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        self.next = self.next.wrapping_add(1);
        ConnectionId::new(&sha256(&[&self.seed, &self.next.to_le_bytes()])[..ID])
    }
    fn cid_len(&self) -> usize {
        ID
    }
    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_server_makes_the_same_tokens_and_other_ids() {
        let key = || ResetKey(HmacSha256::new_from_slice(&[7; 32]).unwrap());
        let (mut one, mut two) = ([0; 32], [0; 32]);
        key().sign(b"id", &mut one);
        key().sign(b"id", &mut two);
        assert_eq!(one, two);
        assert!(key().verify(b"id", &one).is_ok() && key().verify(b"di", &one).is_err());
        let (mut ids, mut others) = (Ids { seed: [1; 32], next: 0 }, Ids { seed: [2; 32], next: 0 });
        let made = [ids.generate_cid(), ids.generate_cid(), others.generate_cid()];
        assert!(made[0] != made[1] && made[0] != made[2] && made.iter().all(|id| id.len() == ID));
    }
}

//! Shares to decryptors by hybrid post-quantum HPKE, bound to the update's core digest (crypto.md C34). Knows no body and no value.

use crate::prekey::{BadPrekey, PrekeySecret, public_key};
use crate::sampler::EncapsulationCoins;
use crate::share::{BadShare, Share};
use crate::stack::scrub;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal_with_rng};
use protocol::hash::Domain;
use protocol::ids::{Address, CoreDigest, Position};
use protocol::params::BLOB_BYTES;
use zeroize::Zeroizing;

/// Bytes of the encapsulated key in front of the ciphertext.
const ENCAPSULATED_BYTES: usize = 1120;

/// Why a blob gives no share. The decryptor reports the header (C42).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// Not 17,536 bytes.
    #[error("blob has {0} bytes, expected 17536")]
    Length(usize),
    /// Sealed to another key, for another update or position, or damaged.
    #[error("blob does not open for this decryptor, update and position")]
    Open,
    /// The content is no share.
    #[error("blob does not hold a share")]
    Share(#[from] BadShare),
}

/// The content address of a chunk or blob (transport-storage.md T30).
pub fn address_of(bytes: &[u8]) -> Address {
    Address(blake3::Hasher::new().update_rayon(bytes).finalize().into())
}

/// Core digest ‖ position.
fn associated_data(core: CoreDigest, position: Position) -> [u8; 33] {
    let mut aad = [position.0; 33];
    aad[..32].copy_from_slice(&core.0);
    aad
}

/// Seals a share to the prekey at its position: encapsulated key ‖ ciphertext.
///
/// # Security
/// CCA-secure; authenticates nobody by itself, the signed header covers the blob. `coins` come from z (C19), so the same seal gives the
/// same bytes and no nonce is ever used for two messages.
pub(crate) fn seal_blob(prekey: &[u8], core: CoreDigest, share: &Share, mut coins: EncapsulationCoins) -> Result<Vec<u8>, BadPrekey> {
    let key = public_key(prekey)?;
    let aad = associated_data(core, share.position());
    let plain = share.to_bytes();
    let (encapsulated, sealed) =
        single_shot_seal_with_rng::<AesGcm256, HkdfSha256, XWing>(&OpModeS::Base, &key, Domain::Blob.prefix(), &plain, &aad, &mut coins)
            .map_err(|_| BadPrekey)?;
    let mut blob = encapsulated.to_bytes().to_vec();
    blob.extend_from_slice(&sealed);
    Ok(blob)
}

/// Opens the blob of one update for the decryptor at `position`.
///
/// # Security
/// `core` is the digest of the core that the *signed* header carries; a blob of another client, manifest, group or body root fails.
///
/// # Errors
/// [`BlobError`].
pub fn open_blob(prekey: &PrekeySecret, core: CoreDigest, position: Position, blob: &[u8]) -> Result<Share, BlobError> {
    if blob.len() != BLOB_BYTES {
        return Err(BlobError::Length(blob.len()));
    }
    let (encapsulated, sealed) = blob.split_at(ENCAPSULATED_BYTES);
    let encapsulated = <XWing as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| BlobError::Open)?;
    let aad = associated_data(core, position);
    let opened = single_shot_open::<AesGcm256, HkdfSha256, XWing>(
        &OpModeR::Base,
        &prekey.private(),
        &encapsulated,
        Domain::Blob.prefix(),
        sealed,
        &aad,
    );
    let share = opened.map(Zeroizing::new).map_err(|_| BlobError::Open).and_then(|plain| Ok(Share::from_bytes(position, &plain)?));
    scrub();
    share
}

//! Bytes that a client, the server or a decryptor's own store may give to the sealing room.

use crypto::blob::open_blob;
use crypto::prekey::{PREKEY_SECRET_BYTES, PrekeySecret, check_prekey};
use crypto::share::{SHARE_BYTES, Share};
use crypto::sum::BlockSum;
use protocol::ids::{CoreDigest, GroupId, Position, ShardId};
use protocol::manifest::{GroupShard, GroupSpec};
use protocol::params::{BLOB_BYTES, Packing};

/// What stands before a blob here: the secret that opens it, the core digest that it is bound to, and the decryptor's position.
pub const BEFORE_BLOB: usize = PREKEY_SECRET_BYTES + 32 + 1;

/// A share blob behind what its decryptor knows, a public prekey, and a stored secret one.
pub fn blobs(bytes: &[u8]) {
    if let Some((known, blob)) = bytes.split_first_chunk::<BEFORE_BLOB>() {
        let (secret, known) = known.split_at(PREKEY_SECRET_BYTES);
        let (core, position) = known.split_at(32);
        let (Ok(mut secret), Ok(core)) = (<[u8; PREKEY_SECRET_BYTES]>::try_from(secret), <[u8; 32]>::try_from(core)) else { return };
        let position = Position(position[0]);
        match open_blob(&PrekeySecret::from_bytes(&mut secret), CoreDigest(core), position, blob) {
            Ok(share) => {
                assert_eq!((share.position(), blob.len()), (position, BLOB_BYTES));
                assert!(Share::from_bytes(position, &share.to_bytes()).is_ok());
            }
            Err(_) => assert_eq!(secret, [0; PREKEY_SECRET_BYTES], "the caller's copy is wiped"),
        }
    }
    let _sealable = check_prekey(bytes);
    if let Ok(mut stored) = <[u8; PREKEY_SECRET_BYTES]>::try_from(bytes) {
        assert_eq!(&PrekeySecret::from_bytes(&mut stored).to_bytes()[..], bytes);
        assert_eq!(stored, [0; PREKEY_SECRET_BYTES], "the caller's copy is wiped");
    }
}

/// The content of a blob; also a decryptor's stored share.
pub fn shares(bytes: &[u8]) {
    if let Ok(share) = Share::from_bytes(Position(3), bytes) {
        assert_eq!(share.to_bytes().as_slice(), bytes);
        assert_eq!((share.position(), bytes.len()), (Position(3), SHARE_BYTES));
    }
}

/// One packed chunk of the smallest group for three packings; adding it twice doubles it, and a refused one changes nothing.
pub fn chunks(bytes: &[u8]) {
    for bits in [8, 16, 32] {
        let Ok(packing) = Packing::derive(2, bits) else { continue };
        let shards = vec![GroupShard { id: ShardId(0), length: 1, step_exponent: -10 }];
        let group = GroupSpec { id: GroupId(0), shards, packing, cohort_min: 2, eligible: vec![], tally: None };
        let Ok(mut block) = BlockSum::new(&group, 0) else { continue };
        let empty = block.to_bytes();
        if block.add_chunk(bytes).is_err() {
            assert_eq!((block.added(), block.to_bytes()), (0, empty));
            continue;
        }
        let once: Vec<u64> = block.polynomials().iter().flatten().copied().collect();
        assert!(block.add_chunk(bytes).is_ok());
        assert!(block.polynomials().iter().flatten().zip(&once).all(|(two, one)| *two == one.wrapping_mul(2)));
        assert!(block.add_chunk(bytes).is_err(), "a third update would overflow the slots");
        let stored = BlockSum::from_bytes(&group, 0, &block.to_bytes(), 2);
        assert!(stored.is_ok_and(|s| s.address() == block.address()));
    }
}

/// A block of a sum as it lies on the server's disk: one spelling, whatever was added.
pub fn sums(bytes: &[u8]) {
    let Ok(packing) = Packing::derive(2, 8) else { return };
    let shards = vec![GroupShard { id: ShardId(0), length: 1, step_exponent: -10 }];
    let group = GroupSpec { id: GroupId(0), shards, packing, cohort_min: 2, eligible: vec![], tally: None };
    for added in 0..=3 {
        let Ok(block) = BlockSum::from_bytes(&group, 0, bytes, added) else { continue };
        assert_eq!((block.added(), block.to_bytes().as_slice()), (added, bytes));
    }
    assert!(BlockSum::from_bytes(&group, 1, bytes, 1).is_err(), "the group has one block");
}

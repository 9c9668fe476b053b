//! The same bytes from every set of vector instructions (crypto.md C68, C69). The transforms of `tfhe-ntt` and AES choose for themselves:
//! other machines, or an emulator of them, run these same tests on their choices (`just other-machines`).

use super::forced;
use crate::mask::MaskKey;
use crate::open::{OpenedSum, open_group};
use crate::ring::{MAX_L1_NORM, RingKey};
use crate::share::decode_key_sum;
use crate::testing::{Federation, Sealed, values};
use protocol::ids::Address;
use protocol::params::{CommitteeSize, RING_DIMENSION};

const TWO: CommitteeSize = CommitteeSize { decryptors: 2, corrupt: 1 };

/// All that two updates become: what is sent, what is summed, what is opened.
fn story(f: &Federation, shards: &[Vec<i32>]) -> (Vec<Vec<u8>>, Vec<Address>, OpenedSum) {
    let sealed: Vec<Sealed> = (0..2).map(|client| f.seal(client, shards)).collect();
    let certificate = f.certify(&sealed);
    let decoded = decode_key_sum(TWO, &certificate, &f.openings(&certificate, &sealed, &[1, 2])).unwrap();
    let sum = f.sum(&sealed);
    let opened = open_group(f.digest, f.group(), &certificate, &decoded.candidates, &sum).unwrap();
    let sent = sealed.into_iter().flat_map(|s| [s.chunks, s.update.blobs].concat()).collect();
    (sent, sum.blocks().iter().map(|b| b.address()).collect(), opened)
}

/// Few bits and many, one slot and five, all 64 bits on the wire and few, a last polynomial that is nearly empty.
#[test]
fn every_set_of_instructions_seals_adds_and_opens_alike() {
    let sets = forced::all();
    assert!(sets.len() > 1 || !cfg!(target_arch = "x86_64"), "a machine without AVX2 compares nothing");
    for (n_max, bits) in [(2, 4), (2, 32), (4, 8), (16, 16), (100, 8), (1000, 16)] {
        let f = Federation::new(2, n_max, TWO, bits, &[5, 20_000]);
        let shards = [values(&f.group().packing, 1, 5), values(&f.group().packing, 2, 20_000)];
        let plain = forced::with(sets[0].1, || story(&f, &shards));
        for (name, set) in &sets[1..] {
            assert!(forced::with(*set, || story(&f, &shards)) == plain, "{name}, {n_max} institutions, {bits} bits");
        }
        assert!(story(&f, &shards) == plain, "this machine's own choice, {n_max} institutions, {bits} bits");
    }
}

/// Keys at the bound of C68, of either sign, with the masks that reach farthest, against the stock product.
#[test]
fn every_set_of_instructions_multiplies_exactly_at_the_bound() {
    let most = i64::try_from(MAX_L1_NORM).unwrap();
    let masks = [
        [1 << 63; RING_DIMENSION],
        [(1 << 63) - 1; RING_DIMENSION],
        [u64::MAX; RING_DIMENSION],
        *MaskKey::from_bytes([3; 16]).polynomial(1),
    ];
    for sign in [1, -1] {
        let spread: [i64; RING_DIMENSION] = std::array::from_fn(|i| sign * if i % 2 == 0 { most / 4096 } else { -(most / 4096) });
        let single: [i64; RING_DIMENSION] = std::array::from_fn(|i| if i == 77 { sign * most } else { 0 });
        for small in [spread, single] {
            let (fast, stock) = (RingKey::new(&small), RingKey::reference(&small));
            assert!(fast.is_fast());
            for mask in &masks {
                let expected = stock.times(mask);
                for (name, set) in forced::all() {
                    assert!(forced::with(set, || fast.times(mask)).as_slice() == expected.as_slice(), "{name}");
                }
            }
        }
    }
}

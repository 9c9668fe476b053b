//! Which random group an institution is in: a function of the join list and of numbers that the committee fixed before it and revealed
//! after it (crypto.md C37). Knows no round, no log and no randomness of its own.

use crate::hash::{Domain, List, tagged};
use crate::ids::{ClientId, RoundId, Sha256, TaskId};
use crate::statement::{Payload, StatementKind};
use aes::Aes256;
use ctr::Ctr128LE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use minicbor::{CborLen, Decode, Encode};

/// A decryptor's secret number for one round.
pub type Nonce = [u8; 32];

/// A decryptor reveals its number, after the join list stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct NonceReveal {
    /// The task.
    #[n(0)]
    pub task: TaskId,
    /// The round.
    #[n(1)]
    pub round: RoundId,
    /// The number that its prekeys statement is bound to.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub nonce: Nonce,
}

impl Payload for NonceReveal {
    const KIND: StatementKind = StatementKind::Nonce;
}

/// H(`nonce`; nonce): what a prekeys statement says before anybody has joined.
pub fn commitment(nonce: &Nonce) -> Sha256 {
    Sha256(tagged(Domain::Nonce, &[nonce]))
}

/// Digest of the join list: the willing institutions in ascending order, with their count.
pub fn join_list(clients: &[ClientId]) -> Sha256 {
    Sha256(List::Joined.digest(clients.iter().map(|id| id.0).collect()))
}

/// seed = H(`groups`; join-list digest ‖ nonces by position).
pub fn seed(joined: Sha256, nonces: &[Nonce]) -> [u8; 32] {
    tagged(Domain::Groups, &[&joined.0, &nonces.concat()])
}

/// Deals the institutions into `parts` groups whose sizes differ by at most one: Fisher–Yates from the last place down over the ids in
/// ascending order, then one after the other to part 0, 1, …. Each part comes back in ascending order.
pub fn deal(seed: &[u8; 32], clients: &[ClientId], parts: u16) -> Vec<Vec<ClientId>> {
    let mut order = clients.to_vec();
    order.sort_unstable();
    order.dedup();
    let mut words = Words(Ctr128LE::<Aes256>::new(seed.into(), &[0; 16].into()));
    for last in (1..order.len()).rev() {
        order.swap(last, words.below(last + 1));
    }
    let mut dealt = vec![Vec::new(); usize::from(parts.max(1))];
    let places = dealt.len();
    order.into_iter().enumerate().for_each(|(i, client)| dealt[i % places].push(client));
    dealt.iter_mut().for_each(|part| part.sort_unstable());
    dealt
}

/// The AES-256-CTR stream of a seed from counter 0, as `u64` LE.
struct Words(Ctr128LE<Aes256>);

impl Words {
    /// A number below `bound`, each as likely: words at or above the largest multiple of `bound` are thrown away.
    fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        let whole = u64::MAX - u64::MAX % bound;
        loop {
            let mut bytes = [0u8; 8];
            self.0.apply_keystream(&mut bytes);
            let word = u64::from_le_bytes(bytes);
            if word < whole {
                // Below the length of a list, so it fits.
                return usize::try_from(word % bound).unwrap_or(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::sha256;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn clients(count: u8) -> Vec<ClientId> {
        (0..count).map(|i| ClientId([i; 32])).collect()
    }

    proptest! {
        /// Everybody is in exactly one part, sizes differ by at most one, and the order in which people joined does not matter.
        #[test]
        fn everybody_is_dealt_once_and_evenly(count in 1u8..80, parts in 1u16..9, seed: [u8; 32]) {
            let (mut all, dealt) = (clients(count), deal(&seed, &clients(count), parts));
            prop_assert_eq!(dealt.len(), usize::from(parts));
            prop_assert_eq!(dealt.iter().flatten().copied().collect::<BTreeSet<_>>(), all.iter().copied().collect());
            prop_assert_eq!(dealt.iter().map(Vec::len).sum::<usize>(), usize::from(count));
            let sizes = || dealt.iter().map(Vec::len);
            prop_assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1);
            all.reverse();
            prop_assert_eq!(deal(&seed, &all, parts), dealt);
        }

        /// Nobody alone fixes the groups: another number of anybody gives another seed, and other groups.
        #[test]
        fn every_nonce_counts(nonces in proptest::collection::vec(any::<[u8; 32]>(), 2..5), which in 0usize..2, bit in 0usize..256) {
            let joined = join_list(&clients(60));
            let mut other = nonces.clone();
            other[which][bit / 8] ^= 1 << (bit % 8);
            let groups = |n: &[Nonce]| deal(&seed(joined, n), &clients(60), 3);
            prop_assert_ne!(groups(&nonces), groups(&other));
            prop_assert_ne!(seed(joined, &nonces), seed(join_list(&clients(59)), &nonces));
        }
    }

    /// Each of six institutions is in each of three parts in a third of 3,000 deals: within six deviations of 26, false alarm below 4e-8.
    #[test]
    fn deals_are_even() {
        let mut counts = [[0i32; 3]; 6];
        for i in 0u32..3000 {
            let dealt = deal(&sha256(&[&i.to_le_bytes()]), &clients(6), 3);
            for (part, members) in dealt.iter().enumerate() {
                members.iter().for_each(|c| counts[usize::from(c.0[0])][part] += 1);
            }
        }
        assert!(counts.iter().flatten().all(|c| (c - 1000).abs() < 156), "{counts:?}");
    }

    /// Computed by another program from the words above.
    #[test]
    fn a_known_deal() {
        let joined = join_list(&clients(7));
        let seed = seed(joined, &[[1; 32], [2; 32], [3; 32]]);
        let dealt: Vec<Vec<u8>> = deal(&seed, &clients(7), 3).iter().map(|p| p.iter().map(|c| c.0[0]).collect()).collect();
        assert_eq!(hex::encode(seed), "7e5b6e09dbe4d66e08b3cf7c04e8fb7b3676aeefa9ca90c4ba2f799b2d5fe88e");
        assert_eq!(dealt, [vec![0, 2, 3], vec![1, 5], vec![4, 6]]);
        assert_eq!(commitment(&[1; 32]).to_string(), "d3ae2586babbf3f17e88b5a18f89594eabab3ba2ae43e69c03c73609ff99d6bc");
    }
}

//! Item 9 of the required tests (crypto.md section 9, C72): after a seal and its opening, nothing secret is left in the memory of the
//! process. Linux only: it reads its own memory through `/proc`.
//!
//! What to look for is computed by another process, so that computing it leaves nothing here, and is kept only XORed with [`COVER`], so that
//! the search does not find its own needles. Freed memory counts: an allocator does not clean up.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_types, reason = "a test that looks at its own process from outside")]

use aes::Aes256;
use crypto::blob::{address_of, open_blob};
use crypto::mask::MaskKey;
use crypto::packing::{Layout, pack};
use crypto::prekey::PrekeySecret;
use crypto::ring::RingKey;
use crypto::sampler::{HedgeSecret, RoundSecret, SmallPolynomial};
use crypto::seal::{ChunkSink, SealContext, SealedUpdate, seal};
use crypto::share::deal;
use ctr::Ctr128LE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use ed25519_dalek::SigningKey;
use privacy::delta::PrivateDelta;
use privacy::noise::{EntropyError, EntropySource};
use protocol::codec::encode;
use protocol::decimal::Decimal;
use protocol::hash::{Domain, expand, tagged};
use protocol::ids::*;
use protocol::manifest::*;
use protocol::params::{CommitteeSize, PS_A, Packing, SHARE_PRIME};
use protocol::plan::Unit;
use protocol::time::Time;
use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::process::Command;
use tfhe_ntt::prime32::Plan;
use zeroize::{Zeroize, Zeroizing};

const COVER: u8 = 0x5a;
/// Bytes of a needle: no two places of memory agree in so many by chance.
const NEEDLE: usize = 32;
const SIZE: CommitteeSize = CommitteeSize { decryptors: 3, corrupt: 1 };
const LENGTH: usize = 48_000;

/// Byte `at` of the secret called `tag`, out of nothing that is kept.
fn secret_byte(tag: u64, at: usize) -> u8 {
    let z = (tag << 32 | at as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 32)).to_le_bytes()[0]
}

const FRESH: u64 = 1;
const HEDGE: u64 = 2;
const PREKEY: u64 = 10;
const CONTROL: u64 = 20;

/// Entropy that keeps no state from which its bytes could be found again.
struct Formula(u64);

impl EntropySource for Formula {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.iter_mut().enumerate().for_each(|(at, b)| *b = secret_byte(self.0, at));
        Ok(())
    }
}

fn hedge() -> HedgeSecret {
    let mut bytes: [u8; 32] = std::array::from_fn(|at| secret_byte(HEDGE, at));
    HedgeSecret::new(&mut bytes)
}

fn values() -> Vec<i32> {
    (0..LENGTH).map(|i| i32::from(secret_byte(3, i) % 200) - 100).collect()
}

#[derive(Default)]
struct Sink(u64);

impl ChunkSink for Sink {
    type Error = Infallible;
    fn put(&mut self, address: Address, bytes: &[u8]) -> Result<(), Infallible> {
        assert_eq!(address, address_of(bytes));
        self.0 += 1;
        Ok(())
    }
}

fn spend() -> BudgetSpend {
    let d = |text: &str| text.parse::<Decimal>().expect("a number");
    BudgetSpend {
        dataset: Sha256([1; 32]),
        unit: Unit::Record,
        noise_multiplier: d("1.1"),
        sampling_rate: d("0.01"),
        steps: 10,
        steps_total: 10,
        delta: d("0.00001"),
        epsilon_before: d("0"),
        epsilon_after: d("0.5"),
        epsilon_cap: d("8"),
        ledger_counter: 1,
        ledger_head: Sha256([2; 32]),
        accountant: "test".into(),
    }
}

fn prekey(position: u8) -> (PrekeySecret, Vec<u8>) {
    PrekeySecret::generate(&mut Formula(PREKEY + u64::from(position))).expect("the formula never fails")
}

fn manifest() -> Manifest {
    let ids: Vec<ClientId> =
        (1..=3).map(|i| ClientId::of(&PublicKey(SigningKey::from_bytes(&[i; 32]).verifying_key().to_bytes()))).collect();
    let committee = ids.iter().zip(1..).map(|(&institution, at)| CommitteeMember { institution, prekey: prekey(at).1.into() }).collect();
    let mut eligible = ids.clone();
    eligible.sort_unstable();
    let packing = Packing::derive(3, 8).expect("a packing");
    let shards = vec![GroupShard { id: ShardId(0), length: LENGTH as u64, step_exponent: -10 }];
    Manifest {
        federation: "test".into(),
        task: TaskId([3; 16]),
        round: RoundId::FIRST,
        plan: PlanDigest([4; 32]),
        snapshot: SnapshotDigest([5; 32]),
        parameter_set: PS_A,
        groups: vec![GroupSpec { id: GroupId(7), shards, packing, cohort_min: 2, eligible, tally: None }],
        roster: roster_root(&ids),
        committee,
        size: SIZE,
        reporting_until: Time(1),
        certifying_until: Time(2),
        opening_until: Time(3),
        log_size: 1,
        previous_end: Sha256([6; 32]),
    }
}

/// One client seals, one decryptor opens its blob; everything secret is dropped on return.
#[inline(never)]
fn seal_and_open() -> SealedUpdate {
    let manifest = manifest();
    let digest = Manifest::digest(&encode(&manifest));
    let spend = spend();
    let institution = manifest.groups[0].eligible[0];
    let context =
        SealContext { manifest: &manifest, digest, group: GroupId(7), institution, build: Sha256([8; 32]), spend: &spend, weight: None };
    let delta = PrivateDelta::for_test(vec![(ShardId(0), values())]);
    let mut sink = Sink::default();
    let update = seal(&context, &delta, &hedge(), &mut Formula(FRESH), &mut sink).expect("sealed");
    assert_eq!(sink.0, 1);
    let (secret, _) = prekey(1);
    let share = open_blob(&secret, update.header.core.digest(), Position(1), &update.blobs[0]).expect("opened");
    assert_eq!(share.to_bytes().len(), 16_400);
    update
}

/// Runs of one secret in one form: from the middle, where a freed block keeps what was in it.
fn needles_of(name: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let places: &[usize] = if bytes.len() == NEEDLE { &[0] } else { &[1, 4, 7] };
    places.iter().map(|part| (format!("{name} at {part}/8"), bytes[bytes.len() / 8 * part..][..NEEDLE].to_vec())).collect()
}

fn small_forms(name: &str, small: &[i8]) -> Vec<(String, Vec<u8>)> {
    let form = |form: &str, bytes: Vec<u8>| needles_of(&format!("{name} as {form}"), &bytes);
    let mut out = form("i8", small.iter().flat_map(|v| v.to_le_bytes()).collect());
    out.extend(form("i16", small.iter().flat_map(|&v| i16::from(v).to_le_bytes()).collect()));
    out.extend(form("i32", small.iter().flat_map(|&v| i32::from(v).to_le_bytes()).collect()));
    out.extend(form("i64", small.iter().flat_map(|&v| i64::from(v).to_le_bytes()).collect()));
    // The share field and the primes of C68.
    for prime in [i64::from(SHARE_PRIME), 1_073_692_673, 1_073_668_097, 1_073_651_713] {
        let residue = |v: i8| u32::try_from(i64::from(v).rem_euclid(prime)).expect("a prime of 31 bits");
        out.extend(form(&format!("residues modulo {prime}"), small.iter().flat_map(|&v| residue(v).to_le_bytes()).collect()));
    }
    out
}

/// What the fast product keeps of s (C68): residues with the factors that the recombination needs, before and after their transform.
fn transformed_forms(secret: &SmallPolynomial) -> Vec<(String, Vec<u8>)> {
    let [p0, p1, p2] = [1_073_692_673u64, 1_073_668_097, 1_073_651_713];
    let power = |base: u64, exponent: u64, p: u64| {
        let factor = |bit: u32| if exponent >> bit & 1 == 1 { base % p } else { 1 };
        (0..64).rev().fold(1, |x, bit| x * x % p * factor(bit) % p)
    };
    let inverse = |a: u64, p: u64| power(a, p - 2, p);
    let mut out = Vec::new();
    for (p, q, r) in [(p0, p1, p2), (p1, p0, p2), (p2, p0, p1)] {
        // 2^64 / (4096·q·r).
        let scale = power(2, 52, p) * inverse(q % p * (r % p) % p, p) % p;
        let word = |v: u64| u32::try_from(v).expect("below a prime of 30 bits");
        let residue = |&v: &i8| word(i64::from(v).rem_euclid(word(p).into()).unsigned_abs() * scale % p);
        let mut row: Vec<u32> = secret.iter().map(residue).collect();
        let bytes = |row: &[u32]| row.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        out.extend(needles_of(&format!("scaled residues of s modulo {p}"), &bytes(&row)));
        Plan::try_new(4096, word(p)).expect("a prime for 4096 points").fwd(&mut row);
        out.extend(needles_of(&format!("transform of s modulo {p}"), &bytes(&row)));
    }
    out
}

/// The packed polynomials of the sealed values, and the message digest over them.
fn packed_message(manifest: &Manifest) -> (Zeroizing<Vec<u8>>, Zeroizing<[u8; 32]>) {
    let layout = Layout::new(&manifest.groups[0]).expect("a layout");
    let values = values();
    let mut packed = Zeroizing::new(Vec::with_capacity(1 << 20));
    for j in 0..layout.polynomials() {
        let span = layout.span(j).expect("a polynomial of the group");
        let words = pack(layout.packing(), &values[span.start..span.start + span.len]).expect("in range");
        packed.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    }
    let message = Zeroizing::new(tagged(Domain::Message, &[blake3::hash(&packed).as_bytes()]));
    (packed, message)
}

/// The round secret of the seal in question.
fn round(digest: ManifestDigest, message: &Zeroizing<[u8; 32]>) -> RoundSecret {
    let mut fresh = Zeroizing::new([0; 32]);
    Formula(FRESH).fill(fresh.as_mut()).expect("the formula never fails");
    RoundSecret::derive(&fresh, &hedge(), digest, GroupId(7), message)
}

/// Everything that C72 names, from the same inputs and by the document's formulas.
fn needles() -> Vec<(String, Vec<u8>)> {
    let manifest = manifest();
    let digest = Manifest::digest(&encode(&manifest));
    let (packed, message) = packed_message(&manifest);
    let bytes = |tag| -> [u8; 32] { std::array::from_fn(|at| secret_byte(tag, at)) };
    let mut z = [0u8; 32];
    expand(Domain::RoundSecret, &[&bytes(FRESH), &bytes(HEDGE), &digest.0, &GroupId(7).0.to_le_bytes(), message.as_slice()], &mut z);
    let round = round(digest, &message);
    let secret = round.secret();
    // What Karatsuba's first step makes of s.
    let (low, high) = secret.split_at(2048);
    let halves: Vec<u8> = low.iter().zip(high).flat_map(|(&a, &b)| (i64::from(a) + i64::from(b)).to_le_bytes()).collect();
    let mut out = [
        needles_of("fresh entropy", &bytes(FRESH)),
        needles_of("hedge secret", &bytes(HEDGE)),
        needles_of("prekey secret", &bytes(PREKEY + 1)),
        needles_of("z", &z),
        needles_of("packed integers", &packed[..4096 * 8]),
        needles_of("packed integers of the second polynomial", &packed[4096 * 8..2 * 4096 * 8]),
        small_forms("s", secret.as_slice()),
        small_forms("e_0", round.noise(0).as_slice()),
        small_forms("e_1", round.noise(1).as_slice()),
        needles_of("sums of the halves of s", &halves),
        transformed_forms(&secret),
    ]
    .concat();
    for j in 0..2 {
        let product = RingKey::reference(&secret).times(&MaskKey::derive(digest, GroupId(7)).polynomial(j));
        out.extend(needles_of(&format!("A_{j}·s"), &product.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>()));
    }
    for (domain, name) in [(Domain::Secret, "secret"), (Domain::Noise, "noise"), (Domain::Shares, "shares")] {
        let mut key = [0u8; 32];
        expand(domain, &[&z], &mut key);
        out.extend(needles_of(&format!("key of the {name} stream"), &key));
        let mut stream = vec![0u8; 24 * 4096];
        Ctr128LE::<Aes256>::new(&key.into(), &[0u8; 16].into()).apply_keystream(&mut stream);
        out.extend(needles_of(&format!("{name} stream"), &stream));
    }
    for share in deal(&secret, &round, SIZE) {
        out.extend(needles_of(&format!("share of position {}", share.position().0), &share.to_bytes()));
    }
    out
}

/// Not a test: the needles, covered, for [`nothing_secret_is_left_after_a_seal`], which calls it in a process of its own.
#[test]
#[ignore = "computes what the memory scan looks for, in another process"]
fn print_needles() {
    // Run together with the scan it would spoil it.
    if !std::env::args().any(|a| a == "print_needles") {
        return;
    }
    let mut out = std::io::stderr();
    for (name, needle) in needles() {
        let covered: Vec<u8> = needle.iter().map(|b| b ^ COVER).collect();
        writeln!(out, "needle\t{name}\t{}", hex::encode(covered)).expect("written");
    }
}

/// A name and the covered bytes.
type Needle = (String, Vec<u8>);

fn needles_from_another_process() -> Vec<Needle> {
    let program = std::env::current_exe().expect("this test");
    let run = Command::new(program).args(["--ignored", "--exact", "print_needles", "--nocapture"]).output().expect("ran");
    let text = String::from_utf8(run.stderr).expect("text");
    let read = |line: &str| {
        let (name, covered) = line.strip_prefix("needle\t")?.split_once('\t')?;
        Some((name.to_owned(), hex::decode(covered).ok()?))
    };
    text.lines().filter_map(read).collect()
}

/// Writable memory of this process, without the search's own buffer.
fn regions() -> Vec<(u64, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the maps of this process");
    let region = |line: &str| {
        let mut words = line.split(' ');
        let (start, end) = words.next()?.split_once('-')?;
        let writable = words.next()?.starts_with("rw");
        writable.then_some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
    };
    maps.lines().filter_map(region).collect()
}

const PIECE: usize = 1 << 20;

/// Names of the needles that memory holds, with how often.
fn search(needles: &[Needle]) -> Vec<String> {
    let memory = File::open("/proc/self/mem").expect("the memory of this process");
    let mut buffer = vec![0u8; PIECE + NEEDLE];
    let own = buffer.as_ptr().addr() as u64..(buffer.as_ptr().addr() + buffer.len()) as u64;
    let mut starts = vec![Vec::new(); 256];
    needles.iter().enumerate().for_each(|(i, (_, covered))| starts[usize::from(covered[0])].push(i));
    let mut found = vec![0usize; needles.len()];
    for (start, end) in regions() {
        for at in (start..end).step_by(PIECE) {
            let len = usize::try_from((end - at).min((PIECE + NEEDLE) as u64)).expect("a piece");
            let Ok(len) = memory.read_at(&mut buffer[..len], at) else { continue };
            for offset in 0..len.saturating_sub(NEEDLE - 1) {
                let place = at + offset as u64;
                if offset >= PIECE || own.contains(&place) || own.contains(&(place + NEEDLE as u64 - 1)) {
                    continue;
                }
                for &i in &starts[usize::from(buffer[offset] ^ COVER)] {
                    found[i] += usize::from(buffer[offset..].iter().zip(&needles[i].1).all(|(b, covered)| b ^ COVER == *covered));
                }
            }
        }
    }
    buffer.zeroize();
    needles.iter().zip(found).filter(|(_, n)| *n > 0).map(|((name, _), n)| format!("{name}: {n}")).collect()
}

/// Whether some needle of this secret was found.
fn has(found: &[String], name: &str) -> bool {
    found.iter().any(|line| line.starts_with(name))
}

#[test]
fn nothing_secret_is_left_after_a_seal() {
    let needles = needles_from_another_process();
    assert!(needles.len() > 110, "{} needles", needles.len());
    let update = seal_and_open();
    let left = search(&needles);
    assert_eq!(update.blobs.len(), 3);
    assert!(left.is_empty(), "left in memory: {left:#?}");
    secrets_are_found_while_they_live(&needles);
    // What this test itself has moved about lies on the stack below here.
    crypto::stack::scrub();
    let left = search(&needles);
    assert!(left.is_empty(), "left in memory after the control: {left:#?}");
    unwiped_copies_are_found();
}

/// The needles are the right ones: what is held is found, in the form in which it is held.
#[inline(never)]
fn secrets_are_found_while_they_live(needles: &[Needle]) {
    let manifest = manifest();
    let (packed, message) = packed_message(&manifest);
    let round = round(Manifest::digest(&encode(&manifest)), &message);
    let (hedge, (prekey, _)) = (hedge(), prekey(1));
    let (secret, noise) = (round.secret(), round.noise(0));
    let shares = deal(&secret, &round, SIZE);
    let key = RingKey::new(&secret);
    let product = key.times(&MaskKey::derive(Manifest::digest(&encode(&manifest)), GroupId(7)).polynomial(1));
    let found = search(needles);
    let held = ["hedge secret", "prekey secret", "z at", "packed integers", "s as i8", "e_0 as i8", "share of position 2"];
    let made = ["packed integers of the second", "s as i64", "transform of s modulo 1073651713", "A_1·s"];
    assert!(made.iter().all(|name| has(&found, name)), "made but not found: {found:#?}");
    assert!(held.iter().all(|name| has(&found, name)), "held but not found: {found:#?}");
    drop((packed, round, hedge, prekey, secret, noise, shares, key, product));
}

/// The search sees the heap: what is kept is found once, and not any more when it is wiped.
fn unwiped_copies_are_found() {
    let needles = [("control".to_owned(), (0..NEEDLE).map(|at| secret_byte(CONTROL, at) ^ COVER).collect())];
    assert!(search(&needles).is_empty());
    let mut control: Vec<u8> = (0..4096).map(|at| secret_byte(CONTROL, at)).collect();
    assert_eq!(search(&needles), ["control: 1"]);
    control.zeroize();
    assert!(search(&needles).is_empty());
    // Freed without being wiped: still there at its end, which nothing has used since.
    let freed: Vec<u8> = (0..65_536usize).map(|at| secret_byte(CONTROL, at.wrapping_sub(61_440))).collect();
    drop(std::hint::black_box(freed));
    assert_eq!(search(&needles), ["control: 1"]);
}

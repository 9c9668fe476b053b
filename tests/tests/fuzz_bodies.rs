//! What the fuzz targets do, on stable: every body takes whole valid bytes of its kind and thousands of damaged ones, always the same.
//! The seeds are what a simulated round puts on the wire and into the log, so no format can change without them.

#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
#[path = "../../fuzz/src/counts.rs"]
mod counts;
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
#[path = "../../fuzz/src/homes.rs"]
mod homes;
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
#[path = "../../fuzz/src/log.rs"]
mod log;
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
#[path = "../../fuzz/src/openings.rs"]
mod openings;
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
#[path = "../../fuzz/src/outsiders.rs"]
mod outsiders;
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
#[path = "../../fuzz/src/people.rs"]
mod people;
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
#[path = "../../fuzz/src/records.rs"]
mod records;
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
#[path = "../../fuzz/src/sealing.rs"]
mod sealing;
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
#[path = "../../fuzz/src/stores.rs"]
mod stores;
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
#[path = "../../fuzz/src/tokens.rs"]
mod tokens;
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
#[path = "../../fuzz/src/words.rs"]
mod words;

#[path = "fuzz_bodies/afterwards.rs"]
mod afterwards;
#[path = "fuzz_bodies/kept.rs"]
mod kept;
#[path = "fuzz_bodies/told.rs"]
mod told;
#[path = "fuzz_bodies/watch.rs"]
mod watch;
/// The story is told with the library's own steps, check matrix and products, and shown with its own receipts.
mod count {
    pub(crate) use auditor::count::{advance, nothing};
}
mod step {
    pub(crate) use auditor::step::{Mass, Opened};
}
mod share {
    pub(crate) use auditor::share::CheckMatrix;
}
mod ring {
    pub(crate) use auditor::ring::{Mask, lift, product};
}
mod show {
    pub(crate) use auditor::show::show;
}

use audit::checkpoint::Checkpoint;
use audit::hash::Hash;
use audit::key::{KeyType, SignerKey};
use audit::merkle::{ConsistencyProof, InclusionProof};
use audit::note::Note;
use audit::policy::{Policy, Witness};
use audit::proof::{Receipt, TlogProof};
use audit::tree::CompactRange;
use audit::witness::{AddCheckpoint, WitnessState};
use crypto::doors::{Federation, Sealed};
use protocol::codec;
use protocol::entry::LogEntry;
use protocol::ids::{Address, CoreDigest, Position, Sha256, TaskId, TokenId, UploadId};
use protocol::manifest::OpeningPayload;
use protocol::messages::{ChunkHeader, ChunkKind, JoinMessage, Request, Response, frame};
use protocol::params::{BLOB_BYTES, CommitteeSize, Packing, Tally};
use protocol::plan::Asks;
use protocol::plan::own::{OwnModel, Positions};
use protocol::trust::Token;
use server::plan_file::{AnyPlanFile, Prepared};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use tests::aggregator::Mutant;
use tests::fixture::{Shape, federation};
use tests::net::Letter;
use tests::world::World;
use train::count::Known;

type Seeds = Vec<Vec<u8>>;

/// One round from its beginning to its end: all frames that were sent, and the log.
static ROUND: LazyLock<(Seeds, Seeds)> = LazyLock::new(|| {
    let mut world = World::new(Shape::plain(3, 2), Mutant::Sound).unwrap();
    let frames = RefCell::new(BTreeSet::new());
    let collect = |w: &World| {
        for letter in w.net.letters() {
            if let Letter::Down { frame, .. } | Letter::Up { frame, .. } = letter {
                frames.borrow_mut().insert(frame[4..].to_vec());
            }
        }
        !w.outcomes.is_empty()
    };
    world.until(collect).unwrap();
    (frames.into_inner().into_iter().collect(), world.server.log.entries().to_vec())
});

fn messages() -> Seeds {
    let mut seeds = ROUND.0.clone();
    let upload = UploadId([1; 16]);
    let header = ChunkHeader { kind: ChunkKind::Shares, index: 1, length: 1 << 20, upload, address: Address([2; 32]) };
    seeds.push(header.to_bytes().to_vec());
    let (log, renew) = (Request::Log { from: 1, to: 1 << 40 }, Request::Renew { csr: vec![3; 200].into() });
    let asks = [Request::Commit { upload }, log, renew, Request::Handover { after: 1 << 40 }];
    seeds.extend(asks.iter().map(|r| frame(r)[4..].to_vec()));
    seeds
}

/// Payloads of everything that was signed in the round, and the statements of the frames.
fn statements() -> Seeds {
    let logged = ROUND.1.iter().filter_map(|e| LogEntry::parse(e).unwrap().stmt).map(|s| s.payload_bytes().unwrap());
    let server = federation(Shape::plain(3, 2));
    let whole = protocol::statement::Statement::sign(
        &protocol::manifest::Endorsement { manifest: protocol::ids::ManifestDigest([3; 32]) },
        &server.server,
    );
    let logged: Seeds = logged.collect();
    // The pretend world weighs nobody: a manifest whose groups carry weights is made from its own.
    let weighed = logged.iter().find_map(|payload| {
        let mut manifest: protocol::manifest::Manifest = codec::decode(payload, 1 << 20).ok()?;
        manifest.groups.iter_mut().for_each(|g| g.tally = Tally::derive(5_000, 16).ok());
        Some(codec::encode(&manifest))
    });
    let weighed = weighed.expect("a round has a manifest");
    logged.into_iter().chain([codec::encode(&whole), weighed]).chain(afterwards::signed()).collect()
}

fn entries() -> Seeds {
    ROUND.1.clone()
}

fn plans() -> Seeds {
    let plain = [Shape::plain(2, 1), Shape::plain(5, 3)];
    let dealt_and_tiered = [Shape { parts: 3, ..Shape::plain(6, 2) }, Shape { small: 2, ..Shape::plain(5, 3) }];
    let mut trains: Vec<_> = plain.into_iter().chain(dealt_and_tiered).map(|shape| federation(shape).plan.clone()).collect();
    let mut writes = trains[0].clone();
    let positions = Positions::Rotary { theta: 10_000 };
    let own = OwnModel { asks: Asks::Translate, positions, decoder_layers: Some(1), groups: Some(1), stem: Some(3), ..OwnModel::default() };
    (writes.model.own, writes.model.classes) = (Some(own), Vec::new());
    trains.push(writes);
    trains.iter().chain(COUNTING.iter().map(|c| &c.plan)).map(codec::encode).collect()
}

/// Plans that count, one of each kind.
static COUNTING: LazyLock<[Prepared; 2]> = LazyLock::new(|| {
    [include_str!("../../configs/plan-statistics.toml"), include_str!("../../configs/plan-words.toml")]
        .map(|text| AnyPlanFile::parse(text).unwrap().prepare(TaskId([1; 16])).unwrap())
});

/// What they know before a round, and after one whose first values are large: answers, or the characters below 120.
fn known() -> Seeds {
    let after = |c: &Prepared| {
        let mut sum = vec![0; usize::try_from(c.plan.dimension()).unwrap()];
        let values = sum.len() / usize::from(c.plan.count.as_ref().unwrap().limbs);
        let highest_limbs = sum.len() - values;
        sum[highest_limbs..].iter_mut().take(120).for_each(|v| *v = 1000);
        train::count::advance(&c.plan, &Known::parse(&c.base).unwrap(), &sum, 3).unwrap().to_bytes().unwrap()
    };
    COUNTING.iter().flat_map(|c| [c.base.clone(), after(c)]).collect()
}

fn texts() -> Seeds {
    let world = federation(Shape::plain(3, 2));
    let token = Token {
        address: "server.example:4433".into(),
        root_ca: Sha256([1; 32]),
        trust: Sha256([2; 32]),
        id: TokenId([3; 16]),
        secret: [4; 32],
        institution: "site-one".into(),
    };
    let lines =
        ["0.0125".to_owned(), "999999999999999999".into(), "1".into(), Sha256([5; 32]).to_string(), "07".repeat(16), token.to_line()];
    let decimal: protocol::decimal::Decimal = "0.5".parse().unwrap();
    lines.into_iter().map(String::into_bytes).chain([world.log.history().trust().to_bytes(), codec::encode(&decimal)]).collect()
}

struct LogWorld {
    key: SignerKey,
    witness: SignerKey,
    tree: CompactRange,
    note: Note,
}

fn small_log() -> LogWorld {
    let key = SignerKey::new("pretend/log", KeyType::Note, &[1; 32]).unwrap();
    let witness = SignerKey::new("site-one/witness", KeyType::Cosignature, &[2; 32]).unwrap();
    let mut tree = CompactRange::new();
    (0..5u8).for_each(|i| tree.push(audit::hash::leaf_hash(&[i])));
    let mut note = Checkpoint { origin: "pretend/log".into(), head: tree.head() }.sign(&key).unwrap();
    let line = audit::cosign::cosign(&witness, 1_700_000_000, note.text()).unwrap();
    note.add(&[line]).unwrap();
    LogWorld { key, witness, tree, note }
}

fn notes() -> Seeds {
    let log = small_log();
    let witnesses = [Witness { name: "one".into(), key: log.witness.verifier().clone() }];
    let policy = Policy::compose(log.key.verifier(), &witnesses, Some(1)).unwrap();
    let texts = [
        log.note.text().to_owned(),
        audit::note::write_lines(log.note.lines()),
        policy.text().to_owned(),
        log.tree.head().to_string(),
        log.key.verifier().to_string(),
        log.witness.verifier().to_string(),
        log.key.to_secret_text().to_string(),
        WitnessState { head: log.tree.head(), time_s: 7 }.to_string(),
        log.tree.root().to_base64(),
    ];
    texts.into_iter().map(String::into_bytes).chain([log.note.encode()]).collect()
}

fn requests() -> Seeds {
    let log = small_log();
    let hashes = vec![Hash([1; 32]), Hash([2; 32])];
    let request = AddCheckpoint { old_size: 3, consistency: ConsistencyProof(hashes.clone()), note: log.note.clone() };
    let proof = TlogProof { index: 3, inclusion: InclusionProof(hashes), note: log.note.clone() };
    let answers = [audit::note::write_lines(&log.note.lines()[1..]), "41\n".to_owned()].map(String::into_bytes);
    let proofs = [proof.encode(), Receipt { entry: ROUND.1[0].clone(), proof }.encode().unwrap(), request.encode()];
    proofs.into_iter().chain(answers).collect()
}

fn tiles() -> Seeds {
    let log = small_log();
    let mut bundle = vec![3];
    ROUND.1[..3].iter().for_each(|e| audit::tile::push_entry(&mut bundle, e).unwrap());
    let paths = ["tile/0/000", "tile/1/x001/x234/067.p/8", "tile/entries/x001/000.p/255"].map(|p| p.as_bytes().to_vec());
    let tile = [&[2], audit::tile::encode_tile(&[Hash([1; 32]), Hash([2; 32])]).as_slice()].concat();
    paths.into_iter().chain([bundle, tile, log.tree.encode(), CompactRange::new().encode()]).collect()
}

/// A round of two sealed updates and four decryptors, of whom any two open.
static SEALED: LazyLock<(Federation, Vec<Sealed>)> = LazyLock::new(|| {
    let federation = Federation::new(2, 4, CommitteeSize { decryptors: 4, corrupt: 1 }, 8, &[3]);
    let sealed = (0..2).map(|client| federation.seal(client, &[vec![1, -2, 3]])).collect();
    (federation, sealed)
});

/// Blobs behind what their decryptor knows, one of which is somebody else's; prekeys.
fn blobs() -> Seeds {
    let (federation, sealed) = &*SEALED;
    let known = |client: usize, position: u8, blob: usize| {
        let update = &sealed[client].update;
        let (secret, core) = (federation.prekey(position).to_bytes(), update.header.core.digest());
        [&secret[..], &core.0, &[position], &update.blobs[blob]].concat()
    };
    let before = vec![7; sealing::BEFORE_BLOB];
    vec![
        known(0, 1, 0),
        known(1, 4, 3),
        known(0, 1, 1),
        [before.clone(), vec![0; BLOB_BYTES]].concat(),
        [before, (0..BLOB_BYTES).map(|i| i.to_le_bytes()[0]).collect()].concat(),
        vec![1; protocol::manifest::PREKEY_BYTES],
        vec![9; 32],
    ]
}

/// Lists of openings: all four, two, with one liar, and one who says two things.
fn hostile_openings() -> Seeds {
    let (federation, sealed) = &*SEALED;
    let certificate = openings::certificate();
    let opening = |position: u8| {
        let shares = federation.shares(sealed, position).into_values();
        let shares = openings::MEMBERS.into_iter().zip(shares).collect();
        crypto::share::post_opening(certificate, Position(position), &shares).unwrap()
    };
    let all: Vec<OpeningPayload> = (1..=4).map(opening).collect();
    let mut lying = all.clone();
    lying[2].shares[40] ^= 1;
    // Shares of other members, and check values that fit them.
    let mut swapped = all.clone();
    swapped[1] = OpeningPayload { position: Position(2), ..opening(3) };
    let mut twice = all[..3].to_vec();
    twice.push(OpeningPayload { position: Position(1), ..all[3].clone() });
    [all.clone(), all[1..3].to_vec(), lying, swapped, twice, all[..1].to_vec()].iter().map(codec::encode).collect()
}

fn packs() -> Seeds {
    let pack = told::pack();
    let whole = outsiders::join(pack.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    let bare = pack.iter().filter(|(name, _)| !name.starts_with("entries/"));
    let bare = outsiders::join(bare.map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    vec![whole, bare]
}

fn forks() -> Seeds {
    vec![told::fork(), b"{}\n".to_vec()]
}

fn snapshots() -> Seeds {
    let of = |seed| train::snapshot::to_bytes(&train::model::initial(&homes::model(), seed).unwrap()).unwrap();
    vec![of(1), of(2)]
}

/// One learnt tokenizer of each kind.
fn tokenizers() -> Seeds {
    use corpus::tokenizer::{Subword, SubwordKind, WordCounts, WordRule};
    let words = ["hello", "help", "held", "world", "word", "你好", "你们", "12", "a"];
    let counts: WordCounts = words.iter().zip(3u64..).map(|(w, n)| ((*w).to_owned(), n)).collect();
    let learnt = |kind| Subword::learn(kind, &counts, WordRule::Pattern, 600).unwrap().to_json().as_bytes().to_vec();
    [SubwordKind::Bpe, SubwordKind::WordPiece, SubwordKind::Unigram].map(learnt).into()
}

fn shares() -> Seeds {
    let most = (protocol::params::SHARE_PRIME - 1).to_le_bytes();
    vec![vec![0; crypto::share::SHARE_BYTES], most.repeat(protocol::params::SHARE_LEN), vec![1; crypto::share::SHARE_BYTES]]
}

fn chunks() -> Seeds {
    let of = |bits| usize::try_from(Packing::derive(2, bits).unwrap().polynomial_bytes()).unwrap();
    [8, 16, 32].map(|bits| vec![0xff; of(bits)]).into()
}

/// Small files of every format; the first byte picks the format and whether training is private.
fn raw_records() -> Seeds {
    let lines: String = corpus::pipeline::made::Lines::new(9).take(12).map(|l| l + "\n").collect();
    let csv = "text,label\n\"good, \"\"morning\"\"\",a\nCall 13812345678 now,b\n\"two\nlines\",a\nCall 13812345678 now!,b\n";
    let wide: Vec<u8> = csv.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with = |pick: u8, bytes: &[u8]| [&[pick], bytes].concat();
    let gb = [0xc4, 0xe3, 0xba, 0xc3, b'\n', 0xb9, 0xfa, 0xbc, 0xd2, b'\n'];
    vec![
        with(0, lines.as_bytes()),
        with(0x80, lines.as_bytes()),
        with(1, csv.as_bytes()),
        with(2, b"ham\tgood \"morning\r\nspam\tyou have won, reply stop\n"),
        with(3, &gb),
        with(4, &wide),
        with(5, &gb),
    ]
}

fn papers() -> Seeds {
    let index = r#"{"version":1,"rules":"00","unit":"user","shards":[{"name":"train-00000.jsonl","side":"train","rows":1,"bytes":2,"sha256":"00"}]}"#;
    let text = "联系人:王伟,电话13812345678,卡4111111111111111,https://a.example.com/x 验证码:123456 a@b.example 10.0.0.1";
    let rules = records::rules("format = \"jsonl\"", true);
    let report = serde_json::to_string(&records::now().1).unwrap();
    [include_str!("../../configs/data-sms.toml"), &rules, index, text, &report].map(|t| t.as_bytes().to_vec()).into()
}

/// One export of each tool, with spans behind characters that the tools count differently.
fn annotations() -> Seeds {
    let studio = r#"[{"id":1,"data":{"text":"好😀 call"},"annotations":[{"completed_by":1,"result":[{"type":"choices","from_name":"l","to_name":"text","value":{"choices":["fraud"]}},{"type":"labels","from_name":"s","to_name":"text","value":{"start":3,"end":7,"text":"call","labels":["VERB"]}}]}]}]"#;
    let doccano = "{\"id\":1,\"text\":\"好😀 call\",\"label\":[[3,7,\"VERB\"]]}\n{\"id\":2,\"text\":\"hi\",\"label\":[\"ham\"]}\n";
    let prodigy = "{\"text\":\"好😀 call\",\"answer\":\"accept\",\"label\":\"ham\",\"spans\":[{\"start\":3,\"end\":7,\"label\":\"VERB\"}]}\n{\"text\":\"no\",\"answer\":\"reject\"}\n";
    [studio, doccano, prodigy].map(|t| t.as_bytes().to_vec()).into()
}

fn shards() -> Seeds {
    let shard = |vocab| {
        let mut builder = corpus::pack::ShardBuilder::new(6, vocab, [3; 32], 1 << 16).unwrap();
        (0..4u32).for_each(|i| builder.push(corpus::pack::pad(i, i % 2, &[260 + i, 270], 6)).unwrap());
        builder.finish()
    };
    vec![shard(300), shard(70_000)]
}

fn searches() -> Seeds {
    use corpus::tokenizer::{Discovery, Settings};
    let mut search = Discovery::begin(Settings { coordinates: 1 << 14 }).unwrap();
    let begun = serde_json::to_vec(&search).unwrap();
    let mut sum = vec![0.0; 1 << 14];
    "hello".chars().for_each(|c| sum[c as usize] = 50.0);
    search.advance(&sum, 9.0).unwrap();
    vec![begun, serde_json::to_vec(&search).unwrap()]
}

/// Every target: name, body, seeds, and how many damaged inputs it gets.
#[expect(clippy::type_complexity, reason = "a table")]
fn targets() -> Vec<(&'static str, fn(&[u8]), Seeds, usize)> {
    vec![
        ("messages", words::messages, messages(), 4000),
        ("statements", words::statements, statements(), 4000),
        ("entries", words::entries, entries(), 2000),
        ("plans", words::plans, plans(), 4000),
        ("texts", words::texts, texts(), 4000),
        ("notes", log::notes, notes(), 4000),
        ("requests", log::requests, requests(), 4000),
        ("tiles", log::tiles, tiles(), 4000),
        ("records", records::records, raw_records(), 600),
        ("papers", records::papers, papers(), 1000),
        ("parquets", records::parquets, kept::parquets(), 300),
        ("lines", records::lines, kept::lines(), 2000),
        ("label_rules", records::label_rules, kept::label_rules(), 500),
        ("annotations", tokens::annotations, annotations(), 2000),
        ("tokens", tokens::tokens, shards(), 2000),
        ("searches", tokens::searches, searches(), 2000),
        ("counts", counts::counts, known(), 2000),
        ("forks", outsiders::forks, forks(), 1000),
        ("lists", outsiders::lists, told::lists().into(), 2000),
        ("packs", outsiders::packs, packs(), 150),
        ("signatures", outsiders::signatures, kept::signatures(), 1000),
        ("openings", openings::openings, hostile_openings(), 150),
        ("snapshots", homes::snapshots, snapshots(), 2000),
        ("sites", homes::sites, [told::site_entries(), told::sidecars()].concat(), 2000),
        ("tokenizers", homes::tokenizers, tokenizers(), 200),
        ("memories", homes::memories, kept::memories(), 1000),
        ("blobs", sealing::blobs, blobs(), 300),
        ("shares", sealing::shares, shares(), 1000),
        ("chunks", sealing::chunks, chunks(), 100),
        ("sums", sealing::sums, kept::sums(), 100),
        ("plan_files", people::plan_files, kept::plan_files(), 1000),
        ("settings", people::settings, kept::settings(), 2000),
        ("policies", people::policies, kept::policies(), 2000),
        ("institutions", stores::institutions, kept::institutions(), 4000),
        ("servers", stores::servers, kept::servers(), 2000),
        ("certificates", stores::certificates, kept::certificates(), 2000),
        ("ledgers", stores::ledgers, kept::ledgers(), 1000),
    ]
}

/// Damage that is the same in every run.
struct Damage(u64);

impl Damage {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % most.max(1)
    }

    fn of(&mut self, seeds: &Seeds) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(3) {
            let (at, to) = (self.below(bytes.len() + 1), self.below(bytes.len() + 1));
            let (from, to) = (at.min(to), at.max(to));
            let byte = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'0', 0x5b][self.below(8)];
            match self.below(7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = byte,
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(from..to.min(from + 16))),
                4 => bytes.insert(at, byte),
                5 => {
                    let twice = bytes[from..to.min(from + 64)].to_vec();
                    bytes.splice(at..at, twice);
                }
                _ => {
                    let other = &seeds[self.below(seeds.len())];
                    let cut = self.below(other.len() + 1);
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[cut..]);
                }
            }
        }
        bytes
    }
}

/// Most memory that a decoder may ask for at once. No seed has a megabyte; tables and the foreign room for compiled patterns stay far below.
const MOST_AT_ONCE: usize = 256 << 20;
/// Readers of others, which believe a length before they look: libFuzzer has a limit of its own for them.
const FOREIGN: &[&str] = &["parquets", "tokenizers"];

#[test]
fn no_decoder_panics_or_takes_a_second_spelling() {
    for (name, body, seeds, damaged) in targets() {
        assert!(seeds.len() >= 2, "{name} has nothing to damage");
        seeds.iter().for_each(|s| body(s));
        [&[][..], &[0], &[0xff; 64]].iter().for_each(|s| body(s));
        let mut damage = Damage(0x9e37_79b9_7f4a_7c15);
        for n in 0..damaged {
            let bytes = damage.of(&seeds);
            let hex = |b: &[u8]| b.iter().take(512).map(|b| format!("{b:02x}")).collect::<String>();
            watch::begin();
            assert!(std::panic::catch_unwind(|| body(&bytes)).is_ok(), "{name}, damage {n}: {}", hex(&bytes));
            let most = watch::largest();
            assert!(most <= MOST_AT_ONCE || FOREIGN.contains(&name), "{name}, damage {n}, asks for {most} bytes at once: {}", hex(&bytes));
        }
    }
}

/// The watch sees what a thread asks for, whoever it is.
#[test]
fn a_large_request_is_seen() {
    let asked = std::thread::spawn(|| std::hint::black_box(vec![0u8; 1 << 24]).len()).join().unwrap();
    // Another test may have begun to watch anew in between; not every time.
    let seen = (0..1000).any(|_| std::hint::black_box(vec![0u8; 1 << 24]).len() == asked && watch::largest() >= asked);
    assert!(seen);
}

/// Valid seeds are taken, so that the damage begins behind the first check.
#[test]
fn the_seeds_are_whole() {
    use protocol::messages::{ClientMessage, ServerMessage, unframe};
    let known = |s: &[u8]| {
        let (up, down) = (unframe::<ClientMessage>(s).is_ok(), unframe::<ServerMessage>(s).is_ok());
        let asked = unframe::<Request>(s).is_ok() || unframe::<Response>(s).is_ok() || unframe::<JoinMessage>(s).is_ok();
        up || down || asked || s.len() == ChunkHeader::LEN
    };
    assert!(messages().iter().all(|s| known(s)) && messages().len() > 20);
    assert!(entries().iter().all(|s| LogEntry::parse(s).is_ok()) && entries().len() > 40);
    assert!(Note::parse(notes().last().unwrap()).is_ok());
    assert!(
        TlogProof::parse(&requests()[0]).is_ok() && Receipt::parse(&requests()[1]).is_ok() && AddCheckpoint::parse(&requests()[2]).is_ok()
    );
    assert!(tiles()[..3].iter().all(|s| std::str::from_utf8(s).unwrap().parse::<audit::tile::TilePath>().is_ok()));
}

/// The same of what outsiders, decryptors and institutions read: each success is reached by a seed.
#[test]
fn the_seeds_of_other_parties_are_whole() {
    let opened = |seed: &[u8]| {
        let (known, blob) = seed.split_at(sealing::BEFORE_BLOB);
        let mut secret = known[..32].try_into().unwrap();
        let core = CoreDigest(known[32..64].try_into().unwrap());
        crypto::blob::open_blob(&crypto::prekey::PrekeySecret::from_bytes(&mut secret), core, Position(known[64]), blob).is_ok()
    };
    assert_eq!(blobs()[..4].iter().map(|s| opened(s)).collect::<Vec<_>>(), [true, true, false, false]);
    let sums = |seed: &Vec<u8>| {
        let openings: Vec<OpeningPayload> = codec::decode(seed, 1 << 18).unwrap();
        let decoded = crypto::share::decode_key_sum(CommitteeSize { decryptors: 4, corrupt: 1 }, openings::certificate(), &openings);
        decoded.map(|d| d.candidates.len()).unwrap_or(0)
    };
    assert_eq!(hostile_openings().iter().map(sums).collect::<Vec<_>>(), [1, 1, 1, 1, 1, 0]);
    assert!(audit::fork::ForkProof::parse(&forks()[0]).is_ok());
    let [list, kept, weights] = told::lists();
    assert!(auditor::recompute::parse_chunk_list(&list).is_some_and(|l| l.len() == 1));
    assert!(auditor::recompute::parse_kept(&kept).is_some_and(|k| k[&0][&0].len() == 512));
    assert!(auditor::weights::Weights::parse(weights).is_ok());
    assert!(snapshots().iter().all(|s| train::snapshot::from_bytes(&homes::model(), s).is_ok()));
    assert!(told::site_entries().iter().all(|s| protocol::site::SiteEntry::parse(s).is_ok()));
    let pack = told::pack();
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in &pack {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let verdict = auditor::evidence::verify_evidence(dir.path(), None).unwrap();
    assert!(verdict.verified && verdict.receipts > 10 && verdict.site_entries == Some(3), "{:#?}", verdict.findings);
}

/// Seeds for a real fuzzer: `cargo test -p concordat-tests --test fuzz_bodies -- --ignored` writes them to `fuzz/corpus`.
#[test]
#[ignore = "writes into the source tree"]
fn write_seeds() {
    for (name, _, seeds, _) in targets() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        for (n, seed) in seeds.iter().enumerate() {
            std::fs::write(dir.join(format!("seed-{n}")), seed).unwrap();
        }
    }
}

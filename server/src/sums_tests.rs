//! The worker on really sealed updates, where what is opened is not what it should be (crypto.md C24, C62; training.md M18).

use super::*;
use crate::plan_file::PlanFile;
use crate::testing::{PLAN, plan};
use crate::uploads::Upload;
use crypto::doors::{Federation, Sealed};
use crypto::share::{Share, post_opening};
use protocol::ids::{ClientId, Position, TaskId};
use protocol::messages::upload_id;
use protocol::params::CommitteeSize;

pub(super) const COMMITTEE: CommitteeSize = CommitteeSize { decryptors: 4, corrupt: 1 };

/// Two institutions that weigh 1 and 2, whose updates lie on a server's disk.
struct World {
    _dir: tempfile::TempDir,
    federation: Federation,
    sealed: Vec<Sealed>,
    worker: Worker,
    plan: Plan,
}

fn world(more: &str, value: i32) -> World {
    let plan = plan(more);
    let lengths: Vec<u64> = plan.shards.iter().map(|s| s.len()).collect();
    let mut federation = Federation::new(2, 4, COMMITTEE, 16, &lengths);
    federation.weigh(100);
    let shards: Vec<Vec<i32>> = lengths.iter().map(|&n| vec![value; usize::try_from(n).unwrap()]).collect();
    let sealed: Vec<Sealed> = (0..2).map(|client| federation.seal(client, &shards)).collect();
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let uploads = Uploads::new(layout.clone());
    for (client, update) in sealed.iter().enumerate() {
        put(&layout, &uploads, federation.ids[client], federation.header(client, update), update);
    }
    let mut worker = Worker::new(layout, uploads);
    assert!(worker.work(Job::Begin(Box::new(federation.manifest.clone()), federation.digest)).is_none());
    World { _dir: dir, federation, sealed, worker, plan }
}

fn put(layout: &Layout, uploads: &Uploads, client: ClientId, header: protocol::statement::Statement, sealed: &Sealed) {
    for (address, chunk) in sealed.update.chunks.iter().zip(&sealed.chunks) {
        durable::write_new(&layout.part(address), chunk).unwrap();
    }
    let upload = Upload::new(client, header.clone(), sealed.update.header.clone(), sealed.update.chunks.clone()).unwrap();
    uploads.begin(upload_id(&header), upload).unwrap();
}

impl World {
    /// Opens the group where the log declares this sum of weights.
    fn open(&mut self, weight: Option<u64>) -> (Result<SumResult, Rejection>, Blamed) {
        let certificate = self.federation.certify(&self.sealed);
        let openings = self.federation.openings(&certificate, &self.sealed, &[1, 2, 3, 4]);
        self.open_with(weight, certificate, openings)
    }

    fn open_with(
        &mut self,
        weight: Option<u64>,
        certificate: Certificate,
        openings: Vec<OpeningPayload>,
    ) -> (Result<SumResult, Rejection>, Blamed) {
        let (plan, group) = (self.plan.clone(), self.federation.group().id);
        let job = Opening { plan, group, certificate, openings, weight, units: None };
        match self.worker.work(Job::Open(Box::new(job))) {
            Some(Done::Opened(opened)) => (opened.result, opened.blame),
            Some(Done::Advanced(_)) | None => panic!("an answer about the sum"),
        }
    }
}

/// S10: a sum is the same however the updates came: one by one, together, one of them twice, or from blocks that the disk has lost.
#[test]
fn a_sum_is_the_same_however_it_was_added() {
    let sum = |add: &dyn Fn(&mut Worker, GroupId, &[HeaderDigest])| {
        let mut world = world("", 3);
        let (group, headers): (_, Vec<_>) = (world.federation.group().id, world.sealed.iter().map(|s| s.digest).collect());
        add(&mut world.worker, group, &headers);
        world.open(Some(3)).0.unwrap()
    };
    let at_the_end = sum(&|_, _, _| {});
    assert_eq!(sum(&|worker, group, headers| worker.add(group, headers)), at_the_end);
    let twice = |worker: &mut Worker, group, headers: &[HeaderDigest]| {
        for header in [headers[1], headers[0], headers[1]] {
            assert!(worker.work(Job::Add(group, vec![header])).is_none());
        }
        assert_eq!(worker.sums[&group].holds.len(), 2);
    };
    assert_eq!(sum(&twice), at_the_end);
    let lost = |worker: &mut Worker, group, headers: &[HeaderDigest]| {
        worker.add(group, headers);
        worker.sums[&group].sum.lose();
    };
    assert_eq!(sum(&lost), at_the_end);
}

/// What waits for one group is taken together; what waits behind another job stays behind it.
#[test]
fn updates_that_wait_are_taken_together_and_no_job_is_overtaken() {
    let (sender, jobs) = channel();
    let header = |i: u8| HeaderDigest([i; 32]);
    let add = |group, i| sender.send(Job::Add(GroupId(group), vec![header(i)])).unwrap();
    (1..=3).for_each(|i| add(7, i));
    add(8, 4);
    add(7, 5);
    let mut taken = vec![header(0)];
    assert!(matches!(more_of(GroupId(7), &jobs, &mut taken), Some(Job::Add(GroupId(8), h)) if h == [header(4)]));
    assert_eq!(taken, [0, 1, 2, 3].map(header));
    let mut last = Vec::new();
    assert!(more_of(GroupId(7), &jobs, &mut last).is_none());
    assert_eq!(last, [header(5)]);
    (0..=TOGETHER).for_each(|_| add(7, 6));
    let mut many = Vec::new();
    assert!(more_of(GroupId(7), &jobs, &mut many).is_none());
    assert_eq!(many.len(), TOGETHER);
}

/// C56: three answers of threshold two and one lie leave several key sums; only one opens the blocks.
#[test]
fn of_several_key_sums_the_one_that_opens_the_blocks_is_taken() {
    let mut world = world("", 3);
    let certificate = world.federation.certify(&world.sealed);
    let honest = world.open(Some(3)).0.unwrap();
    for liar in 1..=3 {
        let mut openings = world.federation.openings(&certificate, &world.sealed, &[1, 2, 3]);
        openings[usize::from(liar) - 1] = lie_consistently(&world, &certificate, 1, liar);
        let decoded = decode_key_sum(COMMITTEE, &certificate, &openings).unwrap();
        assert!(decoded.candidates.len() > 1, "the openings alone do not decide");
        let (result, blame) = world.open_with(Some(3), certificate.clone(), openings);
        assert_eq!(result, Ok(honest), "liar {liar}");
        assert_eq!(blame.disputed.len(), 3, "each of the three may be the one that lies");
    }
}

#[test]
fn weights_that_add_up_to_what_the_log_declares_open() {
    let mut world = world("", 3);
    let (result, blame) = world.open(Some(3));
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(blame, Blamed::default());
}

#[test]
fn an_institution_that_seals_another_weight_than_it_declared_spoils_its_group() {
    // The second institution sealed 2; had it declared 1 or 3, or nobody anything, the sums would differ by exactly its lie.
    for declared in [Some(2), Some(4), None] {
        let mut world = world("", 3);
        assert_eq!(world.open(declared).0, Err(Rejection::BadWeight), "{declared:?}");
        assert!(world.worker.opened.is_empty(), "what failed must not be averaged");
    }
}

#[test]
fn a_mean_that_is_longer_than_the_plan_allows_is_not_used() {
    let bound = "[robustness]\nrandom_groups = 1\ncombine = \"mean\"\nmax_group_norm = \"0.001\"\n";
    assert!(world(bound, 0).open(Some(3)).0.is_ok());
    let mut long = world(bound, 30_000);
    assert_eq!(long.open(Some(3)).0, Err(Rejection::NormBound));
    assert!(long.worker.opened.is_empty());
}

#[test]
fn an_opening_that_contradicts_itself_names_its_decryptor_and_the_sum_opens_without_it() {
    let mut world = world("", 3);
    let certificate = world.federation.certify(&world.sealed);
    let mut openings = world.federation.openings(&certificate, &world.sealed, &[1, 2, 3, 4]);
    openings[2].shares[0] ^= 1;
    let (result, blame) = world.open_with(Some(3), certificate, openings);
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(blame.decryptors, [Position(3)]);
}

/// An opening whose check values fit the lie: it was made from another share than the one that came.
fn lie_consistently(world: &World, certificate: &Certificate, about: usize, position: u8) -> OpeningPayload {
    let mut shares = world.federation.shares(&world.sealed, position);
    let share = shares.get_mut(&world.sealed[about].digest).unwrap();
    let mut bytes = share.to_bytes();
    bytes[20] ^= 1;
    *share = Share::from_bytes(Position(position), &bytes).unwrap();
    post_opening(certificate, Position(position), &shares).unwrap()
}

/// C56: nothing proves which of the two is wrong, and the server says so instead of nothing.
#[test]
fn a_decryptor_that_lies_without_contradicting_itself_is_disputed_and_the_sum_opens_without_it() {
    let mut world = world("", 3);
    let certificate = world.federation.certify(&world.sealed);
    let mut openings = world.federation.openings(&certificate, &world.sealed, &[1, 2, 3, 4]);
    openings[1] = lie_consistently(&world, &certificate, 0, 2);
    let header = world.sealed[0].digest;
    let (result, blame) = world.open_with(Some(3), certificate, openings);
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(blame, Blamed { disputed: vec![(header, Position(2))], ..Blamed::default() });
}

/// A step with momentum is never taken from an empty memory where there should be one.
#[test]
fn a_lost_or_damaged_memory_of_the_strategy_ends_the_step() {
    let plan = PLAN.replace("[strategy.fed-avg]\nrate = \"1\"", "[strategy.fed-avg-m]\nrate = \"1\"\nmomentum = \"0.9\"");
    let plan = PlanFile::parse(&plan).unwrap().prepare(TaskId([7; 16])).unwrap().plan;
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let worker = Worker::new(layout.clone(), Uploads::new(layout.clone()));
    let step = |snapshot| Step { plan: plan.clone(), groups: Vec::new(), snapshot };
    let later = step(SnapshotDigest([5; 32]));
    assert_eq!(worker.strategy_state(&step(plan.base)).unwrap(), StrategyState::default());
    assert!(matches!(worker.strategy_state(&later), Err(WorkError::Storage { .. })));
    let path = layout.strategy(&plan.task, &later.snapshot);
    durable::replace(&path, b"{\"momentum\":[0.5").unwrap();
    assert!(matches!(worker.strategy_state(&later), Err(WorkError::Memory { .. })));
    durable::replace(&path, b"{\"momentum\":[0.5]}").unwrap();
    assert_eq!(worker.strategy_state(&later).unwrap().momentum, [0.5]);
}

/// Averaging without momentum leaves weights behind and nothing else.
#[test]
fn only_a_strategy_that_remembers_leaves_a_memory() {
    let with_momentum = PLAN.replace("[strategy.fed-avg]\nrate = \"1\"", "[strategy.fed-avg-m]\nrate = \"1\"\nmomentum = \"0.9\"");
    for (text, remembers) in [(PLAN, false), (with_momentum.as_str(), true)] {
        let prepared = PlanFile::parse(text).unwrap().prepare(TaskId([7; 16])).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let worker = Worker::new(layout.clone(), Uploads::new(layout.clone()));
        durable::write_new(&layout.snapshot(&prepared.plan.base, Plan::WEIGHTS), &prepared.base).unwrap();
        // A round that opened nothing: the weights stay.
        let step = Step { groups: Vec::new(), snapshot: prepared.plan.base, plan: prepared.plan.clone() };
        let next = worker.advance(&step).unwrap();
        assert_eq!(next, prepared.plan.base);
        assert_eq!(layout.strategy(&prepared.plan.task, &next).exists(), remembers);
        assert_eq!(prepared.plan.strategy.remembers(), remembers);
    }
}

//! Rounds under loss, delay, doubling, restarts and lies: the promises hold after every operation. What counts as failure, and what
//! does not, is written at the top of `tests::books`. Knows no wire and no cipher.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use protocol::ids::RoundId;
use tests::aggregator::Mutant;
use tests::books::Broken;
use tests::fixture::{ROUNDS, Shape};
use tests::site::Lie;
use tests::world::{Op, World};

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![Just(Lie::SecondHeader), Just(Lie::WrongManifest), Just(Lie::OtherName), Just(Lie::OtherHeader)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u16..12).prop_map(Op::Deliver),
        2 => (0u16..12).prop_map(Op::Drop),
        2 => (0u16..12).prop_map(Op::Double),
        4 => Just(Op::ServerDisk),
        6 => (0u8..5).prop_map(Op::SiteDisk),
        2 => Just(Op::Job),
        1 => (1u16..6_000).prop_map(Op::Wait),
        1 => (0u8..5).prop_map(Op::Vanish),
        2 => (0u8..5).prop_map(Op::Restart),
        1 => (0u8..5).prop_map(Op::Reconnect),
        1 => (0u8..5, prop::bool::weighted(0.7)).prop_map(|(n, w)| Op::Unwilling(n, w)),
        2 => (0u8..5, lie()).prop_map(|(n, l)| Op::Lie(n, l)),
        1 => (0u8..5).prop_map(Op::OtherSet),
        1 => (0u8..5).prop_map(Op::OtherManifest),
        8 => (1u16..60).prop_map(Op::Calm),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let plain = (2usize..=5, 1u32..=2).prop_map(|(sites, groups)| Shape::plain(sites, groups));
    let dealt = (6usize..=7, 1u32..=2).prop_map(|(sites, groups)| Shape { parts: 3, ..Shape::plain(sites, groups) });
    let mixed = (4usize..=5, 2u32..=3).prop_map(|(sites, groups)| Shape { small: 2, ..Shape::plain(sites, groups) });
    prop_oneof![3 => plain, 1 => dealt, 1 => mixed]
}

/// Plays `ops`, then leaves everybody in peace: every round ends, every request has its answer.
fn play(shape: Shape, mutant: Mutant, ops: &[Op]) -> Result<World, Broken> {
    let mut world = World::new(shape, mutant)?;
    ops.iter().try_for_each(|op| world.step(op))?;
    world.heal()?;
    world.rest(RoundId(ROUNDS))?;
    Ok(world)
}

fn config(cases: u32) -> ProptestConfig {
    let regressions = FileFailurePersistence::Direct("tests/round_sim.regressions");
    ProptestConfig { cases, max_shrink_iters: 2_000, failure_persistence: Some(Box::new(regressions)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn no_order_of_events_breaks_the_books(shape in shape(), ops in prop::collection::vec(op(), 0..120)) {
        let played = play(shape, Mutant::Sound, &ops);
        prop_assert!(played.is_ok(), "{:?}", played.err());
    }
}

//! Every reachable state of one honest decryptor, found by driving the real machine, and what must hold in each of them.

use crate::local::{Fault, Live, State, Step, Word};
use crate::world::World;
use protocol::decryptor::Event;
use std::collections::{HashMap, VecDeque};

/// In every state: a certificate of too few is none, and no other view of the log allows more than the one that fits the question.
pub(crate) fn check_refusals(world: &World, table: &Table) {
    for (at, state) in table.states.iter().enumerate() {
        for (m, s) in (0..2).flat_map(|m| [(m, 0), (m, 1)]) {
            let after = |step| table.edges[at].iter().find(|(other, _)| *other == step).map_or(state, |(_, to)| &table.states[*to]);
            let set = world.set((m, s));
            let mut live = Live::in_state(world, Fault::None, state);
            live.event(&set.certified, thin_certificate(world, m, s));
            // What is open already is sent again, whatever is asked (C54).
            assert!(
                live.state == *state || live.state == *after(Step::Certified(m, s)) && live.state.pending == state.pending,
                "{state:?}"
            );
            assert_eq!(live.state.computing, state.computing, "{state:?}");
            if live.state != *state {
                live = Live::in_state(world, Fault::None, state);
            }
            // The log ends with the certificate, and a quorum has cosigned all of it but that (C53).
            live.event(&set.certified, live.show_certificate_under(m, s, set.certified.size() - 1));
            assert_eq!(live.state.computing, state.computing, "{state:?}");
            if live.state != *state {
                live = Live::in_state(world, Fault::None, state);
            }
            let views = (0..2).flat_map(|m| [(m, 0), (m, 1)]).flat_map(|o| [&world.set(o).proposed, &world.set(o).certified]);
            for view in views.chain([&world.open, &world.over]) {
                for (step, question) in [(Step::Sign(m, s), live.ask_sign(m, s)), (Step::Certified(m, s), live.show_certificate(m, s))] {
                    if live.state != *state {
                        live = Live::in_state(world, Fault::None, state);
                    }
                    live.event(view, question);
                    let fits = std::ptr::eq(view, &raw const set.proposed) || state.over;
                    assert!(live.state == *state || fits || live.state == *after(step), "{step:?} in {state:?}");
                }
            }
        }
    }
}

/// Q - 1 signatures, one of them twice, and the rest over the other set.
fn thin_certificate(world: &World, m: usize, s: usize) -> Event {
    let (set, other) = (world.set((m, s)), world.set((m, 1 - s)));
    let mut statements = set.signatures[..world.size.quorum() - 1].to_vec();
    statements.extend(statements.first().cloned());
    statements.extend(other.signatures.iter().cloned());
    Event::Certified { headers: set.headers.clone(), statements, covered: u64::MAX }
}

/// What may happen next.
fn steps(state: &State, computations: usize) -> Vec<Step> {
    let sets = || (0..2).flat_map(|m| [(m, 0), (m, 1)]);
    let mut out: Vec<_> = (0..2).map(Step::Endorse).collect();
    out.extend((0..2).filter(|m| !state.held[*m] && state.durable.contains(&Word::Endorsed(*m))).map(Step::Shares));
    out.extend(sets().flat_map(|(m, s)| [Step::Sign(m, s), Step::Certified(m, s)]));
    out.extend(state.computing.iter().flat_map(|&(m, s)| (0..computations).map(move |v| Step::Computed(m, s, v))));
    out.extend(state.pending.iter().flat_map(|w| [Step::Disk(*w), Step::DiskThenCrash(*w)]));
    out.push(Step::Crash);
    if !state.over {
        out.push(Step::Ended);
    }
    out
}

/// Every reachable state of one honest decryptor, and where each step leads.
pub(crate) struct Table {
    pub(crate) states: Vec<State>,
    pub(crate) edges: Vec<Vec<(Step, usize)>>,
    /// The first broken duty and the steps to it.
    pub(crate) broken: Option<(&'static str, Vec<Step>)>,
}

/// Drives the real machine through everything; the environment may show any certificate and any view of the log at any time.
pub(crate) fn explore(world: &World, computations: usize) -> Table {
    explore_up_to(world, Fault::None, computations, usize::MAX)
}

/// The same with a faulty driver, which has far more states: only the nearest `limit` of them lead on.
pub(crate) fn explore_up_to(world: &World, fault: Fault, computations: usize, limit: usize) -> Table {
    let mut numbers = HashMap::from([(State::default(), 0)]);
    let mut table = Table { states: vec![State::default()], edges: Vec::new(), broken: None };
    let mut parents: Vec<Option<(usize, Step)>> = vec![None];
    let mut queue = VecDeque::from([0]);
    while let Some(at) = queue.pop_front() {
        let from = table.states[at].clone();
        let mut live = Live::in_state(world, fault, &from);
        let mut out = Vec::new();
        for step in steps(&from, computations).into_iter().filter(|_| at < limit) {
            live.take(step);
            let next = *numbers.entry(live.state.clone()).or_insert_with(|| {
                table.states.push(live.state.clone());
                parents.push(Some((at, step)));
                queue.push_back(table.states.len() - 1);
                table.states.len() - 1
            });
            if let (Some(what), None) = (live.broken, &table.broken) {
                table.broken = Some((what, path(&parents, at).into_iter().chain([step]).collect()));
            }
            // A step without effect leaves the machine where it is; any other one needs a fresh one.
            if next != at || live.broken.is_some() {
                out.push((step, next));
                live = Live::in_state(world, fault, &from);
            }
        }
        table.edges.push(out);
    }
    table
}

fn path(parents: &[Option<(usize, Step)>], mut at: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some((before, step)) = parents[at] {
        steps.push(step);
        at = before;
    }
    steps.reverse();
    steps
}

/// Long walks of one machine that is never put together anew: it does what the table says, whatever way it came.
pub(crate) fn walk(world: &World, table: &Table, walks: usize, length: usize, computations: usize) {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..walks {
        let (mut live, mut at) = (Live::in_state(world, Fault::None, &State::default()), 0);
        for _ in 0..length {
            let open = steps(&table.states[at], computations);
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // A crash or the end at every tenth step would leave little to see.
            let step = open[usize::try_from(seed >> 33).unwrap() % open.len()];
            if matches!(step, Step::Crash | Step::Ended) && !(seed >> 20).is_multiple_of(4) {
                continue;
            }
            live.take(step);
            at = table.edges[at].iter().find(|(s, _)| *s == step).map_or(at, |(_, next)| *next);
            assert_eq!(live.state, table.states[at], "after {step:?}");
        }
    }
}

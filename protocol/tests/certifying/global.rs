//! All honest decryptors together with an adversary who has the server, the network and the hostile decryptors: he signs anything in
//! their names at any time (which is more than any rollback of theirs), and delivers what he likes to whom he likes.

use crate::local::{Step, Word};
use crate::table::Table;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// What an adversary needs before a step can be taken: bits 0 and 1 for an endorsed manifest, bit 2 + 2m + s for a certificate.
type Needs = u8;
/// Statements as bits: 0 and 1 endorsements, 2 + 2m + s set signatures, 6 + 2m + s openings.
type Said = u16;

/// How one honest decryptor moves, seen from outside.
pub(crate) struct System {
    said: Vec<Said>,
    edges: Vec<Vec<(Needs, usize, Vec<Step>)>>,
}

fn needs(step: Step) -> Needs {
    match step {
        // No view of the log shows a set as proposed under a manifest without a quorum of endorsements.
        Step::Sign(m, _) => 1 << m,
        Step::Certified(m, s) => 4 << (2 * m + s),
        Step::Endorse(_) | Step::Shares(_) | Step::Computed(..) => 0,
        Step::Disk(_) | Step::DiskThenCrash(_) | Step::Crash | Step::Ended => 0,
    }
}

fn bits(said: &BTreeSet<Word>) -> Said {
    said.iter().fold(0, |bits, word| {
        bits | match *word {
            Word::Endorsed(m) => 1 << m,
            Word::Signed(m, s) => 4 << (2 * m + s),
            Word::Opened(m, s, _) => 64 << (2 * m + s),
        }
    })
}

impl System {
    /// Every step by itself.
    pub(crate) fn whole(table: &Table) -> Self {
        let said = table.states.iter().map(|s| bits(&s.said)).collect();
        let edges = table.edges.iter().map(|out| out.iter().map(|&(step, to)| (needs(step), to, vec![step])).collect());
        Self { said, edges: edges.collect() }
    }

    /// Only what can be seen: the ways from one statement to the next, each with all that it needs. Needs once met stay met and silent
    /// steps touch nobody else, so a silent step may as well be taken right before the statement it leads to: nothing is lost.
    /// States with the same future are one.
    pub(crate) fn reduced(table: &Table) -> Self {
        let whole = Self::whole(table);
        let mut numbers = HashMap::from([(0usize, 0usize)]);
        let mut order = vec![0usize];
        let mut edges = Vec::new();
        while let Some(&from) = order.get(edges.len()) {
            let mut out = Vec::new();
            for ((need, to), way) in whole.statements_after(from) {
                let next = *numbers.entry(to).or_insert_with(|| {
                    order.push(to);
                    order.len() - 1
                });
                out.push((need, next, way));
            }
            edges.push(out);
        }
        Self { said: order.iter().map(|at| whole.said[*at]).collect(), edges }.merged()
    }

    /// What can be said next, with the least needs.
    fn statements_after(&self, from: usize) -> BTreeMap<(Needs, usize), Vec<Step>> {
        let mut found: BTreeMap<(Needs, usize), Vec<Step>> = BTreeMap::new();
        let mut seen: HashMap<(Needs, usize), Vec<Step>> = HashMap::from([((0, from), Vec::new())]);
        let mut queue = VecDeque::from([(0, from)]);
        while let Some((have, at)) = queue.pop_front() {
            let way = seen[&(have, at)].clone();
            for (need, to, step) in &self.edges[at] {
                let key = (have | need, *to);
                let longer: Vec<_> = way.iter().chain(step).copied().collect();
                if self.said[*to] != self.said[from] {
                    found.entry(key).or_insert(longer);
                } else if let Entry::Vacant(free) = seen.entry(key) {
                    free.insert(longer);
                    queue.push_back(key);
                }
            }
        }
        let least = |&(need, to): &(Needs, usize)| !found.keys().any(|&(n, t)| t == to && n != need && n & need == n);
        found.iter().filter(|(k, _)| least(k)).map(|(k, way)| (*k, way.clone())).collect()
    }

    /// One state for all that nobody can tell apart, now or later.
    fn merged(self) -> Self {
        let mut class: Vec<usize> = self.said.iter().map(|s| usize::from(*s)).collect();
        let mut count = 0;
        loop {
            let mut names = HashMap::new();
            let next: Vec<usize> = (0..class.len())
                .map(|at| {
                    let future: BTreeSet<_> = self.edges[at].iter().map(|(need, to, _)| (*need, class[*to])).collect();
                    let fresh = names.len();
                    *names.entry((class[at], future)).or_insert(fresh)
                })
                .collect();
            class = next;
            if names.len() == count {
                break;
            }
            count = names.len();
        }
        let mut merged = Self { said: vec![0; count], edges: vec![Vec::new(); count] };
        for (at, &c) in class.iter().enumerate() {
            merged.said[c] = self.said[at];
            if merged.edges[c].is_empty() {
                let mut out: BTreeMap<_, _> = BTreeMap::new();
                for (need, to, way) in &self.edges[at] {
                    out.entry((*need, class[*to])).or_insert_with(|| way.clone());
                }
                merged.edges[c] = out.into_iter().map(|((need, to), way)| (need, to, way)).collect();
            }
        }
        // The first state stays the first: names are given in order.
        assert_eq!(class[0], 0);
        merged
    }

    pub(crate) fn len(&self) -> usize {
        self.said.len()
    }
}

/// Who plays, and by which numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Game {
    pub(crate) honest: usize,
    pub(crate) hostile: usize,
    /// Signatures that make a certificate, and endorsements that make a manifest.
    pub(crate) quorum: usize,
    /// Openings that open.
    pub(crate) threshold: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) states: usize,
    pub(crate) transitions: usize,
    /// What broke, and how it came about.
    pub(crate) violation: Option<(&'static str, Vec<String>)>,
    /// Every combination of what the honest ones have said.
    pub(crate) said: BTreeSet<Vec<Said>>,
}

impl Game {
    fn count(self, said: &[Said], bit: u32) -> usize {
        self.hostile + said.iter().filter(|s| *s >> bit & 1 == 1).count()
    }

    fn met(self, said: &[Said]) -> Needs {
        (0..6).filter(|bit| self.count(said, *bit) >= self.quorum).fold(0, |met, bit| met | 1 << bit)
    }

    fn broken(self, said: &[Said]) -> Option<&'static str> {
        let reached = |bits: std::ops::Range<u32>, least| bits.filter(|b| self.count(said, *b) >= least).count();
        if reached(0..2, self.quorum) > 1 {
            return Some("two manifests of one round are endorsed");
        }
        if reached(2..6, self.quorum) > 1 {
            return Some("two sets of one round and group are certified");
        }
        (reached(6..10, self.threshold) > 1).then_some("two sets of one round and group are open")
    }

    /// Breadth first over all states; honest decryptors are alike, so their order is none. Ends at the first violation.
    pub(crate) fn play(self, system: &System) -> Outcome {
        let start = vec![0u16; self.honest];
        let mut outcome = Outcome::default();
        let mut numbers = HashMap::from([(start.clone(), 0usize)]);
        let mut order = vec![start];
        let mut parents = vec![(0usize, 0usize, 0usize)];
        while outcome.states < order.len() {
            let at = outcome.states;
            outcome.states += 1;
            let state = order[at].clone();
            let mut said: Vec<_> = state.iter().map(|i| system.said[usize::from(*i)]).collect();
            if let Some(what) = self.broken(&said) {
                outcome.violation = Some((what, trace(system, &order, &parents, at)));
                return outcome;
            }
            let met = self.met(&said);
            said.sort_unstable();
            outcome.said.insert(said);
            for who in (0..state.len()).filter(|w| *w == 0 || state[*w] != state[w - 1]) {
                for (edge, (_, to, _)) in system.edges[usize::from(state[who])].iter().enumerate().filter(|(_, e)| e.0 & !met == 0) {
                    outcome.transitions += 1;
                    let mut next = state.clone();
                    next[who] = u16::try_from(*to).unwrap();
                    next.sort_unstable();
                    let fresh = order.len();
                    numbers.entry(next).or_insert_with_key(|key| {
                        order.push(key.clone());
                        parents.push((at, who, edge));
                        fresh
                    });
                }
            }
        }
        outcome
    }
}

/// The way to a state, one line per move of an honest decryptor.
fn trace(system: &System, order: &[Vec<u16>], parents: &[(usize, usize, usize)], mut at: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while at != 0 {
        let (before, who, edge) = parents[at];
        let (_, _, way) = &system.edges[usize::from(order[before][who])][edge];
        lines.push(format!("one of the honest in state {}: {way:?}", order[before][who]));
        at = before;
    }
    lines.reverse();
    lines
}

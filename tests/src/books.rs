//! What is failure: a checker that sees facts in order and knows what each promises. Knows no machine and trusts none.
//!
//! **Failure** is: a receipt or a sum before its entry is durable; an update summed twice; two certificates for one (round, group); a
//! certified set that is not the accepted and not dropped updates; a cohort below the minimum; an opening before its certificate is
//! covered; an opened sum that is not the certified set's; a decryptor that signs two sets or endorses two manifests, or that speaks
//! before its disk has kept the record, across any restart; a client that pays twice for a round or seals two headers; a request
//! without exactly one answer; an entry that breaks a rule of the history; a machine that asks to be woken in the past.
//!
//! **No failure** is: a round that ends without a sum, a dropped update, a refused request, an alarm in the log, a late message.

use protocol::entry::{Facts, LogEntry};
use protocol::history::Violation;
use protocol::ids::{CertificateDigest, ClientId, GroupId, HeaderDigest, LeafIndex, ManifestDigest, RoundId, SetDigest, TaskId};
use protocol::manifest::{SetPayload, set_digest};
use protocol::reject::Rejection;
use protocol::round::Verdict;
use protocol::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// Something that an onlooker can see.
#[derive(Clone, Debug)]
pub enum Fact {
    /// An entry is durable.
    Durable(LeafIndex, Box<LogEntry>),
    /// The history objects to an entry.
    Violated(Violation),
    /// A quorum checkpoint covers so many entries.
    Covered(u64),
    /// A request reached the server.
    Asked(u64),
    /// It was answered.
    Answered {
        /// Which request.
        ticket: u64,
        /// About what.
        header: HeaderDigest,
        /// How.
        verdict: Result<Verdict, Rejection>,
    },
    /// An update was added to its group's sum.
    Accumulated(HeaderDigest),
    /// A sum was opened: client i counts 16^i.
    Opened {
        /// Under which certificate.
        certificate: CertificateDigest,
        /// What came out.
        sum: u64,
    },
    /// A decryptor's endorsement left it.
    Endorsed {
        /// Who.
        who: ClientId,
        /// For which round of which task.
        of: (TaskId, RoundId),
        /// What.
        manifest: ManifestDigest,
        /// Whether its disk knows.
        remembered: bool,
    },
    /// A decryptor's signature over a set left it.
    SetSigned {
        /// Who.
        who: ClientId,
        /// What.
        payload: SetPayload,
        /// Whether its disk knows.
        remembered: bool,
    },
    /// A decryptor's opening left it.
    OpeningSent {
        /// Who.
        who: ClientId,
        /// Of what.
        certificate: CertificateDigest,
        /// Exact bytes.
        bytes: Vec<u8>,
        /// Whether its disk knows.
        remembered: bool,
    },
    /// A client's ledger paid for a round.
    Paid(ClientId, RoundId),
    /// An honest client sent a header.
    Sent(ClientId, RoundId, GroupId, HeaderDigest),
    /// The round machine was woken at a time and asks for the next.
    Woken(Time, Time),
    /// Everything has come to rest.
    AtRest,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// An entry breaks a rule.
    History(Violation),
    /// Accepted in words, not in the log.
    ReceiptBeforeDurable(HeaderDigest),
    /// Summed, but not in the log.
    SummedBeforeDurable(HeaderDigest),
    /// Summed again.
    SummedTwice(HeaderDigest),
    /// Two certificates for one (round, group).
    TwoCertificates(RoundId, GroupId),
    /// The set is another than the log's.
    WrongSet(RoundId, GroupId),
    /// Too few members.
    Cohort(RoundId, GroupId),
    /// Before a quorum checkpoint covers its certificate.
    OpeningNotCovered(ClientId),
    /// Two different openings of one (round, group).
    TwoOpenings(ClientId),
    /// Not the sum of the certified set.
    WrongSum {
        /// Opened.
        got: u64,
        /// The certified set's.
        expected: u64,
    },
    /// Endorsed another manifest before.
    TwoEndorsements(ClientId),
    /// Signed another set before.
    TwoSets(ClientId),
    /// Said what its disk does not know.
    SpokeBeforeDurable(ClientId),
    /// Paid for this round before.
    PaidTwice(ClientId, RoundId),
    /// Sealed another header before.
    TwoHeaders(ClientId),
    /// A second answer, or one to no question.
    AnsweredTwice(u64),
    /// No answer.
    Unanswered(u64),
    /// A wake-up in the past: the driver would spin.
    Busy(Time),
    /// The round does not end, whatever time does.
    Stuck(RoundId),
}

/// One group of a round.
#[derive(Default)]
struct Group {
    accepted: BTreeMap<HeaderDigest, ClientId>,
    dropped: BTreeSet<HeaderDigest>,
    certified: Option<LeafIndex>,
}

impl Group {
    fn members(&self) -> impl Iterator<Item = (&HeaderDigest, &ClientId)> {
        self.accepted.iter().filter(|(h, _)| !self.dropped.contains(h))
    }
}

/// Everything seen so far.
#[derive(Default)]
pub struct Books {
    cohort_min: usize,
    weights: BTreeMap<ClientId, u64>,
    manifests: BTreeMap<RoundId, ManifestDigest>,
    groups: BTreeMap<(RoundId, GroupId), Group>,
    places: BTreeMap<HeaderDigest, LeafIndex>,
    certificates: BTreeMap<CertificateDigest, (RoundId, GroupId)>,
    covered: u64,
    asked: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    summed: BTreeSet<HeaderDigest>,
    endorsed: BTreeMap<(ClientId, TaskId, RoundId), ManifestDigest>,
    signed: BTreeMap<(ClientId, ManifestDigest, GroupId), SetPayload>,
    opened: BTreeMap<(ClientId, RoundId, GroupId), Vec<u8>>,
    paid: BTreeSet<(ClientId, RoundId)>,
    sent: BTreeMap<(ClientId, RoundId, GroupId), HeaderDigest>,
}

/// What client `i` adds to a sum: a digit of its own, so that nobody counts for another, nor twice unseen.
pub fn weight(i: usize) -> u64 {
    1u64 << (4 * i)
}

fn require(holds: bool, broken: Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken) }
}

impl Books {
    /// Empty books for these clients, in order.
    pub fn new(clients: &[ClientId], cohort_min: usize) -> Self {
        let weights = clients.iter().enumerate().map(|(i, c)| (*c, weight(i))).collect();
        Self { cohort_min, weights, ..Self::default() }
    }

    /// Requests that nobody has answered yet.
    pub fn open_questions(&self) -> usize {
        self.asked.difference(&self.answered).count()
    }

    /// Updates that the log holds for this round and group.
    pub fn accepted(&self, round: RoundId, group: GroupId) -> usize {
        self.groups.get(&(round, group)).map_or(0, |g| g.accepted.len())
    }

    /// Updates that the log holds and the certified set leaves out.
    pub fn dropped(&self, round: RoundId) -> usize {
        self.groups.iter().filter(|((r, _), _)| *r == round).map(|(_, g)| g.dropped.len()).sum()
    }

    /// Takes in one fact.
    ///
    /// # Errors
    /// [`Broken`], the promise that it breaks.
    pub fn take(&mut self, fact: Fact) -> Result<(), Broken> {
        match fact {
            Fact::Durable(index, entry) => self.durable(index, &entry),
            Fact::Violated(v) => Err(Broken::History(v)),
            Fact::Covered(size) => {
                self.covered = self.covered.max(size);
                Ok(())
            }
            Fact::Asked(ticket) => {
                self.asked.insert(ticket);
                Ok(())
            }
            Fact::Answered { ticket, header, verdict } => self.answered(ticket, header, verdict),
            Fact::Accumulated(header) => {
                require(self.places.contains_key(&header), Broken::SummedBeforeDurable(header))?;
                require(self.summed.insert(header), Broken::SummedTwice(header))
            }
            Fact::Opened { certificate, sum } => self.opened(certificate, sum),
            Fact::Endorsed { who, of: (task, round), manifest, remembered } => {
                require(remembered, Broken::SpokeBeforeDurable(who))?;
                let first = self.endorsed.entry((who, task, round)).or_insert(manifest);
                require(*first == manifest, Broken::TwoEndorsements(who))
            }
            Fact::SetSigned { who, payload, remembered } => {
                require(remembered, Broken::SpokeBeforeDurable(who))?;
                let first = self.signed.entry((who, payload.manifest, payload.group)).or_insert(payload);
                require(*first == payload, Broken::TwoSets(who))
            }
            Fact::OpeningSent { who, certificate, bytes, remembered } => self.opening(who, certificate, bytes, remembered),
            Fact::Paid(who, round) => require(self.paid.insert((who, round)), Broken::PaidTwice(who, round)),
            Fact::Sent(who, round, group, header) => {
                let first = self.sent.entry((who, round, group)).or_insert(header);
                require(*first == header, Broken::TwoHeaders(who))
            }
            Fact::Woken(now, next) => require(next > now, Broken::Busy(next)),
            Fact::AtRest => self.asked.difference(&self.answered).next().map_or(Ok(()), |t| Err(Broken::Unanswered(*t))),
        }
    }

    fn durable(&mut self, index: LeafIndex, entry: &LogEntry) -> Result<(), Broken> {
        let (Some(round), group) = (entry.round, entry.group.unwrap_or(GroupId(u32::MAX))) else { return Ok(()) };
        if let Facts::ManifestPublished { manifest } = &entry.facts {
            self.manifests.insert(round, *manifest);
        }
        let place = self.groups.entry((round, group)).or_default();
        if let (Facts::UpdateAccepted { header, .. }, Some(who)) = (&entry.facts, entry.institution) {
            place.accepted.insert(*header, who);
            self.places.insert(*header, index);
        }
        if let Facts::UpdateDropped { header } = &entry.facts {
            place.dropped.insert(*header);
        }
        if let Facts::SetCertified { set, certificate } = &entry.facts {
            return self.certified(index, (round, group), *set, *certificate);
        }
        Ok(())
    }

    fn certified(
        &mut self,
        index: LeafIndex,
        at: (RoundId, GroupId),
        set: SetDigest,
        certificate: CertificateDigest,
    ) -> Result<(), Broken> {
        let (round, id) = at;
        let (Some(group), Some(manifest)) = (self.groups.get_mut(&at), self.manifests.get(&round)) else {
            return Err(Broken::WrongSet(round, id));
        };
        require(group.certified.replace(index).is_none(), Broken::TwoCertificates(round, id))?;
        let members: Vec<_> = group.members().map(|(h, _)| *h).collect();
        require(members.len() >= self.cohort_min, Broken::Cohort(round, id))?;
        self.certificates.insert(certificate, at);
        require(set_digest(*manifest, id, &members) == set, Broken::WrongSet(round, id))
    }

    fn answered(&mut self, ticket: u64, header: HeaderDigest, verdict: Result<Verdict, Rejection>) -> Result<(), Broken> {
        require(self.asked.contains(&ticket) && self.answered.insert(ticket), Broken::AnsweredTwice(ticket))?;
        match verdict {
            Ok(Verdict::Accepted(index)) => require(self.places.get(&header) == Some(&index), Broken::ReceiptBeforeDurable(header)),
            Ok(Verdict::Proceed) | Err(_) => Ok(()),
        }
    }

    fn opening(&mut self, who: ClientId, certificate: CertificateDigest, bytes: Vec<u8>, remembered: bool) -> Result<(), Broken> {
        require(remembered, Broken::SpokeBeforeDurable(who))?;
        let at = self.certificates.get(&certificate).copied();
        let place = at.and_then(|at| self.groups.get(&at)).and_then(|g| g.certified);
        let (Some((round, group)), Some(index)) = (at, place) else { return Err(Broken::OpeningNotCovered(who)) };
        require(index.0 < self.covered, Broken::OpeningNotCovered(who))?;
        let first = self.opened.entry((who, round, group)).or_insert_with(|| bytes.clone());
        require(*first == bytes, Broken::TwoOpenings(who))
    }

    fn opened(&mut self, certificate: CertificateDigest, sum: u64) -> Result<(), Broken> {
        let group = self.certificates.get(&certificate).and_then(|at| self.groups.get(at));
        let expected = group.map_or(0, |g| g.members().filter_map(|(_, who)| self.weights.get(who)).sum());
        require(sum == expected, Broken::WrongSum { got: sum, expected })
    }
}

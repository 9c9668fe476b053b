//! Promises in sentences: one for each row of D8 that has a claim (privacy.md D69). Knows no number that is not in the statement.

use super::{CoalitionFigures, Figure, Language, Multiple, Statement};
use crate::coalition::Standing;
use protocol::decimal::Decimal;
use protocol::plan::{Mode, Unit};

/// Who looks, and at what: the rows of D8.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Adversary {
    /// All opened sums, all snapshots, the log; the server with up to d_com decryptors.
    Public,
    /// One other institution.
    OtherInstitution,
    /// Institutions that work together, all but this one.
    Institutions,
    /// Up to this many institutions that work together, in modes where others add noise too.
    Coalition(u32),
    /// Single private deltas.
    SealingBroken,
    /// Anybody, against a person whose data k institutions hold.
    PersonIn(Multiple),
}

/// Whether a sentence promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It does.
    Promise,
    /// It shows a figure that rests on Lemma S, which waits for its review: no promise (D22).
    PendingReview,
}

/// One promise, or one figure that waits to become one.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentence {
    /// Against whom.
    pub adversary: Adversary,
    /// ε that it states. A row whose bound is not finite, or not reported, has no sentence.
    pub epsilon: Decimal,
    /// Whether it is a promise, or a figure whose proof is pending review (D22).
    pub claim: Claim,
    /// The words.
    pub text: String,
}

impl Adversary {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::OtherInstitution => "other-institution",
            Self::Institutions => "institutions",
            Self::Coalition(_) => "coalition",
            Self::SealingBroken => "sealing-broken",
            Self::PersonIn(_) => "person-in-institutions",
        }
    }

    fn words(self, s: &Statement, language: Language) -> String {
        let corrupt = s.committee.corrupt;
        match (self, language) {
            (Self::Public, Language::English) => {
                format!(
                    "the public, auditors, users of snapshots, and the server with up to {corrupt} decryptors, who see all opened sums, all snapshots and the log"
                )
            }
            (Self::Public, Language::Chinese) => {
                format!("公众、审计者、模型使用者，以及与至多 {corrupt} 个解密者合谋的服务器；他们看到所有打开的和、所有模型快照和日志")
            }
            (Self::OtherInstitution, Language::English) => "any one other institution, which also knows its own noise".to_owned(),
            (Self::OtherInstitution, Language::Chinese) => "任何一个其他机构；它还知道自己加的噪声".to_owned(),
            (Self::Institutions, Language::English) => "all other institutions together, which subtract their own updates".to_owned(),
            (Self::Institutions, Language::Chinese) => "所有其他机构合谋；它们可以减去自己的更新".to_owned(),
            (Self::Coalition(most), Language::English) => {
                format!("up to {most} institutions together, which subtract their own updates from opened sums")
            }
            (Self::Coalition(most), Language::Chinese) => format!("至多 {most} 个机构合谋；它们可以从打开的和中减去自己的更新"),
            (Self::SealingBroken, Language::English) => {
                format!(
                    "anybody who sees this institution's single updates, because more than {corrupt} decryptors work together or the sealing is broken"
                )
            }
            (Self::SealingBroken, Language::Chinese) => {
                format!("看到本机构单个更新的任何人（超过 {corrupt} 个解密者合谋，或密封被攻破）")
            }
            (Self::PersonIn(_), Language::English) => "everybody named above".to_owned(),
            (Self::PersonIn(_), Language::Chinese) => "以上所有对手".to_owned(),
        }
    }
}

impl Statement {
    /// One sentence per row of D8 that has a claim, promises first. The institution's own staff and machines are promised nothing.
    ///
    /// Own noise alone carries every promise. What the guaranteed shares of other institutions add is a sentence of its own for each row that
    /// it is about: a promise where its theorem is published, else with the words "pending review" and no promise (D22, D69). A figure that is
    /// not finite, or that no accountant reports, makes no sentence at all.
    pub fn sentences(&self, language: Language) -> Vec<Sentence> {
        let own = Figure::Epsilon(self.promise.epsilon);
        let finite = |(adversary, figure)| match figure {
            Figure::Epsilon(epsilon) => Some((adversary, epsilon)),
            Figure::Unbounded | Figure::NotReported => None,
        };
        let (rows, joint) = match (self.basis.mode, self.coalition) {
            (Mode::Local, _) | (_, None) => {
                (vec![Adversary::Public, Adversary::OtherInstitution, Adversary::Institutions, Adversary::SealingBroken], None)
            }
            (Mode::Distributed(_) | Mode::Hybrid(_), Some(figures)) => {
                let coalition = Adversary::Coalition(u32::from(figures.colluding) + 1);
                let few = [Adversary::Public, Adversary::OtherInstitution, coalition];
                (few.into_iter().chain([Adversary::Institutions, Adversary::SealingBroken]).collect(), Some((few, figures)))
            }
        };
        let promises = rows.into_iter().map(|a| (a, own)).chain(self.institutions.map(|m| (Adversary::PersonIn(m), m.epsilon)));
        let promises = promises.filter_map(finite).map(|(a, epsilon)| self.promised(a, epsilon, language));
        let shared = joint.into_iter().flat_map(|(rows, figures)| rows.map(|a| (a, figures)));
        let shared = shared.filter_map(|(a, figures)| finite((a, figures.epsilon)).map(|(a, epsilon)| (a, epsilon, figures)));
        promises.chain(shared.map(|(a, epsilon, figures)| self.shared(a, epsilon, &figures, language))).collect()
    }

    fn promised(&self, adversary: Adversary, epsilon: Decimal, language: Language) -> Sentence {
        Sentence { adversary, epsilon, claim: Claim::Promise, text: self.sentence(adversary, epsilon, language) }
    }

    /// A row as the guaranteed shares have it.
    fn shared(&self, adversary: Adversary, epsilon: Decimal, figures: &CoalitionFigures, language: Language) -> Sentence {
        match figures.standing {
            Standing::Published => self.promised(adversary, epsilon, language),
            Standing::PendingReview => {
                let text = self.pending(adversary, epsilon, figures.shares, language);
                Sentence { adversary, epsilon, claim: Claim::PendingReview, text }
            }
        }
    }

    fn pending(&self, adversary: Adversary, epsilon: Decimal, shares: u16, language: Language) -> String {
        let (task, delta, against) = (self.task, self.promise.delta, adversary.words(self, language));
        match language {
            Language::English => format!(
                "Pending review, no promise: in sums opened for task {task}, the noise of {shares} guaranteed shares is computed by Lemma S to be worth ({epsilon}, {delta}) against {against}."
            ),
            Language::Chinese => format!(
                "待审查（pending review），不是承诺：在为任务 {task} 打开的和中，按引理 S 计算，{shares} 份有保证的噪声相当于 ({epsilon}, {delta})，对手为：{against}。"
            ),
        }
    }

    fn sentence(&self, adversary: Adversary, epsilon: Decimal, language: Language) -> String {
        let (who, delta, against) = (&self.institution, self.promise.delta, adversary.words(self, language));
        let (task, dataset, unit) = (self.task, self.dataset, unit(self.unit, language));
        match (adversary, language) {
            (Adversary::PersonIn(m), Language::English) => format!(
                "For a person whose data {k} institutions hold that all run this schedule, everything that left them for task {task} together satisfies ({epsilon}, {delta})-differential privacy for adding or removing all data of that person, against {against}.",
                k = m.k
            ),
            (Adversary::PersonIn(m), Language::Chinese) => format!(
                "若 {k} 个机构都持有同一个人的数据并都按本计划训练，则它们为任务 {task} 发出的全部内容合起来，对增加或移除此人的全部数据满足 ({epsilon}, {delta})-差分隐私，对手为：{against}。",
                k = m.k
            ),
            (_, Language::English) => format!(
                "Everything that left {who} for task {task} satisfies ({epsilon}, {delta})-differential privacy for adding or removing all data of one {unit} of dataset {dataset}, against {against}."
            ),
            (_, Language::Chinese) => format!(
                "机构 {who} 为任务 {task} 发出的全部内容，对增加或移除数据集 {dataset} 中一个{unit}的全部数据满足 ({epsilon}, {delta})-差分隐私，对手为：{against}。"
            ),
        }
    }
}

pub(super) fn unit(unit: Unit, language: Language) -> &'static str {
    match (unit, language) {
        (Unit::Record, Language::English) => "record",
        (Unit::Record, Language::Chinese) => "记录",
        (Unit::User, Language::English) => "person",
        (Unit::User, Language::Chinese) => "人",
    }
}

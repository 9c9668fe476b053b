//! Promises in sentences: one for each row of D8 that has a claim (privacy.md D69). Knows no number that is not in the statement.

use super::{Figure, Language, Multiple, Statement};
use protocol::plan::{Mode, Unit};

/// Who looks, and at what: the rows of D8.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Adversary {
    /// All opened sums, all snapshots, the log; the server with up to d_com decryptors.
    Public,
    /// One other institution.
    OtherInstitution,
    /// Institutions that work together.
    Institutions,
    /// Single private deltas.
    SealingBroken,
    /// Anybody, against a person whose data k institutions hold.
    PersonIn(Multiple),
}

/// One promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentence {
    /// Against whom.
    pub adversary: Adversary,
    /// ε that it states.
    pub epsilon: Figure,
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
    /// One sentence per row of D8 that has a claim. The institution's own staff and machines are promised nothing.
    pub fn sentences(&self, language: Language) -> Vec<Sentence> {
        let own = Figure::Epsilon(self.promise.epsilon);
        let rows = match self.basis.mode {
            // Own noise alone carries every row.
            Mode::Local => [Adversary::Public, Adversary::OtherInstitution, Adversary::Institutions, Adversary::SealingBroken],
        };
        let rows = rows.into_iter().map(|a| (a, own)).chain(self.institutions.map(|m| (Adversary::PersonIn(m), m.epsilon)));
        rows.map(|(adversary, epsilon)| Sentence { adversary, epsilon, text: self.sentence(adversary, epsilon, language) }).collect()
    }

    fn sentence(&self, adversary: Adversary, epsilon: Figure, language: Language) -> String {
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

//! The statement for people, in two languages: labels, values, and what is and is not covered (privacy.md D5, D68). Knows no format.

use super::sentence::unit;
use super::{Empirical, Figure, Multiple, Review, Statement};
use crate::audit::Verdict;
use crate::coalition::Standing;
use crate::ledger::{Neighbours, SumPath};
use crate::mechanism::slack_per_step;
use protocol::decimal::Decimal;
use protocol::params::PS_A;
use protocol::participant::UploadAt;
use protocol::plan::{Accumulate, ClipFunction, ClipPath, NoiseKind};

/// What the words are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// 中文.
    Chinese,
}

impl Language {
    fn pick(self, english: &'static str, chinese: &'static str) -> &'static str {
        match self {
            Self::English => english,
            Self::Chinese => chinese,
        }
    }
}

/// One mandatory field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name in JSON.
    pub key: &'static str,
    /// Its label.
    pub label: &'static str,
    /// Its value; several lines where it is a list.
    pub value: Vec<String>,
}

fn row(key: &'static str, label: &'static str, value: impl ToString) -> Row {
    Row { key, label, value: vec![value.to_string()] }
}
fn list(key: &'static str, label: &'static str, value: &[&str]) -> Row {
    Row { key, label, value: value.iter().map(|&v| v.to_owned()).collect() }
}

impl Statement {
    /// Every field, in the order of D68.
    pub fn rows(&self, language: Language) -> Vec<Row> {
        let mut rows = self.subject(language);
        rows.extend(self.figures(language));
        rows.extend(self.grounds(language));
        rows.extend(self.evidence(language));
        rows
    }

    fn subject(&self, l: Language) -> Vec<Row> {
        let neighbours = match self.basis.neighbours {
            Neighbours::AddOrRemoveOne => l.pick("one dataset has one unit more than the other", "一个数据集比另一个多一个单位"),
        };
        vec![
            row("institution", l.pick("Institution", "机构"), format!("{} ({})", self.institution, self.institution_id)),
            row("federation", l.pick("Federation", "联邦"), &self.federation),
            row("task", l.pick("Task", "任务"), self.task),
            row("dataset", l.pick("Dataset (opaque id)", "数据集（匿名编号）"), self.dataset),
            row("unit", l.pick("Unit", "单位"), unit(self.unit, l)),
            row("neighbours", l.pick("Neighbours", "相邻关系"), neighbours),
        ]
    }

    fn figures(&self, l: Language) -> Vec<Row> {
        let life = &self.lifetime;
        let spent = life.epsilon.map_or_else(|| Figure::Unbounded.to_string(), |e| e.to_string());
        let coalition = self.coalition_words(l);
        let registered = match self.executed.noise {
            NoiseKind::RoundedGaussian => l.pick("ε of the registered schedule (PLD)", "已登记计划的 ε（PLD）"),
            NoiseKind::DiscreteGaussian => l.pick("ε of the registered schedule (RDP)", "已登记计划的 ε（RDP）"),
        };
        vec![
            row("epsilon", registered, self.promise.epsilon),
            row("delta", "δ", self.promise.delta),
            row("epsilon_spent", l.pick("ε of the rounds reserved so far", "已预留各轮的 ε"), self.spent),
            row(
                "lifetime",
                l.pick("ε over all tasks (filter) and its cap", "全部任务的 ε（过滤器）与上限"),
                format!("{spent} ≤ {} (δ {}, α {}){}", life.cap, life.delta, life.order, self.account_words(l)),
            ),
            row("epsilon_replace_one", l.pick("ε for replacing one unit", "替换一个单位的 ε"), self.replace_one),
            row("rdp", l.pick("Cross-check by RDP", "RDP 交叉核对"), format!("{} (α {})", self.rdp.epsilon, self.rdp.order)),
            row("own_epsilon", l.pick("ε of own noise alone", "仅凭自身噪声的 ε"), self.promise.epsilon),
            row("coalition", l.pick("ε against a coalition", "针对合谋的 ε"), format!("{coalition}; n_min {}", self.basis.cohort_min)),
            row("groups", l.pick("ε for a group of k units", "k 个单位的群组 ε"), multiples(self.groups)),
            row("institutions", l.pick("ε for a person in k institutions", "同一人在 k 个机构时的 ε"), multiples(self.institutions)),
        ]
    }

    /// By which account tasks are added up, where it is not own cost (D61).
    fn account_words(&self, l: Language) -> String {
        let Some(own) = self.lifetime.own_cap else { return String::new() };
        match l {
            Language::English => format!(
                "; tasks whose guaranteed shares have a published bound count as these shares leave them to a coalition no larger than each one's plan allows; against anybody else each task keeps own ε ≤ {own}"
            ),
            Language::Chinese => {
                format!(
                    "；份额之和有已发表上界的任务，按有保证的份额留给合谋者（规模不超过各自计划所容许）的 ε 计；对其他任何人，每个任务仅凭自身噪声的 ε ≤ {own}"
                )
            }
        }
    }

    /// What the shares of others are worth, and whether that may be relied on.
    fn coalition_words(&self, l: Language) -> String {
        let Some(c) = self.coalition else {
            let local = match self.lemma_s {
                Review::Pending => l.pick(
                    "none: mode local claims the institution's own noise only. Who sees sums only has no figure either: an update is a step of AdamW, \
which is not linear in the noise. Lemma S: pending review",
                    "无：local 模式只依据机构自己的噪声。只看到和的人也没有单独的数字：更新是 AdamW 的一步，对噪声不是线性的。引理 S：待审查",
                ),
            };
            return local.to_owned();
        };
        let standing = match c.standing {
            Standing::PendingReview => {
                l.pick("Lemma S: pending review; shown, neither promised nor charged", "引理 S：待审查；仅展示，不承诺也不计费")
            }
            Standing::Published if self.lifetime.own_cap.is_some() => l.pick(
                "by the published bound of sums of discrete Gaussians; charged over all tasks",
                "依据离散高斯和的已发表上界；计入全部任务的费用",
            ),
            Standing::Published => {
                l.pick("by the published bound of sums of discrete Gaussians; not charged", "依据离散高斯和的已发表上界；不计费")
            }
        };
        format!("{} (h {}, c {}; {}); {standing}", c.epsilon, c.shares, c.colluding, multiples(c.groups))
    }

    fn grounds(&self, l: Language) -> Vec<Row> {
        vec![
            list("covers", l.pick("Covers", "涵盖"), covers(l)),
            list("does_not_cover", l.pick("Does not cover", "不涵盖"), &excludes(l, self.uploads)),
            Row { key: "assumes", label: l.pick("Holds assuming", "成立的前提"), value: self.assumptions(l) },
            Row { key: "mechanism", label: l.pick("Mechanism", "机制"), value: self.mechanism(l) },
            row("accountant", l.pick("Accountant and version", "记账器与版本"), self.accountant),
            row(
                "sampling",
                l.pick("Sampling", "抽样"),
                l.pick(
                    "Poisson, each unit by itself in each step: implemented as the accountant assumes",
                    "泊松抽样，每步每个单位独立：实现与记账假设一致",
                ),
            ),
        ]
    }

    fn evidence(&self, l: Language) -> Vec<Row> {
        let r = &self.rounds;
        let rounds = match l {
            Language::English => format!(
                "{} registered, {} reserved ({} of them taken from the log by a repair), {} sent, {} opened, {} void; what was reserved is spent",
                self.rounds_registered, r.reserved, r.lost, r.sent, self.rounds_opened, r.void
            ),
            Language::Chinese => format!(
                "登记 {}，预留 {}（其中 {} 由修复从日志补入），已发送 {}，已打开 {}，作废 {}；预留即已花费",
                self.rounds_registered, r.reserved, r.lost, r.sent, self.rounds_opened, r.void
            ),
        };
        let none = l.pick("none", "无");
        vec![
            row("rounds", l.pick("Rounds", "轮次"), rounds),
            row("releases", l.pick("Counts released from these records", "由这些记录发布的计数"), self.release_words(l)),
            row(
                "tuning",
                l.pick("Tuning on private data", "用私有数据调参"),
                l.pick(
                    "the plan declares none; every run on these records is charged to the ledger",
                    "计划未声明；对这些记录的每次运行都会计入账本",
                ),
            ),
            row(
                "pretraining",
                l.pick("Public pre-training", "公开预训练"),
                match l {
                    Language::English => format!("begins with snapshot {}; data behind it is outside this statement", self.base),
                    Language::Chinese => format!("从快照 {} 开始；其背后的数据不在本声明之内", self.base),
                },
            ),
            row(
                "empirical",
                l.pick("Empirical lower bound (audit id)", "经验下界（审计编号）"),
                self.audit.map_or_else(|| none.to_owned(), |a| empirical(a, l)),
            ),
            row("plan", l.pick("Plan digest", "计划摘要"), self.plan),
            row("ledger", l.pick("Ledger head", "账本链首"), format!("{} (#{})", self.ledger_head, self.ledger_counter)),
            row("checkpoint", l.pick("Log checkpoint", "日志检查点"), format!("{} / {}", self.checkpoint.size, self.checkpoint.root)),
        ]
    }

    /// Counts beside the task: what they cost is in the figure over all tasks.
    fn release_words(&self, l: Language) -> String {
        let r = &self.releases;
        if r.paid.saturating_add(r.lost) == 0 {
            return l.pick("none", "无").to_owned();
        }
        let rho = r.rho.map_or_else(|| Figure::Unbounded.to_string(), |rho| rho.to_string());
        match l {
            Language::English => format!(
                "{} paid ({} values stored), ρ {rho}, and {} that a repair took from the site log; in ε over all tasks, in no figure of this task",
                r.paid, r.values, r.lost
            ),
            Language::Chinese => format!(
                "已付费 {} 次（已保存 {} 个值），ρ {rho}；另有 {} 次由修复从机构日志补入；计入全部任务的 ε，不计入本任务的数字",
                r.paid, r.values, r.lost
            ),
        }
    }

    /// What the promise rests on. Own noise rests on no part of the sealing; its parameters are named all the same.
    pub fn assumptions(&self, l: Language) -> Vec<String> {
        let path = match self.basis.path {
            SumPath::Exact => l.pick(
                "sensitivity is exact in integers (ν = 0): assumption F is not needed, but one unit's gradient must not depend on the others in its batch",
                "灵敏度以整数精确保证（ν = 0）：不需要假设 F，但一个单位的梯度不得依赖同批的其他单位",
            )
            .to_owned(),
            SumPath::Sum => self.float_words(l),
        };
        let sealing = match l {
            Language::English => format!(
                "sealing: parameter set {}, {} decryptors of whom up to {} may be corrupt; promises from own noise do not rest on it",
                set(),
                self.committee.decryptors,
                self.committee.corrupt
            ),
            Language::Chinese => format!(
                "密封：参数集 {}，{} 个解密者中至多 {} 个可被腐化；仅凭自身噪声的承诺不依赖它",
                set(),
                self.committee.decryptors,
                self.committee.corrupt
            ),
        };
        let lemma = match self.lemma_s {
            Review::Pending => l.pick("Lemma S: pending review; no promise here uses it", "引理 S：待审查；此处的承诺均未使用"),
        };
        let rest = l.pick(
            "the operating system's entropy is good, and nobody reads the memory of the institution's machine",
            "操作系统的熵可靠，且无人读取机构机器的内存",
        );
        let column = l.pick("the dataset's unit column says truthfully whose data is whose", "数据集的单位列如实说明数据属于谁");
        vec![path, sealing, lemma.to_owned(), rest.to_owned(), column.to_owned()]
    }

    /// Assumption F with its ν, or the theorem in its place (D19).
    fn float_words(&self, l: Language) -> String {
        let nu = self.executed.allowance();
        match (self.executed.clip_path(), l) {
            (ClipPath::BookKeeping { accumulate: Accumulate::F64, .. }, Language::English) => format!(
                "sums of gradients are 64-bit floats: a unit moves one by at most C(1 + ν), ν = {nu:e}, a theorem about the captured values"
            ),
            (ClipPath::BookKeeping { accumulate: Accumulate::F64, .. }, Language::Chinese) => {
                format!("梯度之和为 64 位浮点：一个单位至多移动 C(1 + ν)，ν = {nu:e}，这是关于捕获值的定理")
            }
            (ClipPath::Exact | ClipPath::BookKeeping { .. }, Language::English) => format!(
                "assumption F: sums of gradients in 32-bit floats are moved by one unit by at most C(1 + ν), ν = {nu:e}; tested, not proven"
            ),
            (ClipPath::Exact | ClipPath::BookKeeping { .. }, Language::Chinese) => {
                format!("假设 F：32 位浮点的梯度之和，一个单位至多移动 C(1 + ν)，ν = {nu:e}；经测试，未证明")
            }
        }
    }

    fn mechanism(&self, l: Language) -> Vec<String> {
        let (e, b) = (&self.executed, &self.basis);
        let mode = b.mode.name();
        let noise = match b.noise {
            NoiseKind::RoundedGaussian => l.pick("rounded Gaussian", "取整高斯"),
            NoiseKind::DiscreteGaussian => l.pick("discrete Gaussian", "离散高斯"),
        };
        let path = match b.path {
            SumPath::Exact => l.pick("exact path", "精确路径").to_owned(),
            SumPath::Sum => {
                let beta = slack_per_step(e.clip_path());
                format!("{}, ν = {:e}, β = {beta:e}", l.pick("Book-Keeping (sum path)", "Book-Keeping（求和路径）"), e.allowance())
            }
        };
        let clip = match e.clip_function {
            ClipFunction::AutoS => "AUTO-S",
            ClipFunction::Flat => "flat",
        };
        vec![
            format!("{}: {mode}; {}: {noise}; {path}", l.pick("mode", "模式"), l.pick("noise", "噪声")),
            format!("C = {} ({clip}), g = {}, Δ_grid / 2^g = {}", e.clip, e.grid_bits, self.sensitivity_ratio()),
            match e.joint {
                None => format!("sigma_grid = {}, σ = {}", self.sigma_grid(), e.noise_multiplier),
                Some(j) => format!("sigma_grid = {}, σ = {}, R = {}", self.sigma_grid(), e.noise_multiplier, j.bound),
            },
            format!("q = {}, N̂ = {}, d = {}", e.sampling_rate, e.declared_units, e.dimension),
            match l {
                Language::English => {
                    format!(
                        "{} rounds of {} noised steps: {} passes over the records",
                        self.rounds_registered,
                        self.steps_per_round,
                        self.passes()
                    )
                }
                Language::Chinese => {
                    format!("{} 轮，每轮 {} 个加噪步：共遍历记录 {} 遍", self.rounds_registered, self.steps_per_round, self.passes())
                }
            },
        ]
    }

    /// Δ_grid ÷ 2^g (D17, D18).
    pub fn sensitivity_ratio(&self) -> Decimal {
        match self.basis.path {
            SumPath::Exact => Decimal::ONE,
            SumPath::Sum => {
                let ratio = self.executed.delta_grid() / 2f64.powi(i32::from(self.executed.grid_bits));
                Decimal::ceil(ratio, 9).unwrap_or(Decimal::ONE)
            }
        }
    }

    /// T·q: how often a unit is drawn on the average over the registered schedule, three places, rounded up. Held against what somebody meant to
    /// run, it shows a rate that was taken from a loader (bug class B3).
    pub fn passes(&self) -> Decimal {
        #[expect(clippy::cast_precision_loss, reason = "schedules are far below 2^53 steps")]
        let steps = self.rounds_registered.saturating_mul(self.steps_per_round) as f64;
        Decimal::ceil(steps * self.executed.sampling_rate.to_f64() * (1.0 - 1e-12), 3).unwrap_or(Decimal::ZERO)
    }

    /// Noise deviation in grid steps, exactly.
    pub fn sigma_grid(&self) -> String {
        let (whole, part) = (self.executed.sigma_grid_1024 / 1024, self.executed.sigma_grid_1024 % 1024);
        // 1/1024 has ten decimal places.
        let text = format!("{whole}.{:010}", part * 9_765_625);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// An audit never says "verified" (D70).
fn empirical(a: Empirical, l: Language) -> String {
    let found = match a.verdict {
        Verdict::Consistent => l.pick("nothing contradicts the claim", "未发现与声明矛盾"),
        Verdict::Violation => l.pick("THE CLAIM IS CONTRADICTED", "与声明矛盾"),
    };
    format!("ε ≥ {} (95 %); {found} ({})", a.epsilon_lower, a.id)
}

/// Name of the sealing parameters that this version has.
pub(super) fn set() -> String {
    format!("PS-A ({PS_A})")
}

fn multiples(of: [Multiple; 2]) -> String {
    of.map(|m| format!("k = {}: {}", m.k, m.epsilon)).join("; ")
}

/// D5, first half.
pub(super) fn covers(l: Language) -> &'static [&'static str] {
    match l {
        Language::English => &[
            "every private delta of the task",
            "every opened sum",
            "every snapshot, and whatever is computed from them",
            "rounds that were reserved and came to nothing",
        ],
        Language::Chinese => &["本任务的每个加噪更新", "每个打开的和", "每个模型快照，以及由它们计算出的一切", "已预留但未完成的轮次"],
    }
}

/// D5, second half, and D12.
pub(super) fn excludes(l: Language, uploads: UploadAt) -> Vec<&'static str> {
    let mut all = match uploads {
        UploadAt::Ready => vec![
            l.pick("that the institution takes part, and that it declined a round", "机构参与了联邦，以及拒绝了某一轮"),
            l.pick("how long a round took: updates are sent when they are ready", "一轮所用的时间：更新就绪即发送"),
        ],
        UploadAt::Scheduled => vec![
            l.pick(
                "that the institution takes part, and that it declined a round, as it does when an update is not sealed at its time of upload",
                "机构参与了联邦，以及拒绝了某一轮（更新到规定的上传时间仍未密封时也会拒绝）",
            ),
            l.pick(
                "how quickly this machine answers in other duties, of a decryptor for one, while it trains",
                "训练期间本机履行其他职责（例如解密者）时回应的快慢",
            ),
        ],
    };
    all.extend([
        l.pick("the declared number of units, and the plan's parameters", "申报的单位数和计划的参数"),
        l.pick("metrics released without noise", "未加噪发布的指标"),
        l.pick("the institution's own staff and machines", "机构自己的员工和机器"),
        l.pick("the institution as a whole: no institution-level privacy is claimed", "机构整体：不声称机构级隐私"),
    ]);
    all
}

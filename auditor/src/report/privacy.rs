//! Privacy spent by each institution and unit, as its deployment card (NIST SP 800-226) and as a plot.

use super::page::{Page, escape, hash};
use super::plot::{Line, Plot};
use super::{Language, rounds};
use protocol::history::{DatasetHistory, SpendRecord};
use protocol::ids::{ClientId, Sha256};
use protocol::plan::Plan;
use protocol::trust::BudgetDeclaration;

pub(super) fn write(page: &mut Page<'_>) {
    let title = page.say("Privacy spent", "隐私消耗");
    page.section("privacy", title);
    let text = page.say(
        "ε (epsilon) bounds how much anybody can learn about one unit of the data (one record, or one person) from everything that was published: \
         smaller is more private, and it only grows. δ is the small probability that the bound does not hold. Each institution signs its own cap, and \
         its program refuses to train beyond it. The figures below are what the institutions signed; where the check of privacy spends holds, this \
         report recomputed each of them from the stated noise and found it not too low.",
        "ε（epsilon）限定了任何人能够从全部公开结果中获知某个保护单位（一条记录或一个人）信息的程度：越小越私密，且只增不减。δ 是该界限不成立的极小概率。\
         各机构自行签署上限，其程序拒绝超限训练。以下数字由各机构签名声明；若隐私消耗检查成立，则本报告已按所述噪声逐一重算并确认没有低报。",
    );
    page.note(text);
    overview(page);
    for (who, id, dataset) in by_name(page) {
        card(page, who, id, dataset);
    }
}

/// Data sets in the order of their institutions' names.
fn by_name<'a>(page: &Page<'a>) -> Vec<(ClientId, Sha256, &'a DatasetHistory)> {
    let facts = page.story.facts;
    let mut all: Vec<_> = facts.datasets.iter().map(|((who, id), d)| (*who, *id, d)).collect();
    all.sort_by_key(|(who, id, _)| (facts.name(*who), *id));
    all
}

fn points(records: &[SpendRecord]) -> Vec<(f64, f64)> {
    let mut out: Vec<(f64, f64)> = vec![(0.0, 0.0)];
    let mut n = 0.0;
    let mut counter = None;
    for r in records {
        // One reservation pays for all groups of a round.
        if counter == Some(r.spend.ledger_counter) {
            continue;
        }
        counter = Some(r.spend.ledger_counter);
        n += 1.0;
        out.push((n, r.spend.epsilon_after.to_f64()));
    }
    out
}

fn overview(page: &mut Page<'_>) {
    let story = page.story;
    let datasets = by_name(page);
    let spent: Vec<Vec<String>> = datasets
        .iter()
        .map(|(who, id, d)| {
            let last = d.spends.last();
            // What headers state is own ε, and so is what it is held against here.
            let cap = d.cap.as_ref().map_or_else(|| "–".to_owned(), |c| c.most_own().to_string());
            let used = last.map_or_else(|| "0".to_owned(), |r| r.spend.epsilon_after.to_string());
            let share = match (&d.cap, last) {
                (Some(c), Some(r)) if c.most_own().to_f64() > 0.0 => {
                    format!("{:.0} %", (100.0 * r.spend.epsilon_after.to_f64() / c.most_own().to_f64()).ceil())
                }
                _ => "0 %".to_owned(),
            };
            let delta = d.cap.as_ref().map_or_else(String::new, |c| c.delta.to_string());
            let entry = last.map(|r| page.entry(r.index.0)).unwrap_or_default();
            vec![
                escape(&story.facts.name(*who)),
                hash(&id.to_hex()),
                escape(rounds::unit(page, d.declaration.unit)),
                used,
                cap,
                share,
                delta,
                entry,
            ]
        })
        .collect();
    let head = match story.language {
        Language::English => ["institution", "data set (opaque id)", "unit", "ε spent", "ε cap", "of the cap", "δ", "last spend in entry"],
        Language::Chinese => ["机构", "数据集（不透明标识）", "单位", "已用 ε", "ε 上限", "占上限", "δ", "最近一次消耗条目"],
    };
    page.table(&head, &spent);
    let lines: Vec<Line> = datasets.iter().map(|(who, _, d)| Line { name: story.facts.name(*who), points: points(&d.spends) }).collect();
    let cap = story.facts.datasets.values().filter_map(|d| d.cap.map(|c| c.most_own().to_f64())).fold(f64::INFINITY, f64::min);
    let title = page.say("Privacy spent (ε) by each institution, all its data sets", "各机构累计隐私消耗 ε");
    let limit = (cap.is_finite() && lines.iter().any(|l| l.points.len() > 1)).then(|| (page.say("lowest cap", "最低上限").to_owned(), cap));
    let (x, y) = (page.say("paid rounds", "已付费轮次"), "ε");
    let svg = Plot { title, x, y, lines: &lines, limit }.svg();
    page.raw(&svg);
}

/// The plan that a data set's last spend was made under.
fn plan_of<'a>(page: &Page<'a>, d: &DatasetHistory) -> Option<&'a Plan> {
    let task = d.spends.last()?.task;
    page.story.facts.tasks.iter().find(|t| t.id == task)?.history.plan()
}

/// Against whom the figure holds. A mode that this version cannot explain is named, not guessed.
fn trust_model(page: &Page<'_>, plan: Option<&Plan>) -> String {
    let mode = plan.and_then(|p| serde_json::to_value(p.privacy.mode).ok()).and_then(|v| v.as_str().map(str::to_owned));
    match mode.as_deref() {
        Some("local") => page
            .say(
                "local: noise is added before anything leaves the institution; holds against the server, the other institutions and the public",
                "本地：数据离开机构前即已加噪；对服务器、其他机构和公众均成立",
            )
            .to_owned(),
        Some(other) => format!("{other}{}", page.say(": see the plan for against whom the figure holds", "：该数字对谁成立见计划")),
        None => "–".to_owned(),
    }
}

/// A cap with the account that it is of (privacy.md D61).
fn signed(page: &Page<'_>, c: BudgetDeclaration) -> String {
    let total = format!("ε ≤ {}, δ = {}", c.epsilon_cap, c.delta);
    let Some(own) = c.own_epsilon_cap else { return total };
    let (of, alone) = (
        page.say("of what guaranteed shares of noise leave to a coalition", "按有保证的噪声份额留给合谋者的 ε 计"),
        page.say("own noise alone: of each task at most", "仅凭自身噪声：每个任务至多"),
    );
    format!("{total} ({of}); {alone} {own}")
}

fn card(page: &mut Page<'_>, who: ClientId, id: Sha256, d: &DatasetHistory) {
    let name = page.story.facts.name(who);
    page.raw("<div class=\"card\">");
    let title = format!("{}: {}", page.say("Deployment card", "部署卡"), name);
    page.heading(&title);
    let last = d.spends.last().map(|r| &r.spend);
    let figure = |pick: fn(&protocol::manifest::BudgetSpend) -> String| last.map_or_else(|| "–".to_owned(), pick);
    let spends = page.entries(d.spends.iter().map(|r| r.index.0));
    let plan = plan_of(page, d);
    let noise = plan.map_or("–", |p| match p.privacy.noise {
        protocol::plan::NoiseKind::RoundedGaussian => {
            page.say("Gaussian rounded to the grid, added by the institution itself", "机构自行添加的取整高斯噪声")
        }
        protocol::plan::NoiseKind::DiscreteGaussian => {
            page.say("discrete Gaussian, added by the institution itself", "机构自行添加的离散高斯噪声")
        }
    });
    let told = page.story.verdict.sidecars.iter().find(|t| t.hash == id.to_hex());
    let told = told.map(|t| format!("<strong>{}</strong> ", escape(&t.value))).unwrap_or_default();
    let rows = [
        (
            page.say("Data set", "数据集"),
            format!(
                "{told}{} ({} {})",
                hash(&id.to_hex()),
                page.say("declared units, two digits:", "声明单位数（两位有效数字）："),
                d.declaration.declared_units
            ),
        ),
        (page.say("Unit of privacy", "隐私单位"), escape(rounds::unit(page, d.declaration.unit))),
        (page.say("Neighbouring data sets", "相邻数据集"), escape(page.say("differ by adding or removing one unit", "增加或删除一个单位"))),
        (
            page.say("Guarantee so far", "目前的保证"),
            format!("ε = {}, δ = {}", figure(|s| s.epsilon_after.to_string()), figure(|s| s.delta.to_string())),
        ),
        (page.say("Signed cap", "签署上限"), d.cap.map_or_else(|| "–".to_owned(), |c| signed(page, c))),
        (page.say("Mechanism", "机制"), escape(noise)),
        (
            page.say("Noise multiplier, sampling rate", "噪声倍率、采样率"),
            format!("{}, {}", figure(|s| s.noise_multiplier.to_string()), figure(|s| s.sampling_rate.to_string())),
        ),
        (page.say("Steps paid for", "已付费步数"), figure(|s| s.steps_total.to_string())),
        (
            page.say("Accountant and composition", "核算器与组合"),
            escape(&figure(|s| format!("{} (all steps of the task composed)", s.accountant))),
        ),
        (page.say("Trust model", "信任模型"), escape(&trust_model(page, plan))),
        (page.say("Ledger", "账本"), figure(|s| format!("{}, head {}", s.ledger_counter, hash(&s.ledger_head.to_hex())))),
        (page.say("Spends in entries", "消耗条目"), spends),
    ];
    page.pairs(&rows);
    for (index, repair) in &d.repairs {
        let text = page.say("The ledger was repaired to what the log shows, by entry", "账本已按日志修复，条目");
        let line = format!("<p class=\"warn\">{} {} (counter {})</p>\n", escape(text), page.entry(index.0), repair.ledger_counter);
        page.raw(&line);
    }
    page.raw("</div>\n");
}

//! Tasks with their rounds, and where each model came from.

use super::Language;
use super::facts::TaskFact;
use super::page::{Page, escape, hash, time};
use crate::verdict::{GroupSummary, RoundSummary, TaskSummary};
use protocol::history::RoundState;
use protocol::plan::{GateResult, Plan};

pub(super) fn write(page: &mut Page<'_>) {
    let title = page.say("Tasks and rounds", "任务与轮次");
    page.section("tasks", title);
    let text = page.say(
        "In each round the institutions train on their own data, add noise, seal the result and send it. Nobody can open a single sealed update: a \
         committee signs one exact set of contributors and opens only its sum. \"Key sum\" says whether this report recomputed, from the committee's \
         openings, the key that opens the sum. \"Residual\" compares the rounding noise left in the opened sum with its prediction (near 1 is right).",
        "每一轮中，各机构在本地数据上训练、加噪、密封并上传。任何人都无法单独开启一份密封更新：委员会对唯一确定的贡献者集合签名，且只开启其总和。\
         “密钥和”表示本报告是否已由委员会的开启份额重新算出解密总和的密钥；“残差”为总和中剩余舍入噪声与预测值之比（接近 1 为正常）。",
    );
    page.note(text);
    let story = page.story;
    for (summary, fact) in story.verdict.tasks.iter().zip(&story.facts.tasks) {
        task(page, summary, fact);
    }
    if story.verdict.tasks.is_empty() {
        let none = page.say("No task was approved.", "尚无获批任务。");
        page.paragraph(none);
    }
}

fn plan_rows<'a>(page: &Page<'a>, plan: &Plan) -> Vec<(&'a str, String)> {
    let p = &plan.privacy;
    vec![
        (page.story.language.say("Parameters of the model", "模型参数量"), plan.dimension().to_string()),
        (page.story.language.say("Rounds planned", "计划轮次"), plan.rounds.to_string()),
        (page.story.language.say("Smallest cohort", "最小参与机构数"), plan.cohort_min.to_string()),
        (
            page.story.language.say("Committee: members, quorum", "委员会：成员数、法定数"),
            format!("{}, {}", plan.committee.decryptors, plan.committee.quorum()),
        ),
        (
            page.story.language.say("Promise on privacy", "隐私承诺"),
            format!("ε ≤ {}, δ = {}, {}", p.epsilon_cap, p.delta, escape(unit(page, p.unit))),
        ),
        (
            page.story.language.say("Noise", "噪声"),
            format!("σ = {}, q = {}, C = {}, {} steps per round", p.noise_multiplier, p.sampling_rate, p.clip, plan.local.steps),
        ),
    ]
}

pub(super) fn unit<'a>(page: &Page<'a>, unit: protocol::plan::Unit) -> &'a str {
    match unit {
        protocol::plan::Unit::Record => page.story.language.say("unit: one record", "保护单位：单条记录"),
        protocol::plan::Unit::User => page.story.language.say("unit: all records of one person", "保护单位：单个人的全部记录"),
    }
}

fn task(page: &mut Page<'_>, summary: &TaskSummary, fact: &TaskFact) {
    let title = format!("{} {}", page.say("Task", "任务"), summary.id);
    page.heading(&title);
    let opened: Vec<u64> = page
        .story
        .chronicle
        .of(&["task.approved", "task.opened", "task.ended"])
        .filter(|(_, k)| k.task == Some(fact.id))
        .map(|(i, _)| i)
        .collect();
    let state = match (summary.open, fact.history.ended()) {
        (true, _) => page.say("open", "进行中"),
        (false, Some(_)) => page.say("ended", "已结束"),
        (false, None) => page.say("approved, not open", "已批准，未开启"),
    };
    let mut rows = vec![
        (page.say("Plan (digest)", "计划（摘要）"), hash(&summary.plan)),
        (page.say("State", "状态"), state.to_owned()),
        (page.say("Approved, opened, ended by entries", "批准、开启、结束条目"), page.entries(opened)),
    ];
    if let Some(plan) = fact.history.plan() {
        rows.extend(plan_rows(page, plan));
    }
    page.pairs(&rows);
    let rows: Vec<Vec<String>> = summary.rounds.iter().flat_map(|r| round(page, r, fact)).collect();
    let head = match page.story.language {
        Language::English => [
            "round",
            "state",
            "from / to (UTC)",
            "group",
            "contributors",
            "dropped",
            "signatures",
            "openings",
            "key sum",
            "residual",
            "entries",
        ],
        Language::Chinese => ["轮次", "状态", "起 / 止 (UTC)", "组", "贡献者", "剔除", "签名", "开启", "密钥和", "残差", "条目"],
    };
    page.table(&head, &rows);
}

fn state_word(page: &Page<'_>, state: &str) -> String {
    let (class, en, zh) = match state {
        "closed" => ("ok", "closed", "完成"),
        "abandoned" => ("warn", "abandoned", "放弃"),
        "selecting" => ("note", "selecting", "选择中"),
        "reporting" => ("note", "reporting", "上报中"),
        "certifying" => ("note", "certifying", "认证中"),
        _ => ("note", "opening", "开启中"),
    };
    format!("<span class=\"{class}\">{}</span>", page.say(en, zh))
}

fn round(page: &Page<'_>, r: &RoundSummary, fact: &TaskFact) -> Vec<Vec<String>> {
    // What is deleted afterwards is no part of the round's time.
    let lived = page.story.chronicle.of_round(fact.id, r.round).filter(|(_, k)| k.kind != "round.chunks.deleted");
    let of: Vec<(u64, String)> = lived.map(|(i, k)| (i, k.ts.clone())).collect();
    let deleted = r.chunks_deleted.map(|at| format!("<br>{} {}", page.say("chunks deleted:", "密封更新已删除："), page.entries(vec![at])));
    let state = format!("{}{}", state_word(page, r.state), deleted.unwrap_or_default());
    let span = match (of.first(), of.last()) {
        (Some((_, a)), Some((_, b))) => format!("{}<br>{}", time(a), time(b)),
        _ => String::new(),
    };
    let ends = page.entries(of.first().into_iter().chain(of.last()).map(|(i, _)| *i));
    let names = |g: &GroupSummary| contributors(page, fact, r.round, g.group);
    let start = |group: String| vec![r.round.to_string(), state.clone(), span.clone(), group];
    if r.groups.is_empty() {
        let mut row = start(String::new());
        row.extend(vec![String::new(); 6]);
        row.push(ends);
        return vec![row];
    }
    let one = |g: &GroupSummary| {
        let confirmed = if g.key_sum_confirmed {
            format!("<span class=\"ok\">{}</span>", page.say("recomputed", "已重算"))
        } else {
            "–".to_owned()
        };
        let mut row = start(g.group.to_string());
        row.extend([
            format!("{}: {}", g.cohort, names(g)),
            g.dropped.to_string(),
            g.signatures.to_string(),
            g.openings.to_string(),
            confirmed,
            escape(g.residual_ratio.as_deref().unwrap_or("–")),
            ends.clone(),
        ]);
        row
    };
    r.groups.iter().map(one).collect()
}

/// Names of those whose updates are in the set.
fn contributors(page: &Page<'_>, fact: &TaskFact, round: u64, group: u32) -> String {
    let Some(r) = fact.history.rounds().get(&protocol::ids::RoundId(round)) else { return String::new() };
    let Some(g) = r.groups.get(&protocol::ids::GroupId(group)) else { return String::new() };
    let members = g.members();
    let names = members.iter().filter_map(|h| g.accepted.get(h)).map(|(who, index, _)| {
        let name = escape(&page.story.facts.name(*who));
        format!("<span class=\"t\">{name} ({})</span>", page.entry(index.0))
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Each model from its base to its releases.
pub(super) fn models(page: &mut Page<'_>) {
    let title = page.say("Models: lineage and releases", "模型：谱系与发布");
    page.section("models", title);
    let text = page.say(
        "Every model is named by the SHA-256 of its file. A round starts from one model and, if it closes, ends with the next; nothing in between is missing where the check of invariants holds.",
        "每个模型以其文件的 SHA-256 命名。每一轮从一个模型出发，若完成则产生下一个模型；只要不变量检查成立，链条即无缺失。",
    );
    page.note(text);
    let story = page.story;
    let mut rows = Vec::new();
    for fact in &story.facts.tasks {
        if let Some(plan) = fact.history.plan() {
            let task = fact.id.to_hex().chars().take(8).collect();
            // What was published elsewhere stands before everything that the log knows.
            let published = plan.model.base.as_ref().map(|p| p.weights.to_hex());
            let from = published.map(|p| format!("{} {}", page.say("published checkpoint", "公开检查点"), hash(&p))).unwrap_or_default();
            rows.push(vec![page.say("base", "基础模型").to_owned(), hash(&plan.base.to_hex()), from, task]);
        }
        for (id, r) in fact.history.rounds() {
            let RoundState::Closed(end) = r.state else { continue };
            let from = r.manifest.as_ref().map(|(m, _)| hash(&m.snapshot.to_hex())).unwrap_or_default();
            rows.push(vec![
                format!("{} {id}", page.say("after round", "轮次")),
                hash(&end.to_hex()),
                from,
                fact.id.to_hex().chars().take(8).collect(),
            ]);
        }
    }
    let head = match page.story.language {
        Language::English => ["step", "model", "from model", "task"],
        Language::Chinese => ["步骤", "模型", "来自模型", "任务"],
    };
    page.table(&head, &rows);
    releases(page);
}

fn releases(page: &mut Page<'_>) {
    let title = page.say("Releases and their gates", "发布及其门槛");
    page.heading(title);
    let rows: Vec<Vec<String>> = page
        .story
        .chronicle
        .of(&["model.released", "model.withdrawn"])
        .map(|(i, k)| {
            let facts = k.facts.as_ref().and_then(|f| serde_json::to_value(f).ok()).unwrap_or_default();
            let fields = facts.as_object().map(|o| o.iter().filter(|(n, _)| *n != "type").map(field).collect::<Vec<_>>().join("<br>"));
            vec![time(&k.ts), page.entry(i), format!("<code>{}</code>", escape(&k.kind)), fields.unwrap_or_default()]
        })
        .collect();
    if rows.is_empty() {
        let none = page.say(
            "The log records no release: no model has been given out under the federation's signature.",
            "日志中没有发布记录：尚无模型以联盟签名对外发布。",
        );
        return page.paragraph(none);
    }
    let head = match page.story.language {
        Language::English => ["time (UTC)", "entry", "type", "what it states"],
        Language::Chinese => ["时间 (UTC)", "条目", "类型", "内容"],
    };
    page.table(&head, &rows);
}

/// Gates one by one; everything else as it stands in the entry.
fn field((name, value): (&String, &serde_json::Value)) -> String {
    // An empty list is one of gates as well as of anything else.
    if let Ok(gates) = serde_json::from_value::<Vec<GateResult>>(value.clone())
        && !gates.is_empty()
    {
        return gates.iter().map(gate).collect::<Vec<_>>().join("<br>");
    }
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let value = if text.len() == 64 { hash(&text) } else { escape(&text) };
    format!("{}: {value}", escape(name))
}

fn gate(result: &GateResult) -> String {
    let class = if result.passed { "ok" } else { "bad" };
    format!("<span class=\"{class}\">{}</span>", escape(&result.to_string()))
}

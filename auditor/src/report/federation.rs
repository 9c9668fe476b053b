//! Who is in the federation, with which keys, since when; and how the log grew under whose eyes.

use super::Language;
use super::page::{Page, escape, hash, time};
use super::plot::{Line, Plot};
use crate::verdict::{MemberSummary, TrustSummary};

pub(super) fn write(page: &mut Page<'_>) {
    let title = page.say("The federation, its members and keys", "联盟、成员与密钥");
    page.section("federation", title);
    trust(page);
    members(page);
    history(page);
}

fn trust(page: &mut Page<'_>) {
    let (v, facts) = (page.story.verdict, page.story.facts);
    let Some(t) = &facts.trust else {
        let none = page.say("There is no trust document that can be read.", "没有可读的信任文件。");
        return page.paragraph(none);
    };
    let rows = [
        (page.say("Federation", "联盟"), escape(&t.federation)),
        (page.say("Fingerprint of the trust document", "信任文件指纹"), escape(v.trust_fingerprint.as_deref().unwrap_or("-"))),
        (
            page.say("Hash of the trust document", "信任文件哈希"),
            format!("<code>{}</code>", escape(v.trust_hash.as_deref().unwrap_or("-"))),
        ),
        (page.say("Key of the log", "日志密钥"), format!("<code>{}</code>", escape(&t.log_vkey))),
        (
            page.say("Administrators", "管理员"),
            format!(
                "{} / {}: {}",
                t.threshold,
                t.administrators.len(),
                t.administrators.iter().map(|k| hash(&k.to_hex())).collect::<Vec<_>>().join(" ")
            ),
        ),
        (page.say("Statement key of the server", "服务器声明密钥"), hash(&t.server.to_hex())),
    ];
    page.pairs(&rows);
    if !v.trust_changes.is_empty() {
        trust_changes(page);
    }
}

/// The trust documents after the first one, whose administrators and keys stand above as they are in force now.
fn trust_changes(page: &mut Page<'_>) {
    let title = page.say("Changes of the trust document", "信任文件变更");
    page.heading(title);
    let (same, changed) = (page.say("as before", "不变"), page.say("another one", "已更换"));
    let row = |t: &TrustSummary| {
        vec![
            page.entry(t.entry),
            escape(&t.fingerprint),
            format!("{} / {}", t.threshold, t.administrators),
            (if t.server_key_changed { changed } else { same }).to_owned(),
            (if t.log_key.is_some() { changed } else { same }).to_owned(),
            format!("{} / {}", t.approvals, t.needed),
        ]
    };
    let rows: Vec<Vec<String>> = page.story.verdict.trust_changes.iter().map(row).collect();
    let head = match page.story.language {
        Language::English => [
            "in force since entry",
            "fingerprint",
            "administrators (needed / all)",
            "statement key of the server",
            "key of the log",
            "approved by (of needed)",
        ],
        Language::Chinese => ["生效条目", "指纹", "管理员（需 / 共）", "服务器声明密钥", "日志密钥", "批准人数（/ 所需）"],
    };
    page.table(&head, &rows);
}

fn members(page: &mut Page<'_>) {
    let title = page.say("Institutions", "机构");
    page.heading(title);
    let rows: Vec<Vec<String>> = page
        .story
        .verdict
        .members
        .iter()
        .map(|m| {
            let since = page.story.chronicle.kept.get(&m.joined).map(|k| time(&k.ts)).unwrap_or_default();
            let stands =
                format!("{} {}", escape(&standing(page, m)), if m.since == m.joined { String::new() } else { page.entry(m.since) });
            vec![escape(&m.name), hash(&m.id), page.entry(m.joined), since, stands, format!("<code>{}</code>", escape(&m.witness))]
        })
        .collect();
    let head = match page.story.language {
        Language::English => {
            ["institution", "id (hash of its first key)", "admitted by entry", "since (UTC)", "standing", "key as a witness"]
        }
        Language::Chinese => ["机构", "标识（首个密钥哈希）", "准入条目", "自 (UTC)", "状态", "见证密钥"],
    };
    page.table(&head, &rows);
}

/// How an institution stands, and the code of why.
fn standing(page: &Page<'_>, m: &MemberSummary) -> String {
    let word = match m.standing {
        "active" => page.say("in good standing", "正常"),
        "suspended" => page.say("suspended", "已暂停"),
        "revoked" => page.say("revoked", "已撤销"),
        "left" => page.say("left", "已退出"),
        other => other,
    };
    m.reason.map_or_else(|| word.to_owned(), |reason| format!("{word} ({reason})"))
}

/// Types that change who may speak or who watches, in a few words of English and of Chinese.
const KEYS: &[(&str, &str, &str)] = &[
    ("federation.created", "the federation begins", "联盟成立"),
    (
        "federation.trust.changed",
        "administrators put another trust document in force: who administers from then on, and which keys sign for the server and its log",
        "管理员启用新的信任文件（此后的管理员、服务器签名密钥与日志密钥）",
    ),
    ("process.started", "the server's program starts", "服务器程序启动"),
    ("process.upgraded", "the server's program is replaced", "服务器程序升级"),
    ("process.config.changed", "the server's settings are others than at the start before", "服务器配置变更"),
    ("process.stopped", "the server's program ends in order", "服务器程序正常结束"),
    (
        "process.recovered",
        "the log was built again from an institution's mirror, after the server had lost entries",
        "服务器丢失条目后，由一家机构的镜像重建日志",
    ),
    ("member.invited", "an invitation is made", "发出邀请"),
    ("member.join.requested", "an institution asks to join, signed with its own key", "机构申请加入（自签名）"),
    ("member.joined", "an administrator admits it", "管理员批准加入"),
    ("member.renewed", "it has another TLS certificate, over the same key", "续发 TLS 证书（密钥不变）"),
    ("member.suspended", "administrators suspend an institution: nothing is accepted from it", "管理员暂停机构（不再接受其任何内容）"),
    ("member.resumed", "administrators let a suspended institution take part again", "管理员恢复被暂停的机构"),
    ("member.revoked", "administrators revoke a membership for good", "管理员永久撤销成员资格"),
    ("member.left", "an institution leaves, by its own signed word", "机构自行退出（自签名）"),
    (
        "key.rotated",
        "an institution replaces a key, by its own signed word: of its connections (tls), its statements or its cosignatures (witness)",
        "机构更换密钥（自签名）：连接、声明或见证",
    ),
    (
        "key.revoked",
        "administrators revoke the key of an institution's connections or cosignatures; its membership stays",
        "管理员撤销机构的连接密钥或见证密钥（成员资格不变）",
    ),
    ("key.prekeys.published", "keys for opening sums of coming rounds", "发布用于后续轮次开启求和的密钥"),
    ("policy.activated", "who watches the log, and how many of them must agree", "生效的见证策略"),
    (
        "policy.site.declared",
        "an institution judges plans by another policy of its own, whose content stays with it",
        "机构启用自有策略（内容不外传）",
    ),
    ("dataset.declared", "an institution declares a data set by an opaque id", "机构以不透明标识声明数据集"),
    ("dataset.withdrawn", "an institution withdraws a data set: nothing is trained on it any more", "机构撤回数据集（此后不再用于训练）"),
    ("budget.declared", "an institution sets its own cap on privacy spent", "机构设定自身的隐私上限"),
];

/// All other types.
const OTHERS: &[(&str, &str, &str)] = &[
    ("process.clock.skew", "the server's clock was moved, or its machine stood still", "服务器时钟被调整或主机停顿"),
    ("process.storage.low", "the server's disk has no room for a round, which waits", "服务器磁盘空间不足，轮次等待"),
    ("audit.witness.missing", "a witness of the policy has cosigned nothing for a quarter of an hour", "一位见证人十五分钟未联署"),
    ("audit.witness.returned", "a witness that was missing cosigns again", "缺席的见证人恢复联署"),
    (
        "authz.allowed",
        "somebody was allowed to change the federation; the next entry is what was done",
        "批准一次变更操作（紧接其后的条目）",
    ),
    ("audit.exported", "the server handed out a copy of the log, whole up to a checkpoint", "服务器导出截至某检查点的日志副本"),
    ("audit.reviewed", "somebody examined a part of the log and signed for it", "有人检查了部分日志并签名"),
    ("task.approved", "administrators approve a plan of training", "管理员批准训练计划"),
    ("task.opened", "a task begins", "任务开始"),
    ("task.ended", "a task is over", "任务结束"),
    ("round.opened", "a round begins", "轮次开始"),
    ("round.joined", "the list of those who take part is closed", "参与名单关闭"),
    ("round.nonce.revealed", "a decryptor reveals its number for dealing random groups", "解密者公布随机分组用数"),
    ("round.manifest.published", "the server states everything that the round rests on", "服务器公布本轮清单"),
    ("round.manifest.endorsed", "a decryptor vouches for the manifest", "解密者背书清单"),
    ("round.update.begun", "an institution begins to send a sealed update", "机构开始发送密封更新"),
    ("round.update.accepted", "a sealed update is accepted, with its cost in privacy", "接受一份密封更新（含隐私消耗）"),
    ("round.set.proposed", "the exact set that is to be opened", "提出拟开启的确切集合"),
    ("round.set.signed", "a decryptor signs that set", "解密者签署集合"),
    ("round.set.certified", "enough decryptors signed one set", "足够多的解密者签署同一集合"),
    ("round.opening.posted", "a decryptor helps to open the sum", "解密者提交开启份额"),
    ("round.sum.opened", "the sum of the set is open", "集合的总和已开启"),
    ("round.closed", "the round ends with a new model", "轮次完成并产生新模型"),
    (
        "round.chunks.deleted",
        "the sealed updates of a round are deleted on record: its sums cannot be made again from them",
        "某轮的密封更新按记录删除（此后无法据其重新求和）",
    ),
    (
        "dataset.changed",
        "an institution describes its prepared records: hashes, and counts to two digits",
        "机构描述其整理后的数据（哈希与两位有效数字计数）",
    ),
    ("authz.denied", "somebody was denied a right", "拒绝一次授权"),
    ("round.declined", "an institution takes no part in a round", "机构不参加该轮"),
    ("round.update.rejected", "an update was refused; the reason has a code", "拒绝一份更新（附原因代码）"),
    ("round.update.dropped", "an accepted update was left out of the sum", "已接受的更新未计入求和"),
    ("round.sum.failed", "a sum could not be opened", "某个求和无法开启"),
    ("round.abandoned", "a round ended without a result", "轮次无结果终止"),
    (
        "budget.spent",
        "an institution paid for a round that took no update of it; there is no refund",
        "机构为未计入其更新的轮次付出的隐私（不退还）",
    ),
    ("budget.released", "an institution paid for counts with noise, beside every task", "机构为任务之外的带噪计数付出隐私预算"),
    (
        "budget.exhausted",
        "an institution's privacy ledger cannot pay for a task: what was needed, and what there was",
        "机构的隐私账本无法支付某任务（所需与剩余）",
    ),
    ("budget.repaired", "a privacy ledger was raised to what the log shows", "隐私账本被提升至日志所示"),
    ("audit.alarm", "evidence of something that must not happen", "不应发生之事的证据"),
    ("model.released", "a model may leave the federation", "模型获准发布"),
    ("model.withdrawn", "a released model is withdrawn", "撤回已发布模型"),
    ("site.anchored", "an institution anchors its own log in this one", "机构将自有日志锚定于此"),
];

/// All types.
pub(super) fn meanings() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    KEYS.iter().chain(OTHERS).copied()
}

/// A type in a few words for somebody who does not program.
pub(super) fn meaning(page: &Page<'_>, kind: &str) -> String {
    let found = meanings().find(|(k, ..)| *k == kind);
    found.map_or_else(String::new, |(_, en, zh)| page.story.language.say(en, zh).to_owned())
}

fn history(page: &mut Page<'_>) {
    let title = page.say("Members, keys and policies over time", "成员、密钥与策略的变化");
    page.heading(title);
    let kinds: Vec<&str> = KEYS.iter().map(|(kind, ..)| *kind).collect();
    let rows: Vec<Vec<String>> = page
        .story
        .chronicle
        .of(&kinds)
        .map(|(i, k)| {
            let who = k.institution.map(|w| escape(&page.story.facts.name(w))).unwrap_or_default();
            vec![time(&k.ts), page.entry(i), format!("<code>{}</code>", escape(&k.kind)), who, escape(&meaning(page, &k.kind))]
        })
        .collect();
    let head = match page.story.language {
        Language::English => ["time (UTC)", "entry", "type", "institution", "what it means"],
        Language::Chinese => ["时间 (UTC)", "条目", "类型", "机构", "含义"],
    };
    page.table(&head, &rows);
}

/// How the log grew and who cosigned.
pub(super) fn log(page: &mut Page<'_>) {
    let (v, facts) = (page.story.verdict, page.story.facts);
    let title = page.say("The log and its witnesses", "日志与见证人");
    page.section("log", title);
    let met = if v.quorum.met {
        format!("<span class=\"ok\">{}</span>", page.say("quorum met", "达到法定数"))
    } else {
        format!("<span class=\"bad\">{}</span>", page.say("QUORUM NOT MET", "未达到法定数"))
    };
    let rows = [
        (page.say("Entries under the newest checkpoint", "最新检查点覆盖的条目"), v.tree_size.to_string()),
        (
            page.say("Root recomputed from the entries", "由条目重新计算的树根"),
            format!("<code>{}</code>", escape(v.root.as_deref().unwrap_or("-"))),
        ),
        (page.say("Checkpoints kept", "保留的检查点"), v.notes.to_string()),
        (
            page.say("Witnesses of the newest checkpoint", "最新检查点的见证人"),
            format!("{} / {}: {} ({met})", v.quorum.cosigners.len(), v.quorum.witnesses, escape(&v.quorum.cosigners.join(", "))),
        ),
    ];
    page.pairs(&rows);
    growth(page);
    let title = page.say("Witness policies", "见证策略");
    page.heading(title);
    let policies: Vec<Vec<String>> = facts
        .policies
        .iter()
        .map(|p| {
            let by = if p.from == 0 { String::new() } else { page.entry(p.from - 1) };
            let quorum = p.needed.map_or_else(|| page.say("none yet", "尚无").to_owned(), |k| format!("{k} / {}", p.witnesses.len()));
            vec![p.from.to_string(), by, quorum, escape(&p.witnesses.join(", "))]
        })
        .collect();
    let head = match page.story.language {
        Language::English => ["in force from size", "by entry", "cosignatures needed", "witnesses"],
        Language::Chinese => ["自该大小起生效", "依据条目", "所需联署", "见证人"],
    };
    page.table(&head, &policies);
    types(page);
}

#[expect(clippy::cast_precision_loss, reason = "sizes of logs are far below 2^53")]
fn growth(page: &mut Page<'_>) {
    let (cosigners, entries) = (page.say("cosigners", "联署数"), page.say("entries", "条目数"));
    let points = |pick: fn(&super::facts::NoteFact) -> f64| -> Vec<(f64, f64)> {
        (1u32..).zip(&page.story.facts.notes).map(|(i, n)| (f64::from(i), pick(n))).collect()
    };
    let x = page.say("checkpoint, in order", "检查点（按顺序）");
    let size = [Line { name: entries.to_owned(), points: points(|n| n.size as f64) }];
    let cosigned = [Line { name: cosigners.to_owned(), points: points(|n| n.cosigners as f64) }];
    let growth = Plot { title: page.say("Growth of the log", "日志增长"), x, y: entries, lines: &size, limit: None }.svg();
    let watch =
        Plot {
            title: page.say("Cosignatures on each checkpoint", "每个检查点的联署数"), x, y: cosigners, lines: &cosigned, limit: None
        }
        .svg();
    page.raw(&growth);
    page.raw(&watch);
}

/// Entries by type.
fn types(page: &mut Page<'_>) {
    let title = page.say("Entries by type", "按类型统计");
    page.heading(title);
    let rows: Vec<Vec<String>> = page
        .story
        .chronicle
        .counts
        .iter()
        .map(|(k, n)| vec![format!("<code>{}</code>", escape(k)), n.to_string(), escape(&meaning(page, k))])
        .collect();
    let head = match page.story.language {
        Language::English => ["type", "entries", "what it means"],
        Language::Chinese => ["类型", "条目数", "含义"],
    };
    page.table(&head, &rows);
}

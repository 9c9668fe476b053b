//! Permissions and denials: what was decided about rights, of all entries (audit.md A16, A19).

use super::Language;
use super::page::{Page, escape};
use protocol::entry::{Right, Rule, Ruling};

pub(super) fn write(page: &mut Page<'_>) {
    let title = page.say("Permissions and denials", "权限：批准与拒绝");
    page.heading(title);
    let text = page.say(
        "Whoever asks for something that changes the federation needs a right, and the permission stands right before what was done. What is denied is recorded too, of each right up to ten times a minute: many of them are an attack or something that is set up wrongly. If more acts are counted than permissions, the log does not show the right to some of them.",
        "任何变更联盟的操作都需要相应权限，批准记录紧接在操作之前。被拒绝的请求同样记录在案（每种权限每分钟至多十条）：大量拒绝意味着攻击或配置错误。若操作数多于批准数，则日志未显示其中部分操作的权限。",
    );
    page.note(text);
    let chronicle = page.story.chronicle;
    let (acts, permitted) =
        (page.say("acts that change the federation", "变更联盟的操作"), page.say("right behind their permission", "紧接在批准之后"));
    page.pairs(&[(acts, chronicle.acts.to_string()), (permitted, chronicle.permitted.to_string())]);
    if chronicle.decisions.is_empty() {
        let none = page.say("The log records no decision about a right.", "日志中没有关于权限的决定。");
        return page.paragraph(none);
    }
    let row = |((right, rule, ruling, code), decided): (&(Right, Rule, Ruling, String), &super::facts::Decided)| {
        let (class, word) = match ruling {
            Ruling::Allow => ("ok", page.say("allowed", "批准")),
            Ruling::Deny => ("warn", page.say("denied", "拒绝")),
        };
        let (meant, holder) = (meaning(*right), holder(*rule));
        let places = if decided.first == decided.last { vec![decided.first] } else { vec![decided.first, decided.last] };
        vec![
            format!("<code>{}</code> {}", right.name(), escape(page.say(meant.0, meant.1))),
            escape(page.say(holder.0, holder.1)),
            format!("<span class=\"{class}\">{word}</span>"),
            format!("<code>{}</code>", escape(code)),
            decided.count.to_string(),
            page.entries(places),
        ]
    };
    let rows: Vec<Vec<String>> = chronicle.decisions.iter().map(row).collect();
    let head = match page.story.language {
        Language::English => ["right", "who has it", "decision", "reason", "how often", "first and last entry"],
        Language::Chinese => ["权限", "持有者", "决定", "原因", "次数", "首末条目"],
    };
    page.table(&head, &rows);
}

/// A right in a few words, English and Chinese.
fn meaning(right: Right) -> (&'static str, &'static str) {
    match right {
        Right::MemberJoin => ("join with a token", "凭令牌申请加入"),
        Right::StatusRead => ("connect as a member", "以成员身份连接"),
        Right::UpdateSubmit => ("send an update", "提交更新"),
        Right::MemberInvite => ("make a token", "签发邀请令牌"),
        Right::MemberApprove => ("admit an institution", "批准机构加入"),
        Right::MemberRevoke => ("suspend, resume or revoke a membership, or revoke a key", "暂停、恢复或撤销成员资格，或撤销密钥"),
        Right::PolicyActivate => ("bring a witness policy into force", "启用见证策略"),
        Right::TrustChange => ("change who administers, or the server's statement key", "变更管理员或服务器声明密钥"),
        Right::TaskPropose => ("approve a plan of training", "批准训练计划"),
        Right::ModelRelease => ("let a model out", "发布模型"),
        Right::ModelWithdraw => ("take a released model back", "撤回已发布模型"),
        Right::ChunksDelete => ("delete sealed updates of old rounds", "删除旧轮次的密封更新"),
        Right::LogExport => ("be given a copy of the log by the server", "由服务器导出日志副本"),
        Right::LogReview => ("state that the log was examined", "声明已检查日志"),
    }
}

/// Who has a right, by its rule.
fn holder(rule: Rule) -> (&'static str, &'static str) {
    match rule {
        Rule::Token => ("whoever was invited", "受邀者（持令牌）"),
        Rule::Enrolled => ("an enrolled institution", "已加入的机构"),
        Rule::Host => ("whoever may use the server's own socket", "可使用服务器本机接口者"),
        Rule::Administrator => ("an administrator, by signature", "管理员（签名）"),
        Rule::Reviewer => ("an administrator or a member, by signature", "管理员或成员（签名）"),
    }
}

//! Events for security operations: OCSF 1.8 (A42). The mapping is by the type's name, so that a type of a later version has its place too.
//! Knows no file.

use super::Row;
use protocol::entry::{Actor, Facts, Outcome, Ruling};
use protocol::plan::GateResult;
use protocol::release::OverrideReason;
use serde_json::{Value, json};

const VERSION: &str = "1.8.0";

/// What an event class asks for.
struct Class {
    category_uid: u32,
    category_name: &'static str,
    class_uid: u32,
    class_name: &'static str,
    activity_id: u32,
    activity_name: &'static str,
}

const IAM: (u32, &str) = (3, "Identity & Access Management");
const APPLICATION: (u32, &str) = (6, "Application Activity");

fn class(kind: &str) -> Class {
    let of = |(category_uid, category_name), class_uid, class_name, (activity_id, activity_name)| Class {
        category_uid,
        category_name,
        class_uid,
        class_name,
        activity_id,
        activity_name,
    };
    match kind.split('.').next().unwrap_or("") {
        "authz" => of(IAM, 3003, "Authorize Session", (99, "Other")),
        "member" => of(IAM, 3001, "Account Change", account_activity(kind)),
        "tls" => of(IAM, 3002, "Authentication", (99, "Other")),
        _ => of(APPLICATION, 6003, "API Activity", api_activity(kind)),
    }
}

fn account_activity(kind: &str) -> (u32, &'static str) {
    match kind {
        "member.invited" | "member.join.requested" => (99, "Other"),
        "member.joined" => (1, "Create"),
        "member.resumed" => (2, "Enable"),
        "member.suspended" => (5, "Disable"),
        "member.revoked" | "member.left" => (6, "Delete"),
        _ => (99, "Other"),
    }
}

fn api_activity(kind: &str) -> (u32, &'static str) {
    match kind.rsplit('.').next().unwrap_or("") {
        "created" | "started" | "begun" | "opened" | "declared" | "proposed" | "published" | "posted" | "accepted" | "endorsed"
        | "signed" | "certified" | "revealed" | "joined" | "released" | "anchored" | "alarm" => (1, "Create"),
        "activated" | "approved" | "changed" | "rotated" | "upgraded" | "returned" | "repaired" | "spent" | "closed" | "ended"
        | "stopped" => (3, "Update"),
        "deleted" | "dropped" | "revoked" | "abandoned" | "withdrawn" => (4, "Delete"),
        _ => (99, "Other"),
    }
}

/// Informational; low for refusals; medium for a release in spite of a gate, a clock that was moved and a witness that stays away; high for
/// failures and a full disk; critical for alarms.
fn severity(row: &Row<'_>) -> (u32, &'static str) {
    match row.kind {
        "audit.alarm" => return (5, "Critical"),
        "process.storage.low" => return (4, "High"),
        "process.clock.skew" | "audit.witness.missing" => return (3, "Medium"),
        _as_it_ended => {}
    }
    match row.entry.map(|e| e.outcome) {
        Some(Outcome::Ok) if overridden(row) => (3, "Medium"),
        Some(Outcome::Ok) => (1, "Informational"),
        Some(Outcome::Rejected) => (2, "Low"),
        Some(Outcome::Failed) => (4, "High"),
        None => (0, "Unknown"),
    }
}

fn gates<'a>(row: &'a Row<'_>) -> Option<(&'a [GateResult], Option<OverrideReason>)> {
    match row.entry.map(|e| &e.facts) {
        Some(Facts::ModelReleased { gates, overridden, .. }) => Some((gates, *overridden)),
        Some(_) | None => None,
    }
}

fn overridden(row: &Row<'_>) -> bool {
    gates(row).is_some_and(|(_, reason)| reason.is_some())
}

/// What the gates of a release came to, in one line.
fn detail(row: &Row<'_>) -> Option<String> {
    let (gates, reason) = gates(row)?;
    let passed = gates.iter().filter(|g| g.passed).count();
    let each = gates.iter().map(|g| format!("; {g}")).collect::<String>();
    let reason = reason.map(|r| format!("; overridden: {}", r.name())).unwrap_or_default();
    Some(format!("{passed} of {} gates passed{each}{reason}", gates.len()))
}

fn status(row: &Row<'_>) -> (u32, &'static str) {
    match row.entry.map(|e| e.outcome) {
        Some(Outcome::Ok) if row.kind != "authz.denied" => (1, "Success"),
        Some(_) => (2, "Failure"),
        None => (0, "Unknown"),
    }
}

fn actor(row: &Row<'_>) -> Value {
    let (uid, name) = (row.entry.and_then(|e| e.institution).map(|i| i.to_hex()), row.name());
    let who = row.entry.map(|e| &e.stamp.who);
    let key = who.and_then(|w| w.spki).map(|k| k.to_hex());
    let mut user = match row.entry.map(|e| e.actor) {
        Some(Actor::Server) => json!({"name": "server", "uid": key, "type": "System", "type_id": 3}),
        Some(Actor::Administrator) => json!({"name": "administrator", "uid": key, "type": "Admin", "type_id": 2}),
        Some(Actor::Institution | Actor::Decryptor) => json!({"name": named(name, "unknown"), "uid": uid, "type": "User", "type_id": 1}),
        Some(Actor::Stranger) | None => json!({"name": "unknown", "type": "Unknown", "type_id": 0}),
    };
    if let (Some(user), Some(uri)) = (user.as_object_mut(), who.and_then(|w| w.uri.clone())) {
        user.insert("uid_alt".to_owned(), Value::String(uri));
    }
    let Some(decision) = row.entry.and_then(|e| e.decision) else { return json!({ "user": user }) };
    let ruling = match decision.ruling {
        Ruling::Allow => "Allowed",
        Ruling::Deny => "Denied",
    };
    let policy = json!({"name": decision.rule.name(), "uid": decision.policy.to_hex()});
    json!({"user": user, "authorizations": [{"decision": ruling, "policy": policy}]})
}

/// The event of one entry.
pub(super) fn event(row: &Row<'_>) -> Value {
    let (class, (severity_id, severity), (status_id, status)) = (class(row.kind), severity(row), status(row));
    let time = row.entry.and_then(|e| millis(&e.stamp.ts)).unwrap_or(0);
    let federation = row.entry.map_or("", |e| e.stamp.federation.as_str());
    let origin = row.entry.map_or("unknown", |e| e.stamp.origin.name.as_str());
    let version = row.entry.map_or("unknown", |e| e.stamp.origin.version.as_str());
    let mut event = json!({
        "activity_id": class.activity_id, "activity_name": class.activity_name,
        "category_uid": class.category_uid, "category_name": class.category_name,
        "class_uid": class.class_uid, "class_name": class.class_name,
        "type_uid": class.class_uid * 100 + class.activity_id,
        "type_name": format!("{}: {}", class.class_name, class.activity_name),
        "time": time, "severity_id": severity_id, "severity": severity, "status_id": status_id, "status": status,
        "actor": known(actor(row)),
        "metadata": {
            "version": VERSION, "uid": row.leaf(), "sequence": row.index, "log_name": format!("{federation}/log"), "event_code": row.kind,
            "product": {"name": "Concordat", "vendor_name": "Concordat", "version": version, "feature": {"name": origin}},
        },
        "unmapped": {"verified": row.verified, "leaf": row.value()},
    });
    // What a class has by a profile names the profile.
    if class.class_uid == 3003 {
        event["metadata"]["profiles"] = json!(["host"]);
    }
    let own = known(own_fields(row, &class, origin));
    if let (Some(event), Value::Object(own)) = (event.as_object_mut(), own) {
        event.extend(own);
        event.extend(detail(row).map(|text| ("status_detail".to_owned(), Value::String(text))));
    }
    event
}

/// Without what nobody knows: `null` is a value of no attribute.
fn known(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, v| !v.is_null());
        object.values_mut().for_each(|v| *v = known(v.take()));
    }
    value
}

/// A name that people can read, whoever it was.
fn named<'a>(name: &'a str, otherwise: &'a str) -> &'a str {
    if name.is_empty() { otherwise } else { name }
}

/// What the class requires beyond the base event.
fn own_fields(row: &Row<'_>, class: &Class, origin: &str) -> Value {
    let (uid, name) = (row.entry.and_then(|e| e.institution).map(|i| i.to_hex()), row.name());
    let code = row.entry.and_then(|e| e.code.clone());
    let mut own = match class.class_uid {
        6003 => json!({
            "api": {"operation": row.kind, "service": {"name": origin}},
            "src_endpoint": {"name": named(name, origin)},
        }),
        // A right that was denied to somebody unknown still has a user object: the class requires one.
        3003 => json!({"user": {"name": named(name, "unknown"), "uid": uid}, "privileges": right(row)}),
        _ => json!({"user": {"name": named(name, "unknown"), "uid": uid}}),
    };
    if let (Some(own), Some(code)) = (own.as_object_mut(), code) {
        own.insert("status_code".to_owned(), Value::String(code));
    }
    own
}

fn right(row: &Row<'_>) -> Vec<Value> {
    row.entry.and_then(|e| e.decision).map(|d| Value::String(d.right.name().to_owned())).into_iter().collect()
}

/// Milliseconds since 1970 of a time as entries carry it, `2026-01-02T03:04:05.000006Z`.
fn millis(ts: &str) -> Option<i64> {
    let number = |from: usize, to: usize| ts.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, milli) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    // Days from the civil calendar: years begin in March, so that the leap day is the last of its year.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400) * 365 + y.rem_euclid(400) / 4 - y.rem_euclid(400) / 100 + (153 * m + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + milli)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_milliseconds() {
        assert_eq!(millis("1970-01-01T00:00:00.000000Z"), Some(0));
        assert_eq!(millis("2000-02-29T12:34:56.789123Z"), Some(951_827_696_789));
        assert_eq!(millis("2026-11-27T06:59:59.999999Z"), Some(1_795_762_799_999));
        assert_eq!(millis("soon"), None);
    }

    #[test]
    fn classes_are_those_of_the_mapping() {
        let uid = |kind: &str| (class(kind).class_uid, class(kind).activity_id);
        assert_eq!([uid("authz.denied"), uid("authz.allowed")], [(3003, 99); 2]);
        assert_eq!([uid("process.upgraded"), uid("process.config.changed"), uid("audit.witness.returned")], [(6003, 3); 3]);
        assert_eq!(
            (uid("round.update.begun"), uid("process.clock.skew"), uid("audit.witness.missing")),
            ((6003, 1), (6003, 99), (6003, 99))
        );
        assert_eq!((uid("member.joined"), uid("member.revoked"), uid("member.left")), ((3001, 1), (3001, 6), (3001, 6)));
        assert_eq!((uid("member.suspended"), uid("member.resumed"), uid("dataset.withdrawn")), ((3001, 5), (3001, 2), (6003, 4)));
        assert_eq!((uid("round.closed"), uid("round.opened"), uid("some.future.thing")), ((6003, 3), (6003, 1), (6003, 99)));
    }
}

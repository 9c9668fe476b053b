//! What leaves in each form, from the small honest log and from a broken one.

use super::{Doubt, ExportError, Exported, Form, export};
use crate::Options;
use crate::select::{Selection, rounds};
use crate::tests::fixture::{Files, write};
use crate::tests::story::tell;
use crate::tests::twist::Twist;
use serde_json::Value;
use std::collections::BTreeMap;

fn run(files: &Files, form: Form, selection: &Selection, doubt: Doubt) -> (Result<Exported, ExportError>, String) {
    let mut out = Vec::new();
    let result = export(write(files).path(), &Options::default(), form, selection, doubt, &mut out);
    (result, String::from_utf8(out).unwrap())
}

fn all(form: Form) -> String {
    let (result, text) = run(&tell(Twist::None).files(), form, &Selection::default(), Doubt::Refuse);
    assert!(result.unwrap().verdict.verified);
    text
}

#[test]
fn json_lines_are_the_leaves_byte_for_byte() {
    let expected: String = tell(Twist::None).entries.iter().map(|e| String::from_utf8(e.clone()).unwrap() + "\n").collect();
    assert_eq!(all(Form::JsonLines), expected);
}

#[test]
fn csv_has_one_row_for_each_entry_and_the_spends_of_updates() {
    let text = all(Form::Csv);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), tell(Twist::None).entries.len() + 1);
    let columns = lines[0].split(',').count();
    let accepted: Vec<&&str> = lines.iter().filter(|l| l.contains(",round.update.accepted,")).collect();
    assert_eq!(accepted.len(), 6);
    assert!(
        accepted.iter().all(|l| l.contains("pld-1") && l.contains(",record,") && l.contains(",true,spiffe://demo/institution/clinic-"))
    );
    let by_name: BTreeMap<&str, usize> = lines[0].split(',').enumerate().map(|(at, name)| (name, at)).collect();
    // No cell of a denial is quoted.
    let denied: Vec<&str> = lines.iter().find(|l| l.contains(",authz.denied,")).unwrap().split(',').collect();
    assert_eq!(["ruling", "right", "rule", "cause"].map(|name| denied[by_name[name]]), ["deny", "status.read", "enrolled", ""]);
    let closed: Vec<&str> = lines.iter().find(|l| l.contains(",round.closed,")).unwrap().split(',').collect();
    let cause: usize = closed[by_name["cause"]].parse().unwrap();
    assert!(lines[cause + 1].contains(",round.sum.opened,") && closed[by_name["subject_kind"]] == "snapshot");
    // Facts are the only quoted column, and hold commas only inside quotes.
    assert!(lines[1..].iter().all(|l| l.split('"').step_by(2).map(|part| part.matches(',').count()).sum::<usize>() + 1 == columns));
}

#[test]
fn ocsf_events_follow_the_mapping() {
    let text = all(Form::Ocsf);
    let events: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(events.len(), tell(Twist::None).entries.len());
    for e in &events {
        let uid = |f: &str| e[f].as_u64().unwrap();
        assert_eq!(uid("type_uid"), uid("class_uid") * 100 + uid("activity_id"));
        assert_eq!(uid("class_uid") / 1000, uid("category_uid"));
        assert!(e["metadata"]["version"] == "1.8.0" && e["unmapped"]["leaf"]["seq"] == e["metadata"]["sequence"] && uid("time") > 0);
        let required: &[&str] = if uid("class_uid") == 6003 { &["api", "src_endpoint", "actor"] } else { &["user", "actor"] };
        assert!(required.iter().all(|f| e[f].is_object()), "{e}");
    }
    let class_of = |kind: &str| events.iter().find(|e| e["metadata"]["event_code"] == kind).unwrap()["class_uid"].clone();
    let event = |kind: &str| events.iter().find(|e| e["metadata"]["event_code"] == kind).unwrap();
    let denied = event("authz.denied");
    assert_eq!((&denied["privileges"][0], &denied["status"]), (&"status.read".into(), &"Failure".into()));
    let authorization = &denied["actor"]["authorizations"][0];
    assert_eq!((&authorization["decision"], &authorization["policy"]["name"]), (&"Denied".into(), &"enrolled".into()));
    assert_eq!(event("round.update.accepted")["actor"]["user"]["uid_alt"], "spiffe://demo/institution/clinic-0/client/agent");
    assert!(event("task.approved")["actor"]["user"]["uid"].as_str().is_some_and(|key| key.len() == 64));
    assert_eq!([class_of("authz.denied"), class_of("member.joined"), class_of("round.closed")], [3003, 3001, 6003]);
}

#[test]
fn a_release_carries_its_gates_into_events_and_rows() {
    let export = |twist, form| run(&tell(twist).files(), form, &Selection::default(), Doubt::Refuse).1;
    let released = |twist| -> Value {
        let text = export(twist, Form::Ocsf);
        let mut events = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        events.find(|e| e["metadata"]["event_code"] == "model.released").unwrap()
    };
    let (good, bad) = (released(Twist::GatesPassed), released(Twist::GateOverridden));
    assert_eq!((&good["severity_id"], &bad["severity_id"]), (&1.into(), &3.into()));
    assert!(good["status_detail"].as_str().unwrap().starts_with("3 of 3 gates passed; epsilon "));
    let detail = bad["status_detail"].as_str().unwrap();
    assert!(detail.starts_with("2 of 3 gates passed") && detail.ends_with("accuracy 0.89, at least 0.9: NOT PASSED; overridden: research"));
    assert_eq!(bad["unmapped"]["leaf"]["gates"][2]["passed"], false);
    assert_eq!(released(Twist::Released)["status_detail"], "0 of 0 gates passed");
    assert!(export(Twist::GateOverridden, Form::Csv).contains("research"));
}

#[test]
fn a_provenance_document_leads_from_datasets_to_the_last_snapshot() {
    let document: Value = serde_json::from_str(&all(Form::ProvJson)).unwrap();
    let things = |kind: &str| document[kind].as_object().unwrap().clone();
    let entities = things("entity");
    let count = |prefix: &str| entities.keys().filter(|k| k.starts_with(prefix)).count();
    assert_eq!((count("concordat:snapshot-"), count("concordat:dataset-"), count("concordat:header-")), (3, 4, 6));
    assert_eq!(count("concordat:sum-"), 2);
    // Every end of every relation is a thing of the document: an institution asks for lineage without a break.
    let known = |name: &str| ["entity", "activity", "agent"].iter().any(|k| document[k].get(name).is_some());
    for relation in ["used", "wasGeneratedBy", "wasAssociatedWith", "wasDerivedFrom", "wasAttributedTo", "wasInformedBy"] {
        for ends in things(relation).values() {
            assert!(ends.as_object().unwrap().values().all(|e| known(e.as_str().unwrap())), "{relation}: {ends}");
        }
    }
    assert_eq!(things("wasDerivedFrom").len(), 2);
}

#[test]
fn rounds_types_and_institutions_are_chosen() {
    let files = tell(Twist::None).files();
    let choose = |selection: Selection| {
        let (result, text) = run(&files, Form::JsonLines, &selection, Doubt::Refuse);
        (result.unwrap().rows, text)
    };
    let (rows, text) =
        choose(Selection { rounds: Some(rounds("2").unwrap()), kind: Some("round.update.*".parse().unwrap()), institution: None });
    assert!(rows == 3 && text.lines().all(|l| l.contains("\"round\":2") && l.contains("round.update.accepted")), "{rows}");
    let by_name = choose(Selection { institution: Some("clinic-1".to_owned()), ..Selection::default() });
    assert!(by_name.0 > 3);
    let (result, _) = run(&files, Form::Csv, &Selection { institution: Some("nobody".to_owned()), ..Selection::default() }, Doubt::Refuse);
    assert!(matches!(result, Err(ExportError::Selection(_))));
}

#[test]
fn a_log_that_does_not_verify_is_refused_or_every_row_is_marked() {
    let files = tell(Twist::CapExceeded).files();
    for form in [Form::JsonLines, Form::Csv, Form::Ocsf, Form::ProvJson] {
        let (result, text) = run(&files, form, &Selection::default(), Doubt::Refuse);
        assert!(matches!(result, Err(ExportError::Unverified(v)) if v.exit_code == 3) && text.is_empty());
        let (result, text) = run(&files, form, &Selection::default(), Doubt::Mark);
        let rows = result.unwrap().rows;
        let marks = text.matches("verified\":false").count() + text.matches(",false,").count();
        assert_eq!(marks as u64, rows, "{form:?}");
    }
}

#[test]
fn what_the_server_tells_of_itself_leaves_in_every_form() {
    let told = [
        (Twist::Restarted, "process.upgraded", 1),
        (Twist::Restarted, "process.clock.skew", 3),
        (Twist::Restarted, "process.storage.low", 4),
    ];
    let more =
        [(Twist::WitnessAway, "audit.witness.missing", 3), (Twist::Allowed, "authz.allowed", 1), (Twist::Begun, "round.update.begun", 1)];
    for (twist, kind, severity) in told.into_iter().chain(more) {
        let only = Selection { kind: Some(kind.parse().unwrap()), ..Selection::default() };
        let files = tell(twist).files();
        let (_, text) = run(&files, Form::Ocsf, &only, Doubt::Refuse);
        let event: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&event["metadata"]["event_code"], &event["severity_id"]), (&kind.into(), &severity.into()));
        assert!(run(&files, Form::Csv, &only, Doubt::Refuse).1.contains(kind));
        assert!(run(&files, Form::JsonLines, &only, Doubt::Refuse).1.contains(kind));
    }
}

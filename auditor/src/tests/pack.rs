//! The evidence of one institution of a story. Knows no verdict.

use super::fixture::{Draft, Files, Signers, write};
use crate::show::show;
use audit::proof::Receipt;
use protocol::entry::{Facts, LogEntry};
use protocol::ids::ClientId;
use protocol::plan::Plan;
use protocol::trust::TrustDocument;

/// The pack of the institution named `clinic-1`, as its client exports it.
pub(crate) fn pack(draft: &Draft) -> Files {
    let dir = write(&draft.files());
    let entries: Vec<LogEntry> = draft.entries.iter().map(|e| LogEntry::parse(e).unwrap()).collect();
    let asked = |e: &&LogEntry| matches!(e.facts, Facts::MemberJoinRequested { .. });
    let joined: Vec<ClientId> = entries.iter().filter(asked).filter_map(|e| e.institution).collect();
    let me = joined[1];
    let concerns = |e: &LogEntry| {
        let all = matches!(
            e.facts,
            Facts::FederationCreated { .. } | Facts::TrustChanged { .. } | Facts::PolicyActivated { .. } | Facts::TaskApproved { .. }
        );
        // The story's administrator admits without naming whom in the entry.
        e.institution == Some(me) || all || matches!(e.facts, Facts::MemberJoined { .. })
    };
    let mut files = Files::new();
    for (index, _) in (0u64..).zip(&entries).filter(|(_, e)| concerns(e)) {
        let shown = show(dir.path(), index, true).unwrap();
        let receipt = Receipt { entry: shown.entry, proof: shown.proof.unwrap() };
        files.insert(format!("entries/{index:020}.receipt"), receipt.encode().unwrap());
    }
    let trust = TrustDocument::hash(&draft.trust);
    let about = serde_json::json!({"format": "concordat-evidence/v1", "federation": "demo", "institution": me, "name": "clinic-1",
        "trust": trust, "size": entries.len()});
    files.insert("evidence.json".to_owned(), about.to_string().into_bytes());
    files.insert("trust.json".to_owned(), draft.trust.clone());
    let signers = Signers::new();
    let policy = match draft.handover() {
        None => signers.policy(),
        Some(_) => signers.policy().with_log(signers.next.verifier()).unwrap(),
    };
    files.insert("policy.txt".to_owned(), policy.text().as_bytes().to_vec());
    files.insert(format!("plans/{}.cbor", Plan::digest(&draft.plan)), draft.plan.clone());
    files
}

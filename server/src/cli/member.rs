//! `concordat-server member`: who asks to join, who is a member, and how members stand (operations.md O1).

use super::output::{Failure, Output};
use super::{Admin, Dir, call, heard, unexpected};
use crate::admin::{self, AdminReply, AdminRequest, MemberStatus, Refusal};
use crate::init;
use clap::{Args, Subcommand};
use protocol::codec;
use protocol::ids::Sha256;
use protocol::membership::{Change, KeyPurpose, KeyRevocation, StandingChange, StandingReason};
use protocol::statement::Statement;
use protocol::trust::{JoinRequest, Membership, fingerprint};
use std::path::Path;

#[derive(Debug, Subcommand)]
pub(super) enum MemberVerb {
    /// List institutions that ask to join, with the words to compare
    Pending {
        #[command(flatten)]
        dir: Dir,
    },
    /// Admit an institution
    Approve {
        #[command(flatten)]
        admin: Admin,
        /// Name of the institution
        #[arg(long)]
        institution: String,
        /// Words that the institution read out; no other request is admitted
        #[arg(long)]
        words: Option<String>,
    },
    /// List everybody who was ever admitted, and how they stand
    List {
        #[command(flatten)]
        dir: Dir,
    },
    /// Accept nothing from an institution until it is resumed
    ///
    /// Its connection is closed, it is in no further round and on no committee, and what it has sent in the round under way is in no sum that
    /// is not proposed yet. What it did before stays valid. It stays a witness of the policy in force: `policy activate` makes one without it.
    Suspend(StandingArgs),
    /// Let a suspended institution take part again
    Resume(StandingArgs),
    /// Accept nothing from an institution ever again
    ///
    /// As suspend, for good: it comes back only by a new invitation and with new keys.
    Revoke(StandingArgs),
    /// Let nobody in who shows the TLS key of an institution, or make no policy with its witness key
    ///
    /// Its membership stays as it is, and it goes on with the next key, which concordat-client keys rotate makes. Of a TLS key the connection is
    /// closed. A witness key stays in the policy in force: `policy activate` makes one without it. A statement key is not revoked: whoever has it
    /// speaks for the institution, so suspend or revoke the membership.
    RevokeKey {
        #[command(flatten)]
        standing: StandingArgs,
        /// What the key is for: tls or witness
        #[arg(long, value_name = "PURPOSE", default_value = "tls", value_parser = purpose)]
        purpose: KeyPurpose,
    },
}

#[derive(Debug, Args)]
pub(super) struct StandingArgs {
    #[command(flatten)]
    admin: Admin,
    /// Name of the institution
    #[arg(long)]
    institution: String,
    /// Why: key-compromise, incident, misconduct, agreement, inactive, request, resolved, mistake
    #[arg(long, value_name = "CODE", value_parser = reason)]
    reason: StandingReason,
}

fn purpose(text: &str) -> Result<KeyPurpose, &'static str> {
    KeyPurpose::from_name(text).filter(|p| *p != KeyPurpose::Statement).ok_or("tls or witness")
}

fn reason(text: &str) -> Result<StandingReason, &'static str> {
    StandingReason::from_name(text).ok_or("not one of the codes")
}

pub(super) fn run(verb: &MemberVerb, output: &Output) -> Result<(), Failure> {
    match verb {
        MemberVerb::Pending { dir } => pending(&dir.dir, output),
        MemberVerb::Approve { admin, institution, words } => approve(admin, institution, words.as_deref(), output),
        MemberVerb::List { dir } => list(&dir.dir, output),
        MemberVerb::Suspend(args) => change(args, Change::Suspend, output),
        MemberVerb::Resume(args) => change(args, Change::Resume, output),
        MemberVerb::Revoke(args) => change(args, Change::Revoke, output),
        MemberVerb::RevokeKey { standing, purpose } => revoke_key(standing, *purpose, output),
    }
}

fn joins(dir: &Path) -> Result<Vec<(JoinRequest, Sha256)>, Failure> {
    let AdminReply::Pending { joins } = call(dir, &AdminRequest::Pending {})? else { return Err(unexpected()) };
    let decode = |j: admin::PendingJoin| codec::decode(&j.request, 64 << 10).map(|r| (r, j.hash));
    joins.into_iter().map(decode).collect::<Result<_, _>>().map_err(Failure::trouble)
}

fn pending(dir: &Path, output: &Output) -> Result<(), Failure> {
    let joins = joins(dir)?;
    let rows: Vec<_> = joins.iter().map(|(r, h)| serde_json::json!({ "institution": r.name, "words": fingerprint(h) })).collect();
    let text: Vec<_> = joins.iter().map(|(r, h)| format!("{}  {}", r.name, fingerprint(h))).collect();
    output.value(&rows, &if text.is_empty() { "nobody asks to join".to_owned() } else { text.join("\n") });
    Ok(())
}

/// The one request under this name, or the one of them whose words were read out: a name is asked for twice where two invitations to it are out.
fn chosen(joins: Vec<(JoinRequest, Sha256)>, institution: &str, words: Option<&str>) -> Result<(JoinRequest, Sha256), Failure> {
    let fits = |(r, hash): &(JoinRequest, Sha256)| r.name == institution && words.is_none_or(|w| w == fingerprint(hash));
    let mut found = joins.into_iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Failure::trouble(anyhow::anyhow!("several ask to join as {institution}: say which with --words"))),
        (None, _) => Err(Failure::refused(Refusal::NoSuchJoin)),
    }
}

fn approve(admin: &Admin, institution: &str, words: Option<&str>, output: &Output) -> Result<(), Failure> {
    let key = init::read_admin_key(&admin.admin_key).map_err(Failure::trouble)?;
    let (request, hash) = chosen(joins(&admin.dir.dir)?, institution, words)?;
    let statement = Statement::sign(&Membership::of(&request), &key);
    let heard = heard(&admin.dir.dir, &AdminRequest::Approve { statement })?;
    let data = serde_json::json!({ "institution": institution, "words": fingerprint(&hash) });
    heard.tell(data, &format!("{institution} is a member"), output);
    Ok(())
}

fn members(dir: &Path) -> Result<Vec<MemberStatus>, Failure> {
    let AdminReply::Members { members } = call(dir, &AdminRequest::Members {})? else { return Err(unexpected()) };
    Ok(members)
}

fn list(dir: &Path, output: &Output) -> Result<(), Failure> {
    let members = members(dir)?;
    let row = |m: &MemberStatus| {
        let why = m.reason.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
        let link = if m.connected { "connected" } else { "not connected" };
        let key = if m.key_revoked { ", TLS key revoked" } else { "" };
        let witness = if m.witness_revoked { ", witness key revoked" } else { "" };
        format!("{}  {}{why} since entry {}, {link}{key}{witness}  {}", m.name, m.standing, m.since, m.id)
    };
    let text: Vec<_> = members.iter().map(row).collect();
    output.value(&members, &if text.is_empty() { "nobody is a member".to_owned() } else { text.join("\n") });
    Ok(())
}

/// Of several that had the name one after the other, the newest.
fn named<'a>(members: &'a [MemberStatus], institution: &str) -> Option<&'a MemberStatus> {
    let over = |m: &MemberStatus| ["revoked", "left"].contains(&m.standing.as_str());
    members.iter().filter(|m| m.name == institution).max_by_key(|m| (!over(m), m.since))
}

/// It, as the server has it now.
fn member(dir: &Path, institution: &str) -> Result<MemberStatus, Failure> {
    let members = members(dir)?;
    named(&members, institution).cloned().ok_or_else(|| Failure::refused(Refusal::Standing))
}

fn change(args: &StandingArgs, change: Change, output: &Output) -> Result<(), Failure> {
    let dir = &args.admin.dir.dir;
    let key = init::read_admin_key(&args.admin.admin_key).map_err(Failure::trouble)?;
    let found = member(dir, &args.institution)?;
    let (institution, since, reason) = (found.id, found.since, args.reason);
    let statement = Statement::sign(&StandingChange { institution, since, change, reason }, &key);
    let heard = heard(dir, &AdminRequest::ChangeStanding { statement })?;
    let data = serde_json::json!({ "institution": args.institution, "id": institution, "change": change, "reason": reason });
    heard.tell(data, &told(&args.institution, change), output);
    Ok(())
}

fn revoke_key(args: &StandingArgs, purpose: KeyPurpose, output: &Output) -> Result<(), Failure> {
    let dir = &args.admin.dir.dir;
    let admin = init::read_admin_key(&args.admin.admin_key).map_err(Failure::trouble)?;
    let found = member(dir, &args.institution)?;
    let key = if purpose == KeyPurpose::Witness { found.witness } else { found.tls_key };
    let (institution, reason) = (found.id, args.reason);
    let said = KeyRevocation { institution, purpose, key, reason };
    let heard = heard(dir, &AdminRequest::ChangeStanding { statement: Statement::sign(&said, &admin) })?;
    let data = serde_json::json!({ "institution": args.institution, "id": institution, "purpose": purpose, "key": key, "reason": reason });
    let text = if purpose == KeyPurpose::Witness {
        format!("no further policy names the witness key of {}; `policy activate` makes one without it", args.institution)
    } else {
        format!("whoever shows the TLS key of {} is not let in; it goes on with `concordat-client keys rotate`", args.institution)
    };
    heard.tell(data, &text, output);
    Ok(())
}

fn told(institution: &str, change: Change) -> String {
    match change {
        Change::Suspend => format!(
            "{institution} is suspended: nothing is accepted from it. It is still a witness of the policy in force; `policy activate` makes one \
             without it"
        ),
        Change::Resume => {
            format!("{institution} is in good standing again; `policy activate` makes it a witness again where it was left out")
        }
        Change::Revoke => format!(
            "{institution} is revoked: nothing is accepted from it ever again. It is still a witness of the policy in force; `policy \
             activate` makes one without it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{ClientId, LeafIndex, PublicKey, TokenId};

    #[test]
    fn whoever_was_heard_on_the_telephone_is_admitted_and_nobody_else_under_that_name() {
        let request = |name: &str, key: u8| {
            let (token, trust, nonce) = (TokenId([key; 16]), Sha256([2; 32]), Sha256([3; 32]));
            let (institution_key, witness_vkey, tls_key) = (PublicKey([key; 32]), "w".to_owned(), Sha256([key; 32]));
            let request = JoinRequest { token, trust, nonce, name: name.into(), institution_key, witness_vkey, tls_key };
            let hash = Membership::of(&request).request;
            (request, hash)
        };
        let joins = || vec![request("clinic", 1), request("clinic", 2), request("bank", 3)];
        let key = |institution: &str, words: Option<&str>| chosen(joins(), institution, words).map(|(r, _)| r.institution_key.0[0]).ok();
        for (n, name) in [(1, "clinic"), (2, "clinic"), (3, "bank")] {
            assert_eq!(key(name, Some(&fingerprint(&request(name, n).1))), Some(n));
        }
        assert_eq!((key("bank", None), key("clinic", None)), (Some(3), None), "which of two is not for the server to say");
        assert_eq!(key("bank", Some(&fingerprint(&request("clinic", 1).1))), None);
    }

    #[test]
    fn a_name_means_whoever_has_it_now() {
        let member = |id: u8, standing: &str, since| MemberStatus {
            name: "clinic".into(),
            id: ClientId([id; 32]),
            standing: standing.into(),
            reason: None,
            since: LeafIndex(since),
            connected: false,
            tls_key: Sha256([id; 32]),
            key_revoked: false,
            witness: Sha256([id; 32]),
            witness_revoked: false,
        };
        let of = |members: &[MemberStatus]| named(members, "clinic").map(|m| m.id);
        assert_eq!(of(&[member(1, "revoked", 9), member(2, "active", 7)]), Some(ClientId([2; 32])));
        assert_eq!(of(&[member(1, "left", 3), member(2, "revoked", 9)]), Some(ClientId([2; 32])));
        assert_eq!(named(&[member(1, "active", 3)], "clinics"), None);
    }
}

//! `concordat-server trust`: who administers, how many of them must agree, and which keys sign for the server and its log (audit.md A14). A trust document is
//! prepared once and approved by one administrator after the other, as a plan is.

use super::output::{Failure, Output};
use super::{Admin, Dir, call, heard, unexpected};
use crate::admin::{AdminReply, AdminRequest};
use crate::durable;
use crate::init;
use crate::keyring::KeyRing;
use crate::layout::Layout;
use anyhow::{Context as _, anyhow};
use audit::key::VerifierKey;
use clap::{Args, Subcommand};
use protocol::ids::{LeafIndex, PublicKey, Sha256};
use protocol::statement::Statement;
use protocol::trust::{TrustChange, TrustDocument, fingerprint};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum TrustVerb {
    /// Show the trust document in force
    Show {
        #[command(flatten)]
        dir: Dir,
    },
    /// Write another trust document, for the administrators to approve
    ///
    /// What is not named here stays as it is in the document in force. Nothing has effect before enough of the present administrators approve.
    Prepare(PrepareArgs),
    /// Say what a prepared trust document changes
    Check {
        #[command(flatten)]
        dir: Dir,
        /// File that `trust prepare` wrote
        file: PathBuf,
    },
    /// Sign a prepared trust document; it is in force with as many administrators as the present one asks for
    ///
    /// From then on the administrators that it names decide, and what waits for more words of the old ones is void. Institutions follow by
    /// themselves, and invitations that are out stay good.
    Approve {
        #[command(flatten)]
        admin: Admin,
        /// Words of the document that were read out; no other one is signed
        #[arg(long)]
        words: Option<String>,
        /// File that `trust prepare` wrote
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct PrepareArgs {
    #[command(flatten)]
    dir: Dir,
    /// Public keys of new administrators, as `admin-key` prints them, separated by commas
    #[arg(long, value_name = "HEX", value_delimiter = ',')]
    add: Vec<PublicKey>,
    /// Public keys of administrators that shall be none, separated by commas
    #[arg(long, value_name = "HEX", value_delimiter = ',')]
    remove: Vec<PublicKey>,
    /// How many administrators must say the same before it has effect
    #[arg(long, value_name = "M")]
    threshold: Option<u16>,
    /// Make a new statement key of the server; on the server's host
    #[arg(long)]
    new_server_key: bool,
    /// Make a new key that signs the log; on the server's host
    ///
    /// It signs from the entry with the last approval on, whose tree the old key signs too. The old key is erased when a quorum has cosigned that
    /// tree or a later one.
    #[arg(long)]
    new_log_key: bool,
    /// Where the document goes
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(verb: &TrustVerb, output: &Output) -> Result<(), Failure> {
    match verb {
        TrustVerb::Show { dir } => show(&dir.dir, output),
        TrustVerb::Prepare(args) => prepare(args, output),
        TrustVerb::Check { dir, file } => check(&dir.dir, file, output),
        TrustVerb::Approve { admin, words, file } => approve(admin, words.as_deref(), file, output),
    }
}

/// The trust document in force.
struct InForce {
    document: TrustDocument,
    hash: Sha256,
    since: LeafIndex,
}

impl InForce {
    fn ask(dir: &Path) -> Result<Self, Failure> {
        let AdminReply::Trust { document, since, .. } = call(dir, &AdminRequest::Trust {})? else { return Err(unexpected()) };
        let hash = TrustDocument::hash(&document);
        Ok(Self { document: TrustDocument::parse(&document).map_err(Failure::trouble)?, hash, since })
    }

    /// What a prepared document changes, in words.
    fn changes(&self, new: &TrustDocument) -> Vec<String> {
        let old = &self.document;
        let beyond = |these: &TrustDocument, those: &TrustDocument| -> Vec<String> {
            these.administrators.iter().filter(|k| !those.administrators.contains(k)).map(|k| k.to_hex()).collect()
        };
        let mut out: Vec<String> = beyond(new, old).into_iter().map(|k| format!("administrator {k} is added")).collect();
        out.extend(beyond(old, new).into_iter().map(|k| format!("administrator {k} is removed")));
        if new.threshold != old.threshold {
            out.push(format!("{} of {} administrators must agree instead of {}", new.threshold, new.administrators.len(), old.threshold));
        }
        if new.server != old.server {
            out.push(format!("the server signs with {} instead of {}", new.server.to_hex(), old.server.to_hex()));
        }
        if new.log_vkey != old.log_vkey {
            out.push(format!("the log is signed with {} instead of {}", new.log_vkey, old.log_vkey));
        }
        if out.is_empty() {
            out.push("the administrators stand in another order".to_owned());
        }
        out
    }
}

fn show(dir: &Path, output: &Output) -> Result<(), Failure> {
    let InForce { document, hash, since } = InForce::ask(dir)?;
    let administrators: Vec<String> = document.administrators.iter().map(|k| format!("  {}", k.to_hex())).collect();
    let text = format!(
        "federation {}\ntrust document {}, in force since entry {since}\nSHA-256 {}\n{} of {} administrators must agree\n{}\nthe server signs with {}\nthe log is signed with {}",
        document.federation,
        fingerprint(&hash),
        hash.to_hex(),
        document.threshold,
        document.administrators.len(),
        administrators.join("\n"),
        document.server.to_hex(),
        document.log_vkey
    );
    let data = serde_json::json!({ "trust": hash, "words": fingerprint(&hash), "since": since, "document": document });
    output.value(&data, &text);
    Ok(())
}

/// The document that is asked for, but for new keys of the server.
fn changed(old: &InForce, args: &PrepareArgs) -> Result<TrustDocument, Failure> {
    let known = &old.document.administrators;
    if let Some(stranger) = args.remove.iter().find(|k| !known.contains(k)) {
        let hint = "`concordat-server trust show` lists the administrators";
        return Err(Failure::input(anyhow!("{} is no administrator's key: {hint}", stranger.to_hex())));
    }
    let kept = known.iter().filter(|k| !args.remove.contains(k));
    let administrators: Vec<PublicKey> = kept.chain(&args.add).copied().collect();
    let threshold = args.threshold.unwrap_or(old.document.threshold);
    init::check_administrators(&administrators, 0, threshold).map_err(Failure::trouble)?;
    Ok(TrustDocument { administrators, threshold, previous: Some(old.hash), ..old.document.clone() })
}

fn prepare(args: &PrepareArgs, output: &Output) -> Result<(), Failure> {
    // Administrators sign it one after the other: nobody takes it away from under them.
    if args.out.exists() {
        return Err(Failure::input(anyhow!("{} is there already; name another file", args.out.display())));
    }
    let old = InForce::ask(&args.dir.dir)?;
    let (said, new) = written(args, &old)?;
    tell(&old, &new, said.hash(), &format!("written to {}", args.out.display()), output);
    Ok(())
}

/// Makes the keys that are asked for and writes the document that names them; where that fails, no key is left that nothing names.
fn written(args: &PrepareArgs, old: &InForce) -> Result<(TrustChange, TrustDocument), Failure> {
    let new = changed(old, args)?;
    let mut made = Made { layout: Layout::new(&args.dir.dir), statement: None, log: None };
    made.write(args, old, new).map_err(|error| {
        Failure::trouble(match made.erase() {
            Ok(()) => error,
            Err(left) => error.context(format!("a key in `keys` that was made for this document could not be erased again ({left})")),
        })
    })
}

/// Keys that were made for a document.
struct Made {
    layout: Layout,
    statement: Option<PublicKey>,
    log: Option<VerifierKey>,
}

impl Made {
    fn write(&mut self, args: &PrepareArgs, old: &InForce, mut new: TrustDocument) -> anyhow::Result<(TrustChange, TrustDocument)> {
        if args.new_server_key {
            new.server = *self.statement.insert(init::make_statement_key(&self.layout)?);
        }
        if args.new_log_key {
            new.log_vkey = self.log.insert(KeyRing::new(&self.layout).make(&new.federation)?).to_string();
        }
        let said = TrustChange { document: new.to_bytes() };
        said.next(&old.document, old.hash)?;
        durable::create(&args.out, &said.document)?;
        Ok((said, new))
    }

    fn erase(&self) -> io::Result<()> {
        if let Some(key) = &self.statement {
            init::erase_statement_key(&self.layout, key)?;
        }
        if let Some(key) = &self.log {
            KeyRing::new(&self.layout).erase(key)?;
        }
        Ok(())
    }
}

/// A prepared document.
fn read(file: &Path) -> Result<TrustChange, Failure> {
    let document = durable::read_limited(file, TrustChange::MAX_DOCUMENT as u64)
        .with_context(|| format!("{} cannot be read; run `trust prepare` first", file.display()))
        .map_err(Failure::input)?;
    Ok(TrustChange { document })
}

/// What a prepared document says, if it can follow the one in force.
fn following(said: &TrustChange, old: &InForce) -> Result<TrustDocument, Failure> {
    said.next(&old.document, old.hash).map_err(|e| Failure::checked("cannot_follow", e))
}

fn check(dir: &Path, file: &Path, output: &Output) -> Result<(), Failure> {
    let old = InForce::ask(dir)?;
    let said = read(file)?;
    let new = following(&said, &old)?;
    tell(&old, &new, said.hash(), "it can follow the trust document in force", output);
    Ok(())
}

fn tell(old: &InForce, new: &TrustDocument, hash: Sha256, first: &str, output: &Output) {
    let changes = old.changes(new);
    let data = serde_json::json!({ "trust": hash, "words": fingerprint(&hash), "changes": changes, "document": new });
    output.value(&data, &format!("{first}\ntrust document {}\n{}", fingerprint(&hash), changes.join("\n")));
}

fn approve(admin: &Admin, words: Option<&str>, file: &Path, output: &Output) -> Result<(), Failure> {
    let key = init::read_admin_key(&admin.admin_key).map_err(Failure::trouble)?;
    let dir = &admin.dir.dir;
    let old = InForce::ask(dir)?;
    let said = read(file)?;
    // Whoever approves last may ask again: it is in force then.
    let changes = if said.hash() == old.hash { Vec::new() } else { old.changes(&following(&said, &old)?) };
    let told = fingerprint(&said.hash());
    if words.is_some_and(|w| w != told) {
        return Err(Failure::checked("other_words", anyhow!("the file's words are {told}: it is not the document that was read out")));
    }
    let heard = heard(dir, &AdminRequest::ChangeTrust { statement: Statement::sign(&said, &key) })?;
    let data = serde_json::json!({ "trust": said.hash(), "words": told, "changes": changes });
    let done = format!(
        "trust document {told} is in force; its administrators decide from here on\n{}\nread these words out from now on when somebody joins",
        changes.join("\n")
    );
    heard.tell(data, &done, output);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> PublicKey {
        PublicKey(ed25519_dalek::SigningKey::from_bytes(&[n; 32]).verifying_key().to_bytes())
    }

    fn in_force() -> InForce {
        let document = TrustDocument {
            v: 1,
            federation: "demo".into(),
            log_vkey: "demo/log+00000000+AA==".into(),
            root_ca: Sha256([4; 32]),
            administrators: vec![key(1), key(2)],
            threshold: 2,
            server: key(9),
            previous: None,
        };
        InForce { hash: TrustDocument::hash(&document.to_bytes()), since: LeafIndex(0), document }
    }

    fn args(add: &[u8], remove: &[u8], threshold: Option<u16>) -> PrepareArgs {
        let keys = |of: &[u8]| of.iter().map(|n| key(*n)).collect();
        let (dir, out) = (Dir { dir: PathBuf::new() }, PathBuf::new());
        PrepareArgs { dir, add: keys(add), remove: keys(remove), threshold, new_server_key: false, new_log_key: false, out }
    }

    #[test]
    fn a_prepared_document_changes_what_is_asked_for_and_can_follow() {
        let old = in_force();
        let new = changed(&old, &args(&[3], &[1], None)).unwrap_or_else(|_| panic!("a document"));
        assert_eq!((new.administrators.as_slice(), new.threshold, new.server), ([key(2), key(3)].as_slice(), 2, key(9)));
        let said = TrustChange { document: new.to_bytes() };
        assert_eq!(said.next(&old.document, old.hash).unwrap(), new);
        let told = old.changes(&new);
        assert_eq!(told.len(), 2);
        assert!(told[0].ends_with("is added") && told[0].contains(&key(3).to_hex()), "{told:?}");
        assert!(told[1].ends_with("is removed") && told[1].contains(&key(1).to_hex()), "{told:?}");
    }

    #[test]
    fn another_key_of_the_log_is_told_before_anybody_approves_it() {
        let old = in_force();
        let dir = tempfile::tempdir().unwrap();
        let made = KeyRing::new(&Layout::new(dir.path())).make("demo").unwrap().to_string();
        let new = TrustDocument { log_vkey: made.clone(), previous: Some(old.hash), ..old.document.clone() };
        assert_eq!(TrustChange { document: new.to_bytes() }.next(&old.document, old.hash).unwrap(), new);
        assert_eq!(old.changes(&new), [format!("the log is signed with {made} instead of {}", old.document.log_vkey)]);
        let strangers = KeyRing::new(&Layout::new(dir.path())).make("other").unwrap().to_string();
        for bad in [strangers, made.replace("demo/log+", "demo/log+0"), String::new()] {
            let new = TrustDocument { log_vkey: bad, ..new.clone() };
            assert!(TrustChange { document: new.to_bytes() }.next(&old.document, old.hash).is_err());
        }
    }

    #[test]
    fn a_document_that_cannot_be_written_leaves_no_key() {
        let (old, dir) = (in_force(), tempfile::tempdir().unwrap());
        let asked = |out: &str| PrepareArgs {
            dir: Dir { dir: dir.path().to_owned() },
            new_server_key: true,
            new_log_key: true,
            out: dir.path().join(out),
            ..args(&[], &[], None)
        };
        let keys = || std::fs::read_dir(dir.path().join("keys")).unwrap().count();
        assert!(written(&asked("new.json"), &old).is_ok());
        assert_eq!(keys(), 2);
        // Somebody else's file took the place meanwhile.
        assert!(written(&asked("new.json"), &old).is_err());
        assert_eq!(keys(), 2, "those of the document that stands, and no others");
    }

    #[test]
    fn nobody_prepares_what_could_never_be_approved() {
        let old = in_force();
        for bad in [args(&[], &[1], None), args(&[2], &[], None), args(&[], &[3], None), args(&[], &[], Some(0)), args(&[3], &[], Some(4))]
        {
            assert!(changed(&old, &bad).is_err(), "{bad:?}");
        }
    }
}

//! `review`.

use super::TROUBLE;
use super::args::ReviewArgs;
use super::output::{Trouble, answer, trouble};
use crate::review::sign;
use ed25519_dalek::SigningKey;
use serde_json::json;
use std::io;
use std::path::Path;
use zeroize::Zeroizing;

/// 64 hexadecimal digits and a line feed, with room.
const MAX_KEY_FILE: usize = 128;

#[derive(Debug, thiserror::Error)]
enum BadKey {
    #[error("the key file {} is not there", .0.display())]
    Missing(std::path::PathBuf),
    #[error("the key file cannot be read")]
    Read(#[from] crate::dir::ReadError),
    #[error("the key file may be read by others; take that right from them (chmod 600)")]
    Open,
    #[error("the key file does not hold 32 bytes in hexadecimal")]
    Form,
}

fn read_key(path: &Path) -> Result<SigningKey, BadKey> {
    use std::os::unix::fs::PermissionsExt as _;
    let text = Zeroizing::new(crate::dir::read_file(path, MAX_KEY_FILE)?.ok_or_else(|| BadKey::Missing(path.to_owned()))?);
    if std::fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0) {
        return Err(BadKey::Open);
    }
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_ascii(), &mut seed[..]).map_err(|_| BadKey::Form)?;
    Ok(SigningKey::from_bytes(&seed))
}

pub(super) fn run(args: &ReviewArgs) -> u8 {
    match review(args) {
        Ok(code) => code,
        Err(e) => {
            trouble(args.format, Trouble::input("A39"), e.as_ref());
            TROUBLE
        }
    }
}

fn review(args: &ReviewArgs) -> Result<u8, Box<dyn std::error::Error>> {
    let key = read_key(&args.key)?;
    let verdict = crate::verify(&args.log.dir, &args.log.options())?;
    let signed = sign(&verdict, args.entries, &key)?;
    std::fs::create_dir(&args.out)?;
    let write = |name: &str, bytes: &[u8]| -> io::Result<()> { std::fs::write(args.out.join(name), bytes) };
    write("findings.json", &signed.findings)?;
    write("review.statement", &signed.statement)?;
    let out = args.out.display();
    let text = format!(
        "{}\nfindings about entries {} to {} are in {out}/findings.json: keep that file, its hash is what the review signs\nhand \
         {out}/review.statement to the operator, who runs `concordat-server review`",
        verdict.sentence(),
        signed.review.first,
        signed.review.last
    );
    let data = json!({ "first": signed.review.first, "last": signed.review.last, "size": signed.review.size, "root": signed.review.root,
        "findings": signed.review.findings, "exit_code": verdict.exit_code });
    answer(args.format, verdict.verified, &data, &text);
    Ok(verdict.exit_code)
}

//! `export`.

use super::TROUBLE;
use super::args::{ExportArgs, ExportFormat};
use super::output::{Format, Trouble, tell, trouble};
use crate::export::{Doubt, ExportError, Exported, Form, export};
use crate::select::{self, BadSelection, Selection};
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};

fn selection(args: &ExportArgs) -> Result<Selection, BadSelection> {
    Ok(Selection {
        rounds: args.rounds.as_deref().map(select::rounds).transpose()?,
        kind: args.kind.as_deref().map(str::parse).transpose()?,
        institution: args.institution.clone(),
    })
}

fn form(format: ExportFormat) -> Form {
    match format {
        ExportFormat::Jsonl => Form::JsonLines,
        ExportFormat::Csv => Form::Csv,
        ExportFormat::Ocsf => Form::Ocsf,
        ExportFormat::ProvJson => Form::ProvJson,
    }
}

/// Rows go to stdout or a file, everything else to stderr: the output is data for a program.
pub(super) fn run(args: &ExportArgs) -> u8 {
    let result = match &args.out {
        Some(path) => match File::create_new(path) {
            Ok(file) => write(args, &mut BufWriter::new(file)),
            Err(e) => {
                trouble(Format::Table, Trouble::output("A41"), &e);
                return TROUBLE;
            }
        },
        None => write(args, &mut BufWriter::new(std::io::stdout().lock())),
    };
    match result {
        Ok(done) => {
            let marked = if done.verdict.verified { "" } else { ", each marked as unverified" };
            tell(&format!("{} rows of a log of {} entries{marked}", done.rows, done.verdict.tree_size));
            done.verdict.exit_code
        }
        Err(e) => refused(args, &e),
    }
}

fn write(args: &ExportArgs, out: &mut impl Write) -> Result<Exported, ExportError> {
    let doubt = if args.unverified { Doubt::Mark } else { Doubt::Refuse };
    export(&args.log.dir, &args.log.options(), form(args.format), &selection(args)?, doubt, out)
}

fn refused(args: &ExportArgs, e: &ExportError) -> u8 {
    // Half a file looks like a whole one to the next program.
    if let Some(path) = &args.out {
        std::fs::remove_file(path).unwrap_or(());
    }
    match e {
        ExportError::Unverified(verdict) => {
            let hint = "see `concordat-audit verify`, or export with --unverified, which marks every row";
            trouble(Format::Table, Trouble { code: "unverified", clause: "A41", hint }, e);
            verdict.exit_code
        }
        ExportError::Walk(crate::entries::WalkError::Write(io)) if io.kind() == ErrorKind::BrokenPipe => 0,
        ExportError::Walk(_) | ExportError::Verify(_) | ExportError::Selection(_) => {
            trouble(Format::Table, Trouble::input("A41"), e);
            TROUBLE
        }
    }
}

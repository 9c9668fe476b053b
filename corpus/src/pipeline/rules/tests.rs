use super::*;

/// Rules for tests: every section that must be there, and `more` behind them.
pub(crate) fn minimal(private: bool, more: &str) -> String {
    format!(
        "[dataset]\nname = \"t\"\nlicence = \"l\"\npurpose = \"p\"\nretention_days = 1\n[input]\nformat = \"jsonl\"\nbad_rows = \"skip\"\n\
         [[columns]]\nname = \"text\"\nrole = \"text\"\n[[columns]]\nname = \"label\"\nrole = \"label\"\n\
         [scrub]\nkinds = [\"mobile\"]\ncolumns = [\"text\"]\n[split]\nkey = \"k\"\nvalidation_permille = 200\n\
         [training]\nprivate = {private}\n{more}"
    )
}

fn refused(text: &str) -> RulesError {
    Rules::parse(text).err().unwrap()
}

#[test]
fn the_least_rule_file_has_the_documented_defaults() {
    let rules = Rules::parse(&minimal(true, "")).unwrap();
    assert_eq!((rules.text, rules.label, rules.unit, rules.private), (0, 1, None, true));
    assert_eq!((rules.input.max_row_bytes, rules.input.max_fields, rules.input.header), (65536, 256, true));
    assert!(rules.dedup.exact && rules.dedup.near && !rules.needs_fit());
    assert_eq!(rules.thresholds.min_train_rows, 1);
}

#[test]
fn an_unknown_key_is_refused_in_every_section() {
    for section in ["", "[text]", "[dedup]", "[thresholds]"] {
        let error = refused(&minimal(true, &format!("{section}\nno_such_key = 1")));
        assert!(matches!(error, RulesError::Parse(_)), "{section}: {error}");
    }
    for (from, to) in [
        ("[input]\n", "[input]\nx = 1\n"),
        ("[dataset]\n", "[dataset]\nx = 1\n"),
        ("role = \"text\"", "role = \"text\"\nx = 1"),
        ("[split]\n", "[split]\nx = 1\n"),
        ("[scrub]\n", "[scrub]\nx = 1\n"),
    ] {
        assert!(matches!(refused(&minimal(true, "").replacen(from, to, 1)), RulesError::Parse(_)), "{from}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let column = |keys: &str| minimal(false, &format!("[[columns]]\nname = \"n\"\nrole = \"feature\"\n{keys}"));
    for keys in [
        "min = 1",
        "type = \"number\"\nmissing = \"keep\"",
        "missing = \"mean\"",
        "type = \"date\"",
        "date_formats = [\"%Y\"]",
        "missing = \"constant\"",
        "constant = \"x\"",
        "type = \"integer\"\nmissing = \"constant\"\nconstant = \"x\"",
        "type = \"number\"\noutliers = { method = \"quantile\", limit = 0.7, action = \"cap\" }",
        "min_chars = 9\nmax_chars = 3",
    ] {
        assert!(matches!(refused(&column(keys)), RulesError::Column { name, .. } if name == "n"), "{keys}");
    }
    assert!(matches!(refused(&column("allow = '('")), RulesError::Pattern { key: "allow", .. }));
    // A pattern whose automaton would fill the memory.
    assert!(matches!(refused(&column("deny = '\\w{1000}{1000}'")), RulesError::Pattern { key: "deny", .. }));
    let text = minimal(false, "");
    for (from, to) in [
        ("role = \"label\"", "role = \"text\""),
        ("name = \"label\"", "name = \"text\""),
        ("role = \"label\"", "role = \"feature\""),
        ("key = \"k\"", "key = \"\""),
        ("licence = \"l\"", "licence = \" \""),
        ("validation_permille = 200", "validation_permille = 901"),
        ("columns = [\"text\"]", "columns = [\"label\"]"),
        ("role = \"text\"\n", "role = \"text\"\nnullable = true\n"),
    ] {
        assert!(Rules::parse(&text.replacen(from, to, 1)).is_err(), "{from} -> {to}");
    }
    assert!(matches!(refused(&" ".repeat(MAX_RULE_BYTES + 1)), RulesError::TooLarge { .. }));
}

/// One person's record would move a mean and with it everybody's row.
#[test]
fn private_training_fits_no_constant_silently() {
    let column = "[[columns]]\nname = \"n\"\nrole = \"feature\"\ntype = \"number\"\nmissing = \"mean\"\n";
    assert!(matches!(refused(&minimal(true, column)), RulesError::Fitted { name } if name == "n"));
    assert!(Rules::parse(&minimal(false, column)).unwrap().needs_fit());
    let said = minimal(true, column).replacen("private = true", "private = true\nfitted_constants_are_not_accounted = true", 1);
    assert!(Rules::parse(&said).unwrap().needs_fit());
}

#[test]
fn the_digest_is_that_of_the_file() {
    let (a, b) = (minimal(true, ""), minimal(true, "# a comment\n"));
    assert_ne!(Rules::parse(&a).unwrap().digest, Rules::parse(&b).unwrap().digest);
}

use super::*;
use crate::pipeline::fit::ColumnFit;
use crate::pipeline::rules::tests::minimal;

fn rules(more: &str) -> Rules {
    Rules::parse(&minimal(false, more)).unwrap()
}

/// Cleans a row of text, label and one more cell.
fn run(rules: &Rules, fit: Option<ColumnFit>, text: &str, third: Cell) -> (Result<(), Dropped>, Vec<Cell>, ColumnCount) {
    let mut row = vec![Cell::Text(text.into()), Cell::Text("a".into()), third];
    let (mut counts, mut failed) = (vec![ColumnCount::default(); 3], vec![0; rules.checks.len()]);
    let done = clean(rules, &[None, None, fit], &mut row, &mut counts, &mut failed);
    (done, row, counts[2])
}

fn column(keys: &str) -> Rules {
    rules(&format!("[[columns]]\nname = \"n\"\nrole = \"feature\"\n{keys}"))
}

#[test]
fn a_missing_value_becomes_what_the_rules_say() {
    let fit = |fill| Some(ColumnFit { fill: Some(fill), limits: None, sampled: false });
    let number = "type = \"number\"\n";
    let missing = |keys: &str, fit| run(&column(&format!("{number}{keys}")), fit, "hello", Cell::Missing);
    assert_eq!(missing("missing = \"drop\"", None).0, Err(Dropped::MissingValue));
    assert!(missing("nullable = true\nmissing = \"keep\"", None).1[2].is_missing());
    assert!(missing("nullable = true\nmissing = \"flag\"", None).1[2].is_missing());
    let (done, row, count) = missing("missing = \"constant\"\nconstant = 7", None);
    assert!(done.is_ok() && row[2] == Cell::Number(7.0));
    assert_eq!((count.missing, count.filled), (1, 1));
    assert!(missing("missing = \"median\"", fit(Cell::Number(3.5))).1[2] == Cell::Number(3.5));
}

#[test]
fn outliers_are_dropped_capped_or_made_missing() {
    let limits = Some(ColumnFit { fill: None, limits: Some((0.5, 9.5)), sampled: false });
    let with = |action: &str, more: &str, value: Cell| {
        let kind = if matches!(value, Cell::Integer(_)) { "integer" } else { "number" };
        let keys = format!("type = \"{kind}\"\noutliers = {{ method = \"iqr\", limit = 1, action = \"{action}\" }}\n{more}");
        run(&column(&keys), limits.clone(), "hello", value)
    };
    assert_eq!(with("drop", "", Cell::Number(10.0)).0, Err(Dropped::Outlier));
    assert_eq!(with("drop", "", Cell::Number(9.0)).0, Ok(()));
    assert!(with("cap", "", Cell::Number(10.0)).1[2] == Cell::Number(9.5));
    assert!(with("cap", "", Cell::Integer(10)).1[2] == Cell::Integer(9), "a whole number inside the limits");
    assert!(with("cap", "", Cell::Integer(0)).1[2] == Cell::Integer(1));
    let (done, row, count) = with("missing", "missing = \"constant\"\nconstant = 2", Cell::Number(99.0));
    assert!(done.is_ok() && row[2] == Cell::Number(2.0));
    assert_eq!((count.outliers, count.filled, count.missing), (1, 1, 0));
}

#[test]
fn every_limit_has_its_reason() {
    let text = |keys: &str, value: &str| run(&column(keys), None, "hello", Cell::Text(value.into())).0;
    assert_eq!(text("allow = '^[a-z]+$'", "abc"), Ok(()));
    assert_eq!(text("allow = '^[a-z]+$'", "ab1"), Err(Dropped::NotAllowed));
    assert_eq!(text("deny = 'spam'", "no spam"), Err(Dropped::Denied));
    assert_eq!(text("values = [\"x\", \"y\"]", "z"), Err(Dropped::NotInValues));
    assert_eq!(text("min_chars = 3", "验证"), Err(Dropped::TooShort));
    assert_eq!(text("min_chars = 2", "验证"), Ok(()));
    assert_eq!(text("max_chars = 2", "验证码"), Err(Dropped::TooLong));
    assert_eq!(text("max_chars = 3", "验证码"), Ok(()));
    let number = |value| run(&column("type = \"integer\"\nmin = 0\nmax = 9"), None, "hello", Cell::Integer(value)).0;
    assert_eq!([number(0), number(9), number(-1), number(10)], [Ok(()), Ok(()), Err(Dropped::OutOfRange), Err(Dropped::OutOfRange)]);
    let latin = rules("[text]\nscripts = [\"latin\"]\n[[columns]]\nname = \"n\"\nrole = \"ignore\"\nnullable = true\nmissing = \"keep\"\n");
    assert_eq!(run(&latin, None, "您好世界", Cell::Missing).0, Err(Dropped::OtherScript));
    let check = rules("[[checks]]\nname = \"c\"\nrequire = \"n < 5\"\n[[columns]]\nname = \"n\"\nrole = \"feature\"\ntype = \"integer\"\n");
    assert_eq!(run(&check, None, "hello", Cell::Integer(5)).0, Err(Dropped::FailedCheck));
    // Nothing is left of a text of invisible characters.
    assert_eq!(run(&check, None, "\u{200b}", Cell::Integer(1)).0, Err(Dropped::MissingValue));
}

#[test]
fn dates_become_rfc_3339_and_stay_so() {
    let rules = column("type = \"date\"\ndate_formats = [\"%Y-%m-%d %H:%M\", \"%Y年%m月%d日\", \"%d/%m/%Y\"]\nutc_offset_minutes = 480");
    for (given, expected) in [
        ("2025-03-01 08:30", "2025-03-01T08:30:00+08:00"),
        ("2024年02月29日", "2024-02-29T00:00:00+08:00"),
        ("31/12/2025", "2025-12-31T00:00:00+08:00"),
        ("2025-03-01T08:30:00-05:30", "2025-03-01T08:30:00-05:30"),
    ] {
        let (done, row, _) = run(&rules, None, "hello", Cell::Text(given.into()));
        assert_eq!(done, Ok(()), "{given}");
        assert_eq!(row[2].text(), Some(expected));
        let again = run(&rules, None, "hello", row[2].clone());
        assert_eq!(again.1[2].text(), Some(expected), "a clean date is clean");
    }
    for wrong in ["2025-02-30 08:30", "yesterday", "2023年02月29日"] {
        assert_eq!(run(&rules, None, "hello", Cell::Text(wrong.into())).0, Err(Dropped::BadDate), "{wrong}");
    }
}

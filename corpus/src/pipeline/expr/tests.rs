use proptest::prelude::*;

use super::*;
use crate::pipeline::rules::Rules;
use crate::pipeline::rules::tests::minimal;

const COLUMNS: &str = "[[columns]]\nname = \"amount\"\nrole = \"feature\"\ntype = \"number\"\nnullable = true\nmissing = \"keep\"\n\
    [[columns]]\nname = \"paid\"\nrole = \"feature\"\ntype = \"boolean\"\n";

fn columns() -> Vec<Column> {
    Rules::parse(&minimal(false, COLUMNS)).unwrap().columns
}

fn row(text: &str, amount: Option<f64>, paid: bool) -> Vec<Cell> {
    vec![Cell::Text(text.into()), Cell::Text("a".into()), amount.map_or(Cell::Missing, Cell::Number), Cell::Boolean(paid)]
}

fn passes(expr: &str, row: &[Cell]) -> bool {
    Expr::parse(expr, &columns()).unwrap().passes(row)
}

#[test]
fn comparisons_bind_as_people_read_them() {
    let row = row("hello", Some(7.0), true);
    for (expr, expected) in [
        ("amount > 5", true),
        ("amount + 1 * 2 == 9", true),
        ("(amount + 1) * 2 == 16", true),
        ("amount - 2 - 1 == 4", true),
        ("-amount < 0", true),
        ("amount / 2 == 3.5", true),
        ("label == 'a' and paid", true),
        ("label != 'a' or not paid", false),
        ("false or true and false", false),
        ("not (amount >= 8)", true),
        ("len(text) == 5", true),
        ("missing(amount)", false),
        ("text >= 'hello' and text <= 'hello'", true),
    ] {
        assert_eq!(passes(expr, &row), expected, "{expr}");
    }
}

#[test]
fn unknown_passes_unless_the_other_side_decides() {
    let row = row("x", None, false);
    for (expr, expected) in [
        ("amount > 5", true),
        ("not (amount > 5)", true),
        ("amount > 5 and paid", false),
        ("paid and amount > 5", false),
        ("amount > 5 or paid", true),
        ("missing(amount) and not paid", true),
        ("not missing(amount)", false),
    ] {
        assert_eq!(passes(expr, &row), expected, "{expr}");
    }
}

#[test]
fn mistakes_are_found_when_the_file_is_read() {
    let error = |expr: &str| Expr::parse(expr, &columns()).err().unwrap();
    assert!(matches!(error("amount"), ExprError::Types { .. }));
    assert!(matches!(error("amount > 'x'"), ExprError::Types { .. }));
    assert!(matches!(error("text + 1 > 2"), ExprError::Types { .. }));
    assert!(matches!(error("len(amount) > 2"), ExprError::Types { .. }));
    assert!(matches!(error("not amount"), ExprError::Types { .. }));
    assert!(matches!(error("nothing > 2"), ExprError::NoColumn { .. }));
    for expr in ["", "amount >", "(amount > 1", "amount > 1)", "amount > 1 2", "label == 'a", "amount > 1.2.3", "len(text", "> 1"] {
        assert!(matches!(error(expr), ExprError::Syntax { .. } | ExprError::Types { .. }), "{expr}");
    }
    assert_eq!(error(&format!("{}paid{}", "(".repeat(99), ")".repeat(99))), ExprError::TooDeep);
    assert_eq!(error(&format!("{}paid", "not ".repeat(99))), ExprError::TooDeep);
    assert_eq!(error(&vec!["paid"; 99].join(" and ")), ExprError::TooDeep);
    assert!(matches!(error(&" ".repeat(5000)), ExprError::TooLong { got: 5000 }));
}

proptest! {
    #[test]
    fn no_text_harms_the_parser(text in "(amount|paid|text|len|missing|and|or|not|true|[()<>=!+*/'. -]|[0-9]|验){0,24}") {
        if let Ok(expr) = Expr::parse(&text, &columns()) {
            expr.passes(&row("x", Some(1.0), true));
            expr.passes(&row("x", None, true));
            expr.passes(&[]);
        }
    }
}

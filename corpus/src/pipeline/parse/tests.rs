use super::*;
use crate::pipeline::rules::Rules;
use crate::pipeline::rules::tests::minimal;

fn columns() -> Vec<Column> {
    let more = "[[columns]]\nname = \"n\"\nrole = \"feature\"\ntype = \"integer\"\nnull_words = [\"-\"]\n\
        [[columns]]\nname = \"x\"\nrole = \"feature\"\ntype = \"number\"\n[[columns]]\nname = \"b\"\nrole = \"feature\"\ntype = \"boolean\"\n";
    Rules::parse(&minimal(false, more)).unwrap().columns
}

fn read(line: &str) -> Result<Vec<Cell>, RowFault> {
    json(line.as_bytes(), &columns())
}

#[test]
fn values_take_the_types_of_their_columns() {
    let row = read(r#"{"text":"t\u00e9","other":{"deep":[1,2]},"label":7,"n":"12","x":3,"b":"yes"}"#).unwrap();
    assert!(row == [Cell::Text("té".into()), Cell::Text("7".into()), Cell::Integer(12), Cell::Number(3.0), Cell::Boolean(true)]);
    let row = read(r#"{"text":" ","label":null,"n":"-","x":-1.5e3}"#).unwrap();
    assert!(row == [Cell::Missing, Cell::Missing, Cell::Missing, Cell::Number(-1500.0), Cell::Missing]);
    // An id of 64 bits keeps its end.
    assert!(read(r#"{"label":18446744073709551615}"#).unwrap()[1] == Cell::Text("18446744073709551615".into()));
}

#[test]
fn faults_name_columns_and_never_values() {
    for (line, reason) in [
        ("{\"text\":\"CANARY", Dropped::Malformed),
        ("[\"CANARY\"]", Dropped::Malformed),
        ("\"CANARY\"", Dropped::Malformed),
        ("CANARY", Dropped::Malformed),
        ("{\"text\":\"CANARY\"} CANARY", Dropped::Malformed),
        ("{\"text\":\"CANARY\",\"text\":\"CANARY\"}", Dropped::Malformed),
        ("{\"n\":\"CANARY\"}", Dropped::WrongType),
        ("{\"n\":1.5,\"text\":\"CANARY\"}", Dropped::WrongType),
        ("{\"text\":[\"CANARY\"]}", Dropped::WrongType),
        ("{\"b\":\"CANARY\"}", Dropped::WrongType),
        ("{\"x\":\"NaN\",\"text\":\"CANARY\"}", Dropped::WrongType),
    ] {
        let fault = read(line).unwrap_err();
        assert_eq!(fault.reason(), reason, "{line}: {fault}");
        assert!(!format!("{fault} {fault:?}").contains("CANARY"), "{fault}");
    }
    assert_eq!(json(b"{\"text\":\"\xff\"}", &columns()), Err(RowFault::Encoding));
    let deep = |name: &str| format!("{}1{}", format!("{{\"{name}\":").repeat(3000), "}".repeat(3000));
    assert_eq!(read(&deep("text")).unwrap_err().reason(), Dropped::WrongType, "nesting costs no stack");
    assert!(read(&deep("other")).is_ok());
}

#[test]
fn fields_follow_their_header() {
    let columns = columns();
    let places = [Some(1), None, Some(0)];
    let row = fields([&b"a"[..], b"skipped", b"hello"].into_iter(), &places, &columns).unwrap();
    assert!(row[0] == Cell::Text("hello".into()) && row[1] == Cell::Text("a".into()) && row[2].is_missing());
    let short = fields([&b"a"[..]].into_iter(), &places, &columns);
    assert_eq!(short, Err(RowFault::FieldCount { got: 1, expected: 3 }));
}

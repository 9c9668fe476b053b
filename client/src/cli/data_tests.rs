use super::*;

#[test]
fn every_failure_of_a_preparation_has_its_exit_code() {
    let shown = |error: PrepareError| format!("{:?}", failure(&error));
    let line = PrepareError::BadRow { input: 1, line: 2, source: corpus::pipeline::RowFault::Encoding };
    assert!(shown(line).contains("exit: 1"));
    assert!(shown(PrepareError::TooManyLabels).contains("exit: 2"));
    assert!(shown(PrepareError::Damaged).contains("exit: 5"));
}

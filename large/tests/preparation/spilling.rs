//! A log that does not fit into the memory of the engine.

use std::fmt::Write as _;

use uditsr::data::Prepare;

use crate::assert_equal;
use crate::options::Numbers;

#[test]
fn a_log_larger_than_memory_is_spilled_and_prepared_to_the_same_bits() {
    const ROWS: u64 = 650_000;
    const MEMORY: usize = 32 << 20;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("events.csv");
    let mut numbers = Numbers(5);
    let mut text = String::from("user,item,time,query\n");
    for row in 0..ROWS {
        let user = numbers.below(ROWS / 5);
        let item = numbers.below(200) * numbers.below(200);
        let _ = write!(text, "customer-number-{user},product-{item},{},", 1_600_000_000 + row);
        if numbers.below(3) == 0 {
            let _ = write!(text, "word{} word{}", numbers.below(3000), numbers.below(3000));
        }
        text.push('\n');
    }
    assert!(text.len() > MEMORY, "{}", text.len());
    std::fs::write(&log, text).unwrap();
    let (report, spilled) = assert_equal(&Prepare::new([log]), MEMORY, "a large log");
    assert_eq!(report.rows.read as u64, ROWS);
    assert!(report.split.test.total() > 1000, "{:?}", report.split);
    assert!(spilled > MEMORY / 4, "{spilled} bytes were spilled");
}

//! The pickle machine on arbitrary bytes, and every accessor on every value that comes out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trefoil_core::pickle::Pickle;

fuzz_target!(|bytes: &[u8]| {
    let Ok(pickle) = Pickle::read(bytes, &|module, _| !module.starts_with("os")) else { return };
    assert!(pickle.length() <= bytes.len());
    for value in pickle.values() {
        let _ = (value.kind(), value.as_usize(), value.as_float(), value.as_str(), value.as_bytes());
        let _ = (value.call(), value.state(), value.keywords(), value.persistent(), value.get("a"));
        let _ = value.items().map(Iterator::count);
        let _ = value.entries().map(Iterator::count);
    }
});

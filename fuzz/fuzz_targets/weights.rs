//! Weight files of every format: opening, and reading each tensor that a file then offers.
#![no_main]

use std::cell::RefCell;
use std::io::{Seek as _, Write as _};

use libfuzzer_sys::fuzz_target;
use tempfile::NamedTempFile;
use trefoil_core::weights::{Storage, WeightFile};

thread_local! {
    static FILE: RefCell<NamedTempFile> = RefCell::new(NamedTempFile::new().expect("a place for files"));
}

fuzz_target!(|bytes: &[u8]| {
    FILE.with_borrow_mut(|file| {
        file.as_file().set_len(0).expect("a writable file");
        file.rewind().expect("a writable file");
        file.write_all(bytes).expect("a writable file");
        let Ok(weights) = WeightFile::open(file.path()) else { return };
        for (_, tensor) in weights.tensors() {
            assert!(tensor.elements() <= bytes.len());
            let _ = (tensor.read(), tensor.read_f64(), tensor.read_integers());
            for storage in Storage::ALL {
                let _ = tensor.read_as(storage).map(|data| data.iter::<f32>().count());
            }
        }
    });
});

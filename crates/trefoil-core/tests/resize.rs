//! Resampling against Pillow (`reference/resize.py` makes the fixture).

use std::path::Path;

use trefoil_core::image::{Filter, Picture};
use trefoil_core::weights::WeightFile;

fn picture(file: &WeightFile, name: &str) -> Picture {
    let (values, shape) = file.get_integers(name).unwrap();
    let pixels = values.into_iter().map(|v| u8::try_from(v).unwrap()).collect();
    Picture::new(shape[1] as u32, shape[0] as u32, pixels).unwrap()
}

#[test]
fn lanczos_and_bicubic_equal_pillow() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/resize.safetensors");
    let file = WeightFile::open(&path).unwrap();
    let mut compared = 0;
    for name in file.names().unwrap() {
        let Some((source, filter, size)) = split(&name) else { continue };
        let expected = picture(&file, &name);
        let found = picture(&file, source).resize(size.1, size.0, filter).unwrap();
        let worst = expected
            .pixels()
            .iter()
            .zip(found.pixels())
            .map(|(a, b)| a.abs_diff(*b))
            .max()
            .unwrap();
        // The library rounds its coefficients to fewer bits than Pillow: one level, two on white noise.
        let allowed = if source == "random" { 2 } else { 1 };
        assert!(worst <= allowed, "{name}: off by {worst}");
        compared += 1;
    }
    assert_eq!(compared, 32);
}

/// `source.filter.HxW`
fn split(name: &str) -> Option<(&str, Filter, (u32, u32))> {
    let mut parts = name.split('.');
    let (source, filter, size) = (parts.next()?, parts.next()?, parts.next()?);
    let filter = if filter == "lanczos" { Filter::Lanczos3 } else { Filter::Bicubic };
    let (h, w) = size.split_once('x')?;
    Some((source, filter, (h.parse().ok()?, w.parse().ok()?)))
}

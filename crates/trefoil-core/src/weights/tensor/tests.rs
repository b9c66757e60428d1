use super::read::PART;
use super::*;

/// A file with the numbers 0, 1, ... as f32.
fn numbers(count: usize) -> (tempfile::TempDir, Arc<MappedFile>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("numbers");
    let bytes: Vec<u8> = (0..count).flat_map(|i| (i as f32).to_le_bytes()).collect();
    std::fs::write(&path, bytes).unwrap();
    let file = MappedFile::open(&path).unwrap();
    (dir, Arc::new(file))
}

fn view(
    file: &Arc<MappedFile>,
    start: usize,
    shape: &[usize],
    strides: &[usize],
) -> Result<StoredTensor, String> {
    let bytes = 0..file.bytes().len();
    let file = Arc::clone(file);
    StoredTensor::new(file, Element::F32, bytes, 4 * start, shape.into(), strides.into())
}

fn values(tensor: &StoredTensor) -> Vec<f32> {
    let data = tensor.read().unwrap();
    assert_eq!(data.shape().to_vec(), tensor.shape());
    data.iter::<f32>().collect()
}

#[test]
fn views_are_read_in_the_order_of_their_shape() {
    let (_dir, file) = numbers(24);
    let all = view(&file, 0, &[2, 3, 4], &[12, 4, 1]).unwrap();
    assert_eq!(values(&all), (0..24).map(|i| i as f32).collect::<Vec<_>>());
    let matrix = view(&file, 2, &[2, 3], &[4, 1]).unwrap();
    assert_eq!(values(&matrix), [2.0, 3.0, 4.0, 6.0, 7.0, 8.0]);
    let turned = matrix.transposed().unwrap();
    assert_eq!(turned.shape(), [3, 2]);
    assert_eq!(values(&turned), [2.0, 6.0, 3.0, 7.0, 4.0, 8.0]);
    assert_eq!(values(&turned.rows(1..3).unwrap()), [3.0, 7.0, 4.0, 8.0]);
    let stacked = StoredTensor::stack(&[matrix.clone(), matrix.rows(1..2).unwrap()]).unwrap();
    assert_eq!(stacked.shape(), [3, 3]);
    assert_eq!(values(&stacked), [2.0, 3.0, 4.0, 6.0, 7.0, 8.0, 6.0, 7.0, 8.0]);
    assert_eq!(values(&stacked.rows(1..3).unwrap()), [6.0, 7.0, 8.0, 6.0, 7.0, 8.0]);
    assert!(StoredTensor::stack(&[matrix.clone(), turned]).is_none());
    assert_eq!(matrix.with_axes(4).unwrap().shape(), [2, 3, 1, 1]);
    assert_eq!(values(&matrix.with_axes(4).unwrap().with_axes(2).unwrap()), values(&matrix));
    assert!(matrix.with_axes(1).is_none() && matrix.rows(1..3).is_none());
    assert_eq!(values(&view(&file, 23, &[], &[]).unwrap()), [23.0]);
    assert_eq!(values(&view(&file, 0, &[0, 5], &[5, 1]).unwrap()), [0.0; 0]);
}

#[test]
fn views_outside_of_their_storage_are_refused() {
    let (_dir, file) = numbers(24);
    for (start, shape, strides) in [
        (0, &[25][..], &[1][..]),
        (1, &[24], &[1]),
        (0, &[2, 3], &[22, 1]),
        (0, &[usize::MAX, 2], &[1, 1]),
        (0, &[2, 2], &[usize::MAX, 1]),
        (0, &[1 << 40], &[0]),
        (30, &[1], &[1]),
        (0, &[2], &[1, 1]),
    ] {
        assert!(view(&file, start, shape, strides).is_err(), "{start} {shape:?} {strides:?}");
    }
    let file = || Arc::clone(&file);
    assert!(StoredTensor::contiguous(file(), Element::F32, 90..100, vec![1]).is_err());
    assert!(StoredTensor::contiguous(file(), Element::F64, 88..96, vec![1]).is_ok());
}

#[test]
fn large_tensors_are_read_in_blocks() {
    let count = 3 * PART / 4 + 5;
    let (_dir, file) = numbers(count);
    let values = values(&view(&file, 1, &[count - 1], &[1]).unwrap());
    assert!(values.iter().enumerate().all(|(i, v)| *v == (i + 1) as f32));
}

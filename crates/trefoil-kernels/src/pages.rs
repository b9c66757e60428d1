//! Memory straight from the system, as long as what it holds.

use burn::tensor::{AllocationProperty, Bytes, Element};
use bytemuck::Pod;
use memmap2::{MmapMut, MmapOptions};

/// Below this many bytes, what is left of the last page would count.
const SMALL: usize = 1 << 18;

/// Numbers that live as long as a model, in pages of their own: an allocator rounds up what is as large as a weight, to
/// large pages in the end, and over the weights of a model that adds up.
#[derive(Debug)]
pub struct Pages<T>(Room<T>);

#[derive(Debug)]
enum Room<T> {
    Mapped(MmapMut),
    /// Not worth a page of its own, or the system gives none.
    Allocated(Vec<T>),
}

impl<T: Element + Pod> Pages<T> {
    /// So many zeros.
    pub fn zeros(count: usize) -> Self {
        let length = count.saturating_mul(size_of::<T>());
        let map = (length >= SMALL).then(|| MmapOptions::new().len(length).map_anon().ok());
        let Some(map) = map.flatten() else {
            return Self(Room::Allocated(vec![T::zeroed(); count]));
        };
        // Large pages where they fit in: fewer faults now, fewer misses later. It works without them too.
        #[cfg(target_os = "linux")]
        drop(map.advise(memmap2::Advice::HugePage));
        Self(Room::Mapped(map))
    }

    /// All of them.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        match &mut self.0 {
            Room::Mapped(map) => bytemuck::cast_slice_mut(map),
            Room::Allocated(numbers) => numbers,
        }
    }

    /// What a tensor is made of, which is copied before it is changed.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Room::Mapped(map) => {
                Bytes::from_shared(bytes::Bytes::from_owner(map), AllocationProperty::Other)
            }
            Room::Allocated(numbers) => Bytes::from_elems(numbers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_in_the_bytes() {
        for count in [0, 1, 1000, SMALL / 2 - 1, SMALL / 2, SMALL / 2 + 4097] {
            let mut pages = Pages::<u16>::zeros(count);
            let numbers = pages.as_mut_slice();
            assert_eq!(numbers.len(), count);
            assert!(numbers.iter().all(|&n| n == 0));
            for (i, number) in numbers.iter_mut().enumerate() {
                *number = i as u16;
            }
            let bytes = pages.into_bytes();
            let expected: Vec<u8> = (0..count).flat_map(|i| (i as u16).to_ne_bytes()).collect();
            assert_eq!(&bytes[..], expected);
        }
    }
}

//! A file in the address space of the process: read when it is looked at, given back when it is done with.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a file, mapped read-only.
///
/// As with every mapping, the file must not be shortened while it is open: the system answers an access beyond
/// its end with a signal.
#[derive(Debug)]
pub struct MappedFile {
    /// Absent for an empty file, which cannot be mapped.
    map: Option<Mmap>,
}

impl MappedFile {
    /// Maps a whole file.
    ///
    /// # Errors
    /// Those of opening and mapping; a folder is an error too.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if metadata.len() == 0 {
            return Ok(Self { map: None });
        }
        // SAFETY: the mapping is read-only and lives as long as `self`, which hands out only borrowed bytes. That
        // another process changes a weight file under us cannot be excluded by any means of the system; weight
        // files are written once, and replaced by renaming, which leaves the mapped file as it was.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { map: Some(map) })
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// Asks the system for these bytes at once instead of page by page when they are looked at.
    pub fn fetch(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        if let Some(map) = &self.map
            && range.start < range.end
            && range.end <= map.len()
        {
            let length = range.end - range.start;
            // Where the system cannot, the pages come one by one.
            drop(map.advise_range(memmap2::Advice::PopulateRead, range.start, length));
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }

    /// Tells the system that these bytes are done with, so that they no longer count as memory of this process;
    /// a later access reads them again.
    pub fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some(map) = &self.map
            && range.start < range.end
            && range.end <= map.len()
        {
            let length = range.end - range.start;
            // SAFETY: the advice drops pages of a read-only mapping of a file. Their content is the file's, so an
            // access after this, also through a slice that exists now, finds the same bytes again.
            let dropped = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, length)
            };
            // Memory that is held a little longer is no reason to stop.
            drop(dropped);
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_file_also_after_a_release() {
        let path = std::env::temp_dir().join(format!("trefoil-mapped-{}", std::process::id()));
        let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = MappedFile::open(&path).unwrap();
        file.fetch(7..99_999);
        assert_eq!(file.bytes(), content);
        file.release(10..90_000);
        let (first, last) = (50, 20);
        file.release(first..last);
        file.release(0..1_000_000);
        assert_eq!(file.bytes(), content);
        std::fs::write(&path, []).unwrap();
        assert!(MappedFile::open(&path).unwrap().bytes().is_empty());
        std::fs::remove_file(&path).unwrap();
        assert!(MappedFile::open(&path).is_err());
        assert!(MappedFile::open(&std::env::temp_dir()).is_err());
    }
}

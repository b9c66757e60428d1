//! Tar archives, plain or compressed, read as a stream.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Largest entry that is read, in bytes: a bound against decompression bombs.
const MAX_ENTRY: u64 = 256 << 20;

/// Whether a file name is that of an archive that [`for_each`] reads.
pub(super) fn is_archive(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_ascii_lowercase();
    [".tar", ".tar.gz", ".tgz", ".tar.zst"].iter().any(|ending| name.ends_with(ending))
}

/// Hands each regular file whose name `wanted` accepts to `visit`, in the order of the archive.
pub(super) fn for_each(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
    mut visit: impl FnMut(String, Vec<u8>),
) -> io::Result<()> {
    let file = BufReader::new(File::open(path)?);
    let name = path.to_string_lossy().to_ascii_lowercase();
    let stream: Box<dyn Read> = if name.ends_with("gz") {
        Box::new(flate2::bufread::MultiGzDecoder::new(file))
    } else if name.ends_with("zst") {
        Box::new(zstd::stream::read::Decoder::with_buffer(file)?)
    } else {
        Box::new(file)
    };
    let mut archive = tar::Archive::new(stream);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path()?.to_string_lossy().into_owned();
        if !wanted(&name) {
            continue;
        }
        let size = entry.size();
        if size > MAX_ENTRY {
            return Err(io::Error::other(format!(
                "`{name}` has {size} bytes, more than {MAX_ENTRY}"
            )));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        entry.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            let reason = format!("`{name}` is cut off after {} of {size} bytes", bytes.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        visit(name, bytes);
    }
    Ok(())
}

//! Files of a log: found, opened, decompressed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// Endings of archives, of which the first file is read.
const ARCHIVES: [&str; 4] = [".tgz", ".tar.gz", ".tar.zst", ".tar"];
/// Endings of compressed files, which are no part of a file's name for us, nor are those above.
const COMPRESSED: [&str; 3] = [".gz", ".zst", ".zstd"];

/// One file of a log.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    pub(crate) path: PathBuf,
    /// Name without folder and without the ending of a compression.
    pub(crate) name: String,
}

impl LogFile {
    pub(crate) fn new(path: &Path) -> Self {
        let name = base_name(path);
        let mut endings = ARCHIVES.iter().chain(&COMPRESSED);
        let stem = endings.find_map(|ending| name.strip_suffix(ending));
        Self { path: path.into(), name: stem.unwrap_or(&name).to_owned() }
    }

    /// Name without folder.
    pub(crate) fn base_name(&self) -> String {
        base_name(&self.path)
    }

    /// Ending of the name in lower case, without the dot.
    pub(crate) fn extension(&self) -> String {
        self.name.rsplit_once('.').map_or(String::new(), |(_, ending)| ending.to_lowercase())
    }

    /// Opens it; what is compressed, by its first bytes, is decompressed, and what is an archive,
    /// by its name, is its first file.
    pub(crate) fn open(&self) -> Result<Box<dyn BufRead>> {
        let content = self.decompressed()?;
        let name = self.base_name();
        if ARCHIVES.iter().any(|ending| name.ends_with(ending)) {
            return first_file(content).map_err(|source| self.unreadable(source));
        }
        Ok(content)
    }

    fn decompressed(&self) -> Result<Box<dyn BufRead>> {
        let fail = |source| self.unreadable(source);
        let mut raw = BufReader::with_capacity(1 << 18, File::open(&self.path).map_err(fail)?);
        let start = raw.fill_buf().map_err(fail)?;
        if start.starts_with(&[0x1f, 0x8b]) {
            return Ok(Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(raw))));
        }
        if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let decoder = zstd::stream::read::Decoder::with_buffer(raw).map_err(fail)?;
            return Ok(Box::new(BufReader::with_capacity(1 << 18, decoder)));
        }
        Ok(Box::new(raw))
    }

    /// Size in bytes and SHA-256 of the file as it lies there.
    pub(crate) fn fingerprint(&self) -> Result<(u64, String)> {
        let mut file = File::open(&self.path).map_err(|source| self.unreadable(source))?;
        let mut hash = Sha256::new();
        let mut size = 0;
        let mut buffer = vec![0; 1 << 18];
        loop {
            match file.read(&mut buffer).map_err(|source| self.unreadable(source))? {
                0 => return Ok((size, hex(&hash.finalize()))),
                n => {
                    hash.update(&buffer[..n]);
                    size += n as u64;
                }
            }
        }
    }

    /// The error of this file.
    pub(crate) fn unreadable(&self, source: std::io::Error) -> Error {
        Error::Read { path: self.path.clone(), source }
    }

    /// The error of this file's content.
    pub(crate) fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::format(&self.path, reason)
    }
}

/// The first file of a tar archive (POSIX.1, `ustar`).
fn first_file(mut archive: Box<dyn BufRead>) -> std::io::Result<Box<dyn BufRead>> {
    const BLOCK: usize = 512;
    let malformed = |reason: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, reason);
    loop {
        let mut header = [0; BLOCK];
        archive.read_exact(&mut header)?;
        if header == [0; BLOCK] {
            return Err(malformed("an archive without a file"));
        }
        if !header[257..].starts_with(b"ustar") {
            return Err(malformed("expected a tar archive"));
        }
        let digits = String::from_utf8_lossy(&header[124..136]);
        let size = u64::from_str_radix(digits.trim_matches(['\0', ' ']), 8)
            .map_err(|_| malformed("expected the size of a file in an archive"))?;
        let is_file = matches!(header[156], b'0' | 0) && !header.starts_with(b"._");
        if is_file {
            return Ok(Box::new(archive.take(size)));
        }
        let padded = size.next_multiple_of(BLOCK as u64);
        std::io::copy(&mut archive.by_ref().take(padded), &mut std::io::sink())?;
    }
}

fn base_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The files that the arguments name: files themselves, and of folders those that `wants` takes,
/// by name.
pub(crate) fn expand(paths: &[PathBuf], wants: impl Fn(&LogFile) -> bool) -> Result<Vec<LogFile>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(LogFile::new(path));
            continue;
        }
        let fail = |source| Error::Read { path: path.clone(), source };
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path).map_err(fail)? {
            entries.push(entry.map_err(fail)?.path());
        }
        entries.sort();
        let found: Vec<LogFile> =
            entries.iter().map(|p| LogFile::new(p)).filter(|file| wants(file)).collect();
        if found.is_empty() {
            return Err(Error::format(path, "no file of this format in the folder"));
        }
        files.extend(found);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn compressed_files_read_as_their_content() {
        let dir = tempfile::tempdir().unwrap();
        let text = "user,item\nu1,i1\n".repeat(1000);
        let gz = dir.path().join("log.csv.gz");
        let mut out = flate2::write::GzEncoder::new(
            File::create(&gz).unwrap(),
            flate2::Compression::default(),
        );
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap();
        let zst = dir.path().join("log.csv.zst");
        std::fs::write(&zst, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
        for path in [gz, zst] {
            let file = LogFile::new(&path);
            assert_eq!((file.name.as_str(), file.extension().as_str()), ("log.csv", "csv"));
            let mut read = String::new();
            file.open().unwrap().read_to_string(&mut read).unwrap();
            assert_eq!(read, text);
        }
        let folder = [dir.path().to_path_buf()];
        assert_eq!(expand(&folder, |f| f.extension() == "csv").unwrap().len(), 2);
        assert!(
            expand(&folder, |_| false).unwrap_err().to_string().contains("no file of this format")
        );
    }

    #[test]
    fn an_archive_is_its_first_file() {
        // A note without content, as some programs put before each file, and a file of 1000 bytes.
        let header = |name: &str, kind: u8, size: usize| {
            let mut block = [0; 512];
            block[..name.len()].copy_from_slice(name.as_bytes());
            block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
            block[156] = kind;
            block[257..263].copy_from_slice(b"ustar\0");
            block
        };
        let text = "user,item\n".repeat(100);
        let mut bytes = header("note", b'x', 600).to_vec();
        bytes.extend([b'-'; 1024]);
        bytes.extend(header("log.csv", b'0', text.len()));
        bytes.extend(text.bytes());
        bytes.extend([0; 1048]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.tar.zst");
        std::fs::write(&path, zstd::encode_all(bytes.as_slice(), 1).unwrap()).unwrap();
        let file = LogFile::new(&path);
        assert_eq!(file.name, "log");
        let mut read = String::new();
        file.open().unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, text);
        std::fs::write(&path, text.repeat(9)).unwrap();
        let error = file.open().map(|_| ()).unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("tar archive"));
    }

    #[test]
    fn fingerprints_are_sha_256() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        // `printf abc | sha256sum`
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(LogFile::new(&path).fingerprint().unwrap(), (3, expected.into()));
    }
}

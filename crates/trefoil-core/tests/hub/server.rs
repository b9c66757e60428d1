//! A small server that speaks the Hub's routes, with a second one where it keeps large files.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest as _, Sha256};

/// The commit of every revision.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) token: Option<String>,
}

/// A file of the repository.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Kept by the second server under the name of its SHA-256.
    pub(crate) is_large: bool,
}

impl Stored {
    pub(crate) fn sha256(&self) -> String {
        Sha256::digest(&self.bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn etag(&self) -> String {
        if self.is_large { self.sha256() } else { self.sha256()[..40].to_string() }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// The token without which nothing is given.
    pub(crate) token: Option<String>,
    /// Connections that end after so many bytes of a large file, one after another.
    pub(crate) cuts: Vec<usize>,
    /// Requests for files that are answered by 503 first.
    pub(crate) busy: usize,
    /// Whether ranges are not understood: the whole file comes.
    pub(crate) no_ranges: bool,
    /// Whether a byte of large files is wrong.
    pub(crate) spoiled: bool,
}

/// Both servers, until the process ends.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    log: Arc<Mutex<Vec<Request>>>,
    faults: Arc<Mutex<Faults>>,
}

impl Server {
    /// The repository `o/n`, which was called `o/old`, with these files.
    pub(crate) fn start(files: Vec<Stored>, faults: Faults) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let faults = Arc::new(Mutex::new(faults));
        let files = Arc::new(files);
        let store = listen(&log, &faults, &files, Arc::new(store));
        let endpoint = listen(&log, &faults, &files, Arc::new(move |r, f, s| hub(r, f, s, &store)));
        Self { endpoint, log, faults }
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// What goes wrong from now on.
    pub(crate) fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }
}

type Respond = dyn Fn(&Request, &mut Faults, &[Stored]) -> Reply + Send + Sync;

/// Status and headers, the body, and after how many bytes the connection ends.
struct Reply {
    head: String,
    body: Vec<u8>,
    cut: Option<usize>,
}

fn reply(head: impl Into<String>, body: &[u8]) -> Reply {
    Reply { head: head.into(), body: body.to_vec(), cut: None }
}

fn listen(
    log: &Arc<Mutex<Vec<Request>>>,
    faults: &Arc<Mutex<Faults>>,
    files: &Arc<Vec<Stored>>,
    respond: Arc<Respond>,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (log, faults, files) = (log.clone(), faults.clone(), files.clone());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Some(request) = read(&stream) else { continue };
            log.lock().unwrap().push(request.clone());
            let reply = respond(&request, &mut faults.lock().unwrap(), &files);
            let length = reply.body.len();
            let head = format!(
                "HTTP/1.1 {}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
                reply.head
            );
            let _ = stream.write_all(head.as_bytes());
            if request.method != "HEAD" {
                let _ = stream.write_all(&reply.body[..reply.cut.unwrap_or(length).min(length)]);
            }
        }
    });
    address
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ').map(String::from);
    let (method, path) = (words.next()?, words.next()?);
    let mut request = Request { method, path, range: None, token: None };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        match name.to_lowercase().as_str() {
            "range" => request.range = Some(value.trim().into()),
            "authorization" => request.token = Some(value.trim().into()),
            _ => {}
        }
    }
    Some(request)
}

/// The Hub itself.
fn hub(request: &Request, faults: &mut Faults, files: &[Stored], store: &str) -> Reply {
    let expected = faults.token.as_ref().map(|token| format!("Bearer {token}"));
    if expected.is_some() && request.token != expected {
        return reply(
            "401 Unauthorized\r\nX-Error-Message: Access to this model is restricted.",
            b"",
        );
    }
    if let Some(rest) = request.path.strip_prefix("/o/old/") {
        return reply(format!("307 Temporary Redirect\r\nLocation: /o/n/{rest}"), b"");
    }
    if let Some(revision) = request.path.strip_prefix("/api/models/o/n/revision/") {
        if !["main", "v1", "refs%2Fpr%2F1", COMMIT].contains(&revision) {
            return reply("404 Not Found\r\nX-Error-Message: Invalid rev id", b"");
        }
        let names = files.iter().map(|f| format!(r#"{{"rfilename":"{}"}}"#, f.name));
        let names = names.collect::<Vec<_>>().join(",");
        let body = format!(r#"{{"id":"o/n","sha":"{COMMIT}","siblings":[{names}]}}"#);
        return reply("200 OK\r\nContent-Type: application/json", body.as_bytes());
    }
    let name = request.path.strip_prefix(&format!("/o/n/resolve/{COMMIT}/"));
    let Some(file) = files.iter().find(|f| name == Some(&f.name)) else {
        return reply("404 Not Found\r\nX-Error-Message: Entry not found", b"");
    };
    if faults.busy > 0 {
        faults.busy -= 1;
        return reply("503 Service Unavailable", b"");
    }
    if file.is_large {
        let (sha, size) = (file.sha256(), file.bytes.len());
        let location = format!("Location: {store}/{sha}");
        return reply(
            format!(
                "302 Found\r\n{location}\r\nX-Linked-Etag: \"{sha}\"\r\nX-Linked-Size: {size}\r\nETag: \"x\""
            ),
            b"moved",
        );
    }
    reply(format!("200 OK\r\nETag: W/\"{}\"", file.etag()), &file.bytes)
}

/// Where large files are.
fn store(request: &Request, faults: &mut Faults, files: &[Stored]) -> Reply {
    let Some(file) = files.iter().find(|f| request.path == format!("/{}", f.sha256())) else {
        return reply("404 Not Found", b"");
    };
    let mut bytes = file.bytes.clone();
    if faults.spoiled {
        bytes[0] ^= 1;
    }
    let start = request.range.as_ref().filter(|_| !faults.no_ranges);
    let start = start
        .map(|r| r.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse::<usize>().unwrap());
    let cut = (!faults.cuts.is_empty()).then(|| faults.cuts.remove(0));
    let total = bytes.len();
    let mut reply = match start {
        Some(start) if start >= total => return reply("416 Range Not Satisfiable", b""),
        Some(start) => {
            let range = format!("Content-Range: bytes {start}-{}/{total}", total - 1);
            reply(format!("206 Partial Content\r\n{range}"), &bytes[start..])
        }
        None => reply("200 OK", &bytes),
    };
    reply.cut = cut;
    reply
}

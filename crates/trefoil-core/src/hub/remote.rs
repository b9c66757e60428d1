//! Requests to the Hub: what a revision holds, what a file is, and its bytes from a place on.

use std::io::Read;
use std::path::Path;
use std::time::Duration;
use std::{env, thread};

use serde::Deserialize;
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::{HubId, set};
use crate::error::{Error, Result};

const ENDPOINT: &str = "https://huggingface.co";
/// A server that says nothing for this long is as good as gone.
const SILENCE: Duration = Duration::from_secs(30);
const REDIRECTS: usize = 5;
/// Attempts in a row that bring nothing.
const ATTEMPTS: u32 = 5;

/// A server that speaks the routes of huggingface.co.
#[derive(Debug, Clone)]
pub struct Hub {
    endpoint: String,
    token: Option<String>,
    pause: Duration,
    agent: Agent,
}

/// The commit that a revision names, and its files.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    pub(super) sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    pub(super) fn files(&self) -> Vec<&str> {
        self.siblings.iter().map(|file| file.rfilename.as_str()).collect()
    }
}

/// What the Hub says about a file without sending it.
#[derive(Debug)]
pub(super) struct Facts {
    /// The name of its content: SHA-256 of large files, another hash of small ones.
    pub(super) etag: String,
    pub(super) size: Option<u64>,
}

/// The bytes of a file from a place on.
pub(super) struct Part {
    /// The place; zero when the server sends the whole file, whatever was asked.
    pub(super) start: u64,
    pub(super) bytes: Box<dyn Read>,
}

impl Hub {
    /// The server of `HF_ENDPOINT`, else huggingface.co, with the token of `HF_TOKEN`, of the file `HF_TOKEN_PATH`, or
    /// of `HF_HOME/token`, where `hf auth login` puts it.
    pub fn of_user() -> Self {
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        let implicit = !super::is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN");
        let of_file = || {
            let path = set("HF_TOKEN_PATH").map(Into::into);
            let path = path.or_else(|| super::home().map(|home| home.join("token")))?;
            std::fs::read_to_string(path).ok()
        };
        let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).or_else(of_file);
        Self::at(&endpoint, token.filter(|_| implicit))
    }

    /// The server at an address, with a token or without.
    pub fn at(endpoint: &str, token: Option<String>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("trefoil/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let token = token.map(|token| token.trim().to_string()).filter(|token| !token.is_empty());
        let endpoint = endpoint.trim_end_matches('/').to_string();
        Self { endpoint, token, pause: Duration::from_secs(1), agent }
    }

    /// Waits this long before the second attempt, twice as long before the third, and so on; a second by default.
    #[must_use]
    pub fn with_pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// The commit and the files of a revision.
    pub(super) fn list(&self, id: &HubId) -> Result<Listing> {
        let revision = encode(id.revision(), false);
        let url =
            format!("{}/api/models/{}/{}/revision/{revision}", self.endpoint, id.owner, id.name);
        self.retry(|| {
            let mut reply = self.request(&url, None)?;
            expect(&url, &reply, &[StatusCode::OK])?;
            let text = reply.body_mut().read_to_string().map_err(|e| broken(&url, e))?;
            let format = |e: serde_json::Error| Failure::Final(hub(&url, e.to_string()));
            serde_json::from_str(&text).map_err(format)
        })
    }

    /// Content and size of a file of a commit.
    pub(super) fn facts(&self, id: &HubId, commit: &str, file: &str) -> Result<Facts> {
        let url = self.url(id, commit, file);
        self.retry(|| {
            let reply = self.head(&url)?;
            let text = |name: &str| reply.headers().get(name).and_then(|v| v.to_str().ok());
            let etag = text("x-linked-etag").or_else(|| text("etag")).unwrap_or_default();
            let etag = etag.trim_start_matches("W/").trim_matches('"');
            let is_name = |etag: &str| {
                !etag.is_empty() && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            if !is_name(etag) {
                return Err(Failure::Final(hub(&url, format!("expected an ETag, found `{etag}`"))));
            }
            let own = text("content-length").filter(|_| !reply.status().is_redirection());
            let size = text("x-linked-size").or(own);
            Ok(Facts { etag: etag.into(), size: size.and_then(|size| size.parse().ok()) })
        })
    }

    /// The bytes of a file from `start` on; nothing when there are none.
    pub(super) fn read(
        &self,
        id: &HubId,
        (commit, file): (&str, &str),
        start: u64,
    ) -> Result<Option<Part>, Failure> {
        let url = self.url(id, commit, file);
        let reply = self.request(&url, (start > 0).then_some(start))?;
        let whole = |reply: Response<Body>, start| {
            Some(Part { start, bytes: Box::new(reply.into_body().into_reader()) })
        };
        match reply.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(None),
            StatusCode::PARTIAL_CONTENT => {
                // "bytes 10-19/20"
                let range = reply.headers().get(header::CONTENT_RANGE);
                let range = range.and_then(|value| value.to_str().ok()).unwrap_or_default();
                let first = range.strip_prefix("bytes ").and_then(|range| range.split_once('-'));
                if first.and_then(|(first, _)| first.parse().ok()) == Some(start) {
                    return Ok(whole(reply, start));
                }
                let reason = format!("expected bytes from {start} on, found `{range}`");
                Err(Failure::Final(hub(&url, reason)))
            }
            _ => {
                expect(&url, &reply, &[StatusCode::OK])?;
                Ok(whole(reply, 0))
            }
        }
    }

    /// Tries until it works, fails for good, or brings nothing several times in a row.
    pub(super) fn retry<T>(&self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T> {
        let mut idle = 0;
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Broken { progress: true, .. }) => idle = 0,
                Err(Failure::Broken { error, .. }) if idle + 1 == ATTEMPTS => return Err(error),
                Err(Failure::Broken { .. }) => idle += 1,
            }
            thread::sleep(self.pause * (1 << idle));
        }
    }

    fn url(&self, id: &HubId, commit: &str, file: &str) -> String {
        format!(
            "{}/{}/{}/resolve/{commit}/{}",
            self.endpoint,
            id.owner,
            id.name,
            encode(file, true)
        )
    }

    /// A file's headers. Where large files are kept elsewhere, those of the Hub count, so only its own redirects are
    /// followed.
    fn head(&self, url: &str) -> Result<Response<()>, Failure> {
        let mut at = url.to_string();
        for _ in 0..REDIRECTS {
            let mut request = self.agent.head(&at);
            if let Some(token) = &self.token {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let reply = request.call().map_err(|e| broken(url, e))?;
            match location(&reply) {
                Some(to) if to.starts_with('/') => at = format!("{}{to}", origin(&self.endpoint)),
                found => {
                    if found.is_none() {
                        expect(url, &reply, &[StatusCode::OK])?;
                    }
                    return Ok(reply.map(|_| ()));
                }
            }
        }
        Err(Failure::Final(hub(url, format!("more than {REDIRECTS} redirects"))))
    }

    /// Follows redirects; the token goes to the Hub alone, never to where it keeps its files.
    fn request(&self, url: &str, start: Option<u64>) -> Result<Response<Body>, Failure> {
        let mut at = url.to_string();
        for _ in 0..=REDIRECTS {
            let mut request = self.agent.get(&at);
            if let Some(token) =
                self.token.as_ref().filter(|_| origin(&at) == origin(&self.endpoint))
            {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            if let Some(start) = start {
                request = request.header(header::RANGE, format!("bytes={start}-"));
            }
            let reply = request.call().map_err(|e| broken(url, e))?;
            match location(&reply) {
                Some(to) if to.starts_with('/') => at = format!("{}{to}", origin(&at)),
                Some(to) => at = to,
                None => return Ok(reply),
            }
        }
        Err(Failure::Final(hub(url, format!("more than {REDIRECTS} redirects"))))
    }
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// For good.
    Final(Error),
    /// The connection or the server broke down; trying again may help, all the more after some progress.
    Broken {
        /// What to say when nothing helps.
        error: Error,
        /// Whether bytes were won.
        progress: bool,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

fn hub(url: &str, reason: impl Into<String>) -> Error {
    Error::Hub { url: url.into(), reason: reason.into() }
}

fn broken(url: &str, error: ureq::Error) -> Failure {
    let error = hub(url, error.to_string());
    Failure::Broken { error, progress: false }
}

/// Where a reply points to.
fn location(reply: &Response<Body>) -> Option<String> {
    let to = reply.headers().get(header::LOCATION)?.to_str().ok()?;
    reply.status().is_redirection().then(|| to.to_string())
}

fn expect<T>(url: &str, reply: &Response<T>, expected: &[StatusCode]) -> Result<(), Failure> {
    let status = reply.status();
    if expected.contains(&status) {
        return Ok(());
    }
    let said = reply.headers().get("x-error-message").and_then(|v| v.to_str().ok());
    let said = said.map_or_else(String::new, |said| format!(": {said}"));
    let error = hub(url, format!("the server answers {status}{said}"));
    let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    Err(if again { Failure::Broken { error, progress: false } } else { Failure::Final(error) })
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |at| &url[..host + at])
}

/// Percent-encoding of a part of an address; slashes stay where they separate folders.
fn encode(text: &str, keep_slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (keep_slashes && byte == b'/')
        {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend(
                [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[digit as usize])),
            );
        }
    }
    out
}

/// Whether a name of the server may become a path in a folder of ours.
pub(super) fn is_safe(file: &str) -> bool {
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    !file.is_empty()
        && !file.contains('\\')
        && !file.contains(':')
        && Path::new(file).components().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_escaped() {
        assert_eq!(origin("http://127.0.0.1:80/a/b"), "http://127.0.0.1:80");
        assert_eq!(origin("https://huggingface.co"), "https://huggingface.co");
        assert_eq!(encode("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(encode("unet/a b#ä.json", true), "unet/a%20b%23%C3%A4.json");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        assert!(is_safe("unet/config.json") && is_safe("a..b"));
        for file in ["", "/etc/passwd", "../x", "a/../../x", "a\\b", "C:x"] {
            assert!(!is_safe(file), "{file}");
        }
    }
}

//! Mixed traffic on a server that is running: times, errors, memory, and whether every accepted event is there.
//!
//! ```sh
//! trefoil serve --rate 0 --state /tmp/load &
//! cargo run --release --package trefoil-server --example load -- 127.0.0.1:8080 600
//! ```
//!
//! One client draws all the time, one makes jobs, two search and recommend, one sends events. Exit code 1: something
//! else than 200, 202 and 429 was answered, or an event is lost.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Between two requests of a client that searches or sends events: what a person's page does.
const PAUSE: Duration = Duration::from_millis(20);
const WORDS: [&str; 8] = ["music", "fruit", "sea", "cat face", "sport", "red", "tool", "guitar"];
const ITEMS: [&str; 6] = ["1F3B8", "1F3B9", "1F34E", "1F680", "1F431", "1F412"];

/// A connection that is kept.
struct Client {
    address: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    fn new(address: &str) -> Self {
        Self { address: address.into(), stream: None }
    }

    /// Status and body; status 0 when the connection broke.
    fn send(&mut self, method: &str, path: &str, body: &Value) -> (u16, Vec<u8>) {
        self.try_send(method, path, body).unwrap_or_else(|_| {
            self.stream = None;
            (0, Vec::new())
        })
    }

    fn try_send(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> std::io::Result<(u16, Vec<u8>)> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(150)))?;
            self.stream = Some(BufReader::new(stream));
        }
        let Some(reader) = &mut self.stream else { return Ok((0, Vec::new())) };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        reader.get_mut().write_all(head.as_bytes())?;
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok((status, body))
    }
}

/// What was measured.
#[derive(Default)]
struct Report {
    /// Seconds of each kind of request.
    times: BTreeMap<&'static str, Vec<f64>>,
    /// Answers by kind and status.
    statuses: BTreeMap<(&'static str, u16), usize>,
    /// Ids of accepted events.
    accepted: Vec<String>,
    /// Seconds since the beginning, and resident bytes.
    memory: Vec<(f64, f64)>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let [_, address, seconds] = &args[..] else {
        eprintln!("usage: load ADDRESS:PORT SECONDS");
        return ExitCode::from(2);
    };
    let Ok(seconds) = seconds.parse::<u64>() else {
        eprintln!("expected a number of seconds");
        return ExitCode::from(2);
    };
    let report = Mutex::new(Report::default());
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let ask = |kind: &'static str, client: &mut Client, path: &str, body: &Value| {
        let clock = Instant::now();
        let (status, answer) = client.send("POST", path, body);
        let time = clock.elapsed().as_secs_f64();
        let mut report = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *report.statuses.entry((kind, status)).or_default() += 1;
        if status == 200 || status == 202 {
            report.times.entry(kind).or_default().push(time);
        }
        (status, answer)
    };
    std::thread::scope(|scope| {
        let until = |mut work: Box<dyn FnMut(usize) + Send>| {
            move || {
                let mut n = 0;
                while Instant::now() < end {
                    work(n);
                    n += 1;
                }
            }
        };
        for who in 0..2 {
            let mut client = Client::new(address);
            scope.spawn(until(Box::new(move |n| {
                let user = format!("user-{}", (n * 7 + who) % 500);
                let word = WORDS[n % WORDS.len()];
                if n % 2 == 0 {
                    ask(
                        "search",
                        &mut client,
                        "/v1/search",
                        &json!({ "query": word, "user": user }),
                    );
                } else {
                    ask("recommend", &mut client, "/v1/recommend", &json!({ "user": user }));
                }
                std::thread::sleep(PAUSE);
            })));
        }
        let mut client = Client::new(address);
        scope.spawn(until(Box::new(move |n| {
            let request = json!({ "prompt": WORDS[n % WORDS.len()], "seed": n, "n": 1 + n % 3 });
            ask("draw", &mut client, "/v1/images/generations", &request);
        })));
        let mut client = Client::new(address);
        scope.spawn(until(Box::new(move |n| {
            let request = json!({ "prompt": WORDS[n % WORDS.len()], "seed": n });
            ask(
                "job",
                &mut client,
                "/v1/jobs",
                &json!({ "task": "generations", "request": request }),
            );
            std::thread::sleep(50 * PAUSE);
        })));
        let mut client = Client::new(address);
        let report = &report;
        scope.spawn(until(Box::new(move |n| {
            let id = format!("load-{}-{n}", std::process::id());
            let event = json!({ "id": id, "user": format!("user-{}", n % 500), "item": ITEMS[n % ITEMS.len()] });
            let (status, _) = ask("event", &mut client, "/v1/events", &event);
            if status == 200 {
                report.lock().unwrap_or_else(std::sync::PoisonError::into_inner).accepted.push(id);
            }
            std::thread::sleep(PAUSE);
        })));
        let mut client = Client::new(address);
        scope.spawn(until(Box::new(move |_| {
            let (_, text) = client.send("GET", "/metrics", &Value::Null);
            let text = String::from_utf8_lossy(&text).into_owned();
            let line =
                text.lines().find_map(|l| l.strip_prefix("trefoil_process_resident_memory_bytes "));
            if let Some(bytes) = line.and_then(|bytes| bytes.parse::<f64>().ok()) {
                let at = begin.elapsed().as_secs_f64();
                report
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .memory
                    .push((at, bytes));
            }
            std::thread::sleep(Duration::from_secs(1));
        })));
    });
    let report = report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    print(report, address)
}

fn print(mut report: Report, address: &str) -> ExitCode {
    println!("| request | answers | median | p99 | worst |\n|---|---|---|---|---|");
    for (kind, times) in &mut report.times {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| 1e3 * times[((times.len() - 1) as f64 * share) as usize];
        println!(
            "| {kind} | {} | {:.1} ms | {:.1} ms | {:.1} ms |",
            times.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    let mut is_good = true;
    for ((kind, status), count) in &report.statuses {
        if ![200, 202].contains(status) {
            println!("{kind}: {count} answers {status}");
            is_good &= *status == 429;
        }
    }
    // The first part warms caches up.
    let late = &report.memory[report.memory.len() / 4..];
    let n = late.len().max(1) as f64;
    let mean = |part: fn(&(f64, f64)) -> f64| late.iter().map(part).sum::<f64>() / n;
    let (time, bytes) = (mean(|m| m.0), mean(|m| m.1));
    let covariance: f64 = late.iter().map(|m| (m.0 - time) * (m.1 - bytes)).sum();
    let variance: f64 = late.iter().map(|m| (m.0 - time).powi(2)).sum();
    let slope = 60.0 * covariance / variance.max(1e-9) / f64::from(1 << 20);
    println!(
        "memory: {:.0} MiB, {slope:+.2} MiB per minute in the last three quarters",
        bytes / f64::from(1 << 20)
    );
    println!("MiB, highest of each minute: {}", by_minute(&report.memory).join(" "));
    let mut client = Client::new(address);
    let lost = report.accepted.iter().filter(|id| {
        let again = json!({ "id": id, "user": "user-0", "item": ITEMS[0] });
        let (_, answer) = client.send("POST", "/v1/events", &again);
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        answer["events"][0]["is_duplicate"] != true
    });
    let lost = lost.count();
    println!("events: {} accepted, {lost} lost", report.accepted.len());
    if is_good && lost == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn by_minute(memory: &[(f64, f64)]) -> Vec<String> {
    let mut highest = BTreeMap::<u64, f64>::new();
    for (second, bytes) in memory {
        let minute = highest.entry((second / 60.0) as u64).or_default();
        *minute = minute.max(bytes / f64::from(1 << 20));
    }
    highest.values().map(|most| format!("{most:.0}")).collect()
}

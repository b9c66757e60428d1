//! The tables in PostgreSQL, for several servers.
//!
//! One table of SQL holds them all, ordered by bytes. Whoever writes holds an advisory lock until the end of the
//! transaction, as the one writer of the embedded database does; so numbers of changes are visible in their order, and
//! a server that follows them misses none.

mod tls;

use std::time::Duration;

use ::postgres::{Client, Config, GenericClient, IsolationLevel};
use parking_lot::Mutex;
use tokio_postgres_rustls::MakeRustlsConnect;

use self::tls::Wanted;

use super::{Backend, Pair, Result, StoreError, Table, Transaction, Visit};
use crate::error::chain;

/// Key of the advisory lock: "trefoil" as a number.
const LOCK: i64 = 0x74_7265_666f_696c;
/// Connections that are kept open.
const IDLE: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time until what was sent must have been received.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);
/// Set for each connection: somebody who holds a lock for longer makes requests fail, not wait for ever.
const SETTINGS: &str = "set lock_timeout = '3s'";
/// Pairs of a snapshot that are fetched at once.
const PAGE: usize = 1000;

/// Tables and views; `trefoil_events` is for people and their reports.
const SCHEMA: &str = "
create table if not exists trefoil (
    name text not null,
    key bytea not null,
    value bytea not null,
    primary key (name, key)
);
create or replace view trefoil_events as
    select ('x' || encode(key, 'hex'))::bit(64)::bigint as number,
           convert_from(value, 'UTF8')::json -> 'event' as event
    from trefoil
    where name = 'log' and (convert_from(value, 'UTF8')::json -> 'event') is not null;
";

/// Connections to a database.
pub struct Postgres {
    config: Config,
    tls: MakeRustlsConnect,
    place: String,
    idle: Mutex<Vec<Client>>,
}

/// What the server of the database says, and not only that it said something.
fn unavailable(error: ::postgres::Error) -> StoreError {
    let message = error.as_db_error().map_or_else(|| chain(&error), |e| e.message().to_owned());
    StoreError::Unavailable(message)
}

impl Postgres {
    /// Connects to `postgres://USER:PASSWORD@HOST:PORT/NAME`, and makes the tables where they are not there. The
    /// parameters `sslmode` and `sslrootcert` mean what they do to other programs: by default a connection is encrypted
    /// where the database offers it, and `verify-full` makes sure of whom one talks to.
    ///
    /// # Errors
    /// [`StoreError::Open`].
    pub fn open(address: &str) -> Result<Self> {
        let shown = address.rsplit_once('@').map_or(address, |(_, rest)| rest);
        let shown = shown.split_once('?').map_or(shown, |(place, _)| place);
        let place = format!("postgres://{}", shown.trim_start_matches("postgres://"));
        let fail = |reason: String| StoreError::Open { place: place.clone(), reason };
        let (wanted, address) = Wanted::take(address).map_err(fail)?;
        let tls = wanted.connector().map_err(fail)?;
        let mut config: Config = address.parse().map_err(|e: ::postgres::Error| fail(chain(&e)))?;
        config.connect_timeout(CONNECT_TIMEOUT).keepalives_idle(Duration::from_secs(30));
        config.tcp_user_timeout(UNACKNOWLEDGED).application_name("trefoil");
        config.ssl_mode(wanted.mode);
        let store = Self { config, tls, place: place.clone(), idle: Mutex::default() };
        let mut client = store.connect().map_err(|error| fail(error.to_string()))?;
        // Two servers that start together would both make the table. These statements are one transaction, and the
        // lock is held to its end: the second server must see what the first has made.
        let schema = format!("select pg_advisory_xact_lock({LOCK}); {SCHEMA}");
        client.batch_execute(&schema).map_err(|e| fail(unavailable(e).to_string()))?;
        store.idle.lock().push(client);
        Ok(store)
    }

    fn connect(&self) -> Result<Client> {
        let mut client = self.config.connect(self.tls.clone()).map_err(unavailable)?;
        client.batch_execute(SETTINGS).map_err(unavailable)?;
        Ok(client)
    }

    /// Runs `work` on a connection. One that was lost while it waited is replaced, once.
    fn with<T>(&self, work: &mut dyn FnMut(&mut Client) -> Result<T>) -> Result<T> {
        let waiting = self.idle.lock().pop();
        let was_waiting = waiting.is_some();
        let mut client = match waiting {
            Some(client) => client,
            None => self.connect()?,
        };
        let mut result = work(&mut client);
        if was_waiting && result.is_err() && client.is_closed() {
            client = self.connect()?;
            result = work(&mut client);
        }
        if !client.is_closed() {
            let mut idle = self.idle.lock();
            if idle.len() < IDLE {
                idle.push(client);
            }
        }
        result
    }
}

fn pairs(rows: Vec<::postgres::Row>) -> Vec<Pair> {
    rows.into_iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Values in the order of their keys, in one question.
fn values(
    client: &mut impl GenericClient,
    table: Table,
    keys: &[Vec<u8>],
) -> Result<Vec<Option<Vec<u8>>>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "select value from unnest($2::bytea[]) with ordinality as asked(wanted, place) \
               left join trefoil on name = $1 and key = wanted order by place";
    let rows = client.query(sql, &[&table.name(), &keys]).map_err(unavailable)?;
    Ok(rows.into_iter().map(|row| row.get(0)).collect())
}

const SCAN: &str = "select key, value from trefoil where name = $1 and key >= $2 and key < $3 order by key limit $4";

impl Backend for Postgres {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.with(&mut |client| {
            let sql = "select value from trefoil where name = $1 and key = $2";
            let row = client.query_opt(sql, &[&table.name(), &key]).map_err(unavailable)?;
            Ok(row.map(|row| row.get(0)))
        })
    }

    fn get_many(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        self.with(&mut |client| values(client, table, keys))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.with(&mut |client| {
            let rows = client.query(SCAN, &[&table.name(), &from, &to, &limit]);
            rows.map(pairs).map_err(unavailable)
        })
    }

    fn write(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        self.with(&mut |client| {
            let mut transaction = client.transaction().map_err(unavailable)?;
            transaction
                .execute("select pg_advisory_xact_lock($1)", &[&LOCK])
                .map_err(unavailable)?;
            let mut writing = Writing(transaction);
            work(&mut writing)?;
            writing.0.commit().map_err(unavailable)
        })
    }

    fn snapshot(&self, visit: Visit<'_>) -> Result<()> {
        self.with(&mut |client| {
            let builder = client.build_transaction().read_only(true);
            let builder = builder.isolation_level(IsolationLevel::RepeatableRead);
            let mut transaction = builder.start().map_err(unavailable)?;
            for &table in Table::ALL {
                let mut from = Vec::new();
                loop {
                    let sql = "select key, value from trefoil where name = $1 and key >= $2 order by key limit $3";
                    let limit = PAGE as i64;
                    let rows = transaction.query(sql, &[&table.name(), &from, &limit]);
                    let page = pairs(rows.map_err(unavailable)?);
                    for (key, value) in &page {
                        visit(table, key, value)?;
                    }
                    match page.last() {
                        Some((key, _)) if page.len() == PAGE => {
                            from.clone_from(key);
                            from.push(0);
                        }
                        _ => break,
                    }
                }
            }
            Ok(())
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn place(&self) -> &str {
        &self.place
    }
}

struct Writing<'a>(::postgres::Transaction<'a>);

impl Transaction for Writing<'_> {
    fn get_many(&mut self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        values(&mut self.0, table, keys)
    }

    fn scan(&mut self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.0.query(SCAN, &[&table.name(), &from, &to, &limit]);
        rows.map(pairs).map_err(unavailable)
    }

    fn put_many(&mut self, table: Table, pairs: &[Pair]) -> Result<()> {
        // One statement cannot set the same key twice; the last value counts.
        let last: std::collections::BTreeMap<&[u8], &[u8]> =
            pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
        let (keys, values): (Vec<&[u8]>, Vec<&[u8]>) = last.into_iter().unzip();
        if keys.is_empty() {
            return Ok(());
        }
        let sql = "insert into trefoil (name, key, value) \
                   select $1, k, v from unnest($2::bytea[], $3::bytea[]) as pairs(k, v) \
                   on conflict (name, key) do update set value = excluded.value";
        self.0.execute(sql, &[&table.name(), &keys, &values]).map_err(unavailable)?;
        Ok(())
    }

    fn delete_many(&mut self, table: Table, keys: &[Vec<u8>]) -> Result<()> {
        if !keys.is_empty() {
            let sql = "delete from trefoil where name = $1 and key = any($2::bytea[])";
            self.0.execute(sql, &[&table.name(), &keys]).map_err(unavailable)?;
        }
        Ok(())
    }
}

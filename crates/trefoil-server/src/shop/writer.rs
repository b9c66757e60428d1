//! The thread that changes things: changes that wait together are one transaction.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};

use parking_lot::RwLock;
use tokio::sync::oneshot;

use super::variant::Variant;
use super::{POLL, Shared};
use crate::error::ApiError;
use crate::store::ledger::{Change, Entry, Ledger};

/// Changes of one transaction.
const MANY: usize = 4096;

/// Where an answer goes.
type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// What the thread is asked to do.
pub(super) enum Command {
    /// Add changes.
    Append { changes: Vec<Change>, reply: Reply<Vec<Entry>> },
    /// Delete the events of a user.
    Erase { user: String, reply: Reply<usize> },
    /// Put a recommender into a slot.
    Install { slot: usize, variant: Box<Variant>, reply: Reply<()> },
    /// Read what other servers wrote.
    Follow { reply: Reply<()> },
}

/// The thread's side.
pub(super) struct Writer {
    shared: Arc<Shared>,
    ledger: Ledger,
    commands: mpsc::Receiver<Command>,
}

impl Writer {
    /// Starts the thread; it ends when nobody can send commands any more.
    pub(super) fn start(
        shared: Arc<Shared>,
        ledger: Ledger,
        is_shared: bool,
    ) -> std::io::Result<mpsc::Sender<Command>> {
        let (sender, commands) = mpsc::channel();
        let writer = Self { shared, ledger, commands };
        std::thread::Builder::new().name("writer".into()).spawn(move || writer.run(is_shared))?;
        Ok(sender)
    }

    fn run(&self, is_shared: bool) {
        loop {
            let command = if is_shared {
                match self.commands.recv_timeout(POLL) {
                    Err(RecvTimeoutError::Timeout) => {
                        if let Err(error) = self.follow() {
                            tracing::warn!("cannot follow the changes of other servers: {error}");
                        }
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                    Ok(command) => command,
                }
            } else {
                match self.commands.recv() {
                    Err(_) => return,
                    Ok(command) => command,
                }
            };
            let mut appends = Vec::new();
            let mut other = None;
            match command {
                Command::Append { changes, reply } => {
                    let mut count = changes.len();
                    appends.push((changes, reply));
                    while count < MANY && other.is_none() {
                        match self.commands.try_recv() {
                            Ok(Command::Append { changes, reply }) => {
                                count += changes.len();
                                appends.push((changes, reply));
                            }
                            Ok(command) => other = Some(command),
                            Err(_) => break,
                        }
                    }
                }
                command => other = Some(command),
            }
            if !appends.is_empty() {
                self.append(appends);
            }
            if let Some(other) = other {
                self.other(other);
            }
        }
    }

    fn append(&self, appends: Vec<(Vec<Change>, Reply<Vec<Entry>>)>) {
        let (changes, replies): (Vec<_>, Vec<_>) = appends.into_iter().unzip();
        let lengths: Vec<usize> = changes.iter().map(Vec::len).collect();
        let result = self.ledger.append(&changes.concat()).map_err(ApiError::from);
        // What is durable is acknowledged, even if it could not be read again: the next change tries once more.
        if result.is_ok()
            && let Err(error) = self.follow()
        {
            tracing::warn!("cannot read the changes that were just written: {error}");
        }
        match result {
            Ok(mut entries) => {
                for (length, reply) in lengths.into_iter().zip(replies) {
                    let rest = entries.split_off(length);
                    let _ = reply.send(Ok(std::mem::replace(&mut entries, rest)));
                }
            }
            Err(error) => replies.into_iter().for_each(|reply| {
                let _ = reply.send(Err(error.clone()));
            }),
        }
    }

    fn other(&self, command: Command) {
        // Whoever has left needs no reply.
        match command {
            Command::Append { changes, reply } => self.append(vec![(changes, reply)]),
            Command::Erase { user, reply } => {
                let count = self.ledger.erase_user(&user).map_err(ApiError::from);
                let result = count.and_then(|count| self.follow().map(|()| count));
                let _ = reply.send(result);
            }
            Command::Install { slot, variant, reply } => {
                let result = variant.follow(&self.ledger, &self.shared.metrics);
                if result.is_ok() {
                    let slot: &RwLock<Arc<Variant>> = &self.shared.slots[slot];
                    *slot.write() = Arc::new(*variant);
                }
                let _ = reply.send(result);
            }
            Command::Follow { reply } => {
                let _ = reply.send(self.follow());
            }
        }
    }

    fn follow(&self) -> Result<(), ApiError> {
        for slot in &self.shared.slots {
            let variant = Arc::clone(&slot.read());
            variant.follow(&self.ledger, &self.shared.metrics)?;
        }
        Ok(())
    }
}

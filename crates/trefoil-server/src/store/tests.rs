use super::jobs::{Job, JobBook, Status};
use super::ledger::{Change, Entry, Ledger, StoredEvent, hash_user};
use super::*;
use uditsr::data::CatalogueItem;

fn event(id: &str, user: &str, item: &str) -> Change {
    let (id, user, item) = (id.into(), user.into(), item.into());
    Change::Event(StoredEvent { id, user, item, query: String::new(), time: 7 })
}

fn item(id: &str, title: &str) -> Change {
    Change::Item(CatalogueItem { id: id.into(), title: title.into(), ..CatalogueItem::default() })
}

/// What every backend has to do.
fn check(backend: Arc<dyn Backend>) {
    assert_eq!(migrate::migrate(&*backend).unwrap(), 0);
    assert_eq!(migrate::migrate(&*backend).unwrap(), migrate::CURRENT);
    let ledger = Ledger::new(Arc::clone(&backend));
    assert_eq!(ledger.last().unwrap(), 0);
    let changes =
        [event("a", "ann", "x"), event("b", "bob", "x"), event("a", "ann", "y"), item("n", "new")];
    let entry = |number, is_duplicate| Entry { number, is_duplicate };
    let expected = [entry(1, false), entry(2, false), entry(1, true), entry(3, false)];
    assert_eq!(ledger.append(&changes).unwrap(), expected);
    assert_eq!(ledger.append(&changes[..1]).unwrap(), [entry(1, true)]);
    assert_eq!(ledger.append(&changes[3..]).unwrap(), [entry(3, true)], "an item as it was");
    assert_eq!(ledger.append(&[item("n", "newer"), event("c", "ann", "n")]).unwrap()[1].number, 5);
    let log = ledger.read(0, 10).unwrap();
    assert_eq!(log.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(log[1].1, changes[1]);
    assert_eq!(ledger.read(3, 1).unwrap()[0], (4, item("n", "newer")));
    assert_eq!(ledger.item("n").unwrap().unwrap().title, "newer");
    let of_ann: Vec<u64> = ledger.of_user("ann", 10).unwrap().into_iter().map(|(n, _)| n).collect();
    assert_eq!(of_ann, [1, 5]);
    assert_eq!(ledger.of_user("ann", 1).unwrap()[0].1.item, "n");
    assert!(ledger.of_user("an", 10).unwrap().is_empty());

    assert_eq!(ledger.erase_user("ann").unwrap(), 2);
    let log = ledger.read(0, 10).unwrap();
    assert_eq!(log.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3, 4, 6]);
    assert_eq!(log[3].1, Change::UserErased(hash_user("ann")));
    assert!(ledger.of_user("ann", 10).unwrap().is_empty());
    // Nothing in any table has the name any more.
    backend
        .snapshot(&mut |table, key, value| {
            let has = |bytes: &[u8]| bytes.windows(3).any(|window| window == b"ann");
            assert!(!has(key) && !has(value), "{table:?}");
            Ok(())
        })
        .unwrap();

    // A transaction that fails leaves nothing.
    let failed = backend.write(&mut |transaction| {
        transaction.put_many(Table::Meta, &[(b"x".to_vec(), b"y".to_vec())])?;
        Err(StoreError::Damaged("as a test".into()))
    });
    assert!(matches!(failed, Err(StoreError::Damaged(_))));
    assert_eq!(backend.get(Table::Meta, b"x").unwrap(), None);

    ledger.put_picture("n", &[1, 2, 3]).unwrap();
    assert_eq!(ledger.picture("n").unwrap().unwrap(), [1, 2, 3]);
    ledger.append(&[Change::ItemRemoved("n".into())]).unwrap();
    assert_eq!((ledger.item("n").unwrap(), ledger.picture("n").unwrap()), (None, None));

    let jobs = JobBook::new(Arc::clone(&backend));
    let mut job = Job {
        id: "j1".into(),
        owner: "web".into(),
        server: "s".into(),
        task: "generations".into(),
        request: serde_json::json!({"prompt": "a cat"}),
        status: Status::Queued,
        created: 5,
        ended: None,
        error: None,
    };
    jobs.put(&job, None).unwrap();
    (job.status, job.ended) = (Status::Succeeded, Some(6));
    jobs.put(&job, Some(b"{}")).unwrap();
    assert_eq!(jobs.all().unwrap(), [job.clone()]);
    assert_eq!(jobs.result("j1").unwrap().unwrap(), b"{}");

    let file = tempfile::NamedTempFile::new().unwrap();
    let count = dump::write(&*backend, &mut file.as_file()).unwrap();
    let other = Embedded::in_memory().unwrap();
    assert_eq!(dump::restore(&other, file.path()).unwrap(), count);
    let all = |backend: &dyn Backend| {
        let mut all = Vec::new();
        let mut keep = |table, key: &[u8], value: &[u8]| {
            all.push((Table::name(table), key.to_vec(), value.to_vec()));
            Ok(())
        };
        backend.snapshot(&mut keep).unwrap();
        all
    };
    assert_eq!(all(&other), all(&*backend));
    assert!(matches!(dump::restore(&other, file.path()), Err(StoreError::NotEmpty(_))));
    jobs.delete(&["j1".into()]).unwrap();
    assert!(jobs.all().unwrap().is_empty() && jobs.result("j1").unwrap().is_none());
}

#[test]
fn an_embedded_database_keeps_its_promises() {
    check(Arc::new(Embedded::in_memory().unwrap()));
    let folder = tempfile::tempdir().unwrap();
    check(Arc::new(Embedded::open(folder.path()).unwrap()));
    // Another process would find it in use; so does this one.
    let first = Embedded::open(folder.path()).unwrap();
    let second = Embedded::open(folder.path()).err().unwrap();
    assert!(second.to_string().ends_with("it is in use by another process"), "{second}");
    drop(first);
    assert_eq!(Ledger::new(open(folder.path().to_str().unwrap()).unwrap()).last().unwrap(), 7);
}

#[test]
fn damage_is_found_when_the_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(embedded::FILE);
    {
        let backend = open(folder.path().to_str().unwrap()).unwrap();
        let ledger = Ledger::new(backend);
        for n in 0..50 {
            ledger.append(&[event(&format!("event-{n}"), "somebody", "something")]).unwrap();
        }
    }
    let bytes = std::fs::read(&path).unwrap();
    let places: Vec<usize> =
        (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"somebody")).collect();
    assert!(places.len() >= 50, "{}", places.len());
    let mut found = 0;
    for &at in places.iter().step_by(7) {
        let mut changed = bytes.clone();
        changed[at] = b'S';
        std::fs::write(&path, &changed).unwrap();
        match Embedded::open(folder.path()) {
            Err(StoreError::Open { .. }) => found += 1,
            Err(other) => panic!("{other}"),
            // A page that is no longer in use.
            Ok(backend) => {
                let log = Ledger::new(Arc::new(backend)).read(0, 100).unwrap();
                assert_eq!(log.len(), 50);
                let is_whole =
                    |change: &Change| matches!(change, Change::Event(e) if e.user == "somebody");
                assert!(log.iter().all(|(_, change)| is_whole(change)));
            }
        }
    }
    assert!(found > 0);
    for cut in [bytes.len() / 2, 100, 1] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert!(matches!(Embedded::open(folder.path()), Err(StoreError::Open { .. })), "{cut}");
    }
}

#[test]
fn tables_of_an_earlier_version_are_brought_up_and_newer_ones_refused() {
    let backend = Embedded::in_memory().unwrap();
    // As version 1 left them: a log, and no index by user.
    let log: Vec<Pair> = (1..=3u64)
        .map(|n| {
            let change = event(&format!("e{n}"), if n == 2 { "bob" } else { "ann" }, "x");
            (n.to_be_bytes().to_vec(), serde_json::to_vec(&change).unwrap())
        })
        .collect();
    backend
        .write(&mut |transaction| {
            transaction.put_many(Table::Log, &log)?;
            let meta =
                [("version", 1u32.to_be_bytes().to_vec()), ("last", 3u64.to_be_bytes().to_vec())];
            transaction.put_many(Table::Meta, &meta.map(|(key, value)| (key.into(), value)))
        })
        .unwrap();
    assert_eq!(migrate::migrate(&backend).unwrap(), 1);
    let backend: Arc<dyn Backend> = Arc::new(backend);
    let ledger = Ledger::new(Arc::clone(&backend));
    let of_ann: Vec<u64> = ledger.of_user("ann", 10).unwrap().into_iter().map(|(n, _)| n).collect();
    assert_eq!(of_ann, [1, 3]);
    let newer = (migrate::CURRENT + 1).to_be_bytes().to_vec();
    backend
        .write(&mut |t| t.put_many(Table::Meta, &[(b"version".to_vec(), newer.clone())]))
        .unwrap();
    let refused = migrate::migrate(&*backend).unwrap_err();
    assert!(matches!(refused, StoreError::Version { .. }), "{refused}");
}

#[test]
fn a_backup_that_was_cut_or_changed_restores_nothing() {
    let backend: Arc<dyn Backend> = Arc::new(Embedded::in_memory().unwrap());
    migrate::migrate(&*backend).unwrap();
    Ledger::new(Arc::clone(&backend)).append(&[event("a", "ann", "x"), item("n", "new")]).unwrap();
    let mut bytes = Vec::new();
    dump::write(&*backend, &mut bytes).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    for at in 0..bytes.len() {
        for is_cut in [true, false] {
            let mut damaged = bytes.clone();
            if is_cut {
                damaged.truncate(at);
            } else {
                damaged[at] ^= 1;
            }
            std::fs::write(file.path(), damaged).unwrap();
            let target = Embedded::in_memory().unwrap();
            let error = dump::restore(&target, file.path()).unwrap_err();
            assert!(matches!(error, StoreError::File { .. }), "{at}: {error}");
            target.snapshot(&mut |table, _, _| panic!("{table:?}")).unwrap();
        }
    }
}

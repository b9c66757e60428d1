//! Encrypted connections to PostgreSQL.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::database::{Database, in_folder};
use super::process::{Server, program};

/// An authority, and a certificate of it for `localhost`; another authority that nobody asked.
fn certificates(data: &Path) -> Vec<String> {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let request = |args: &[&str]| {
        in_folder(data, "openssl", &[&["req"], &key[..], args].concat());
    };
    for name in ["ca", "other"] {
        let (file, subject) = (format!("{name}.pem"), format!("/CN={name}"));
        let key = format!("{name}.key");
        request(&["-x509", "-keyout", &key, "-out", &file, "-subj", &subject]);
    }
    request(&["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"]);
    let sign = "printf 'subjectAltName=DNS:localhost' > names && openssl x509 -req -in server.csr -CA ca.pem \
                -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt && chmod 600 server.key && \
                chmod 755 . && chmod 644 ca.pem other.pem";
    in_folder(data, "sh", &["-c", sign]);
    // Over the network, encrypted connections with a password only.
    let rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    in_folder(data, "sh", &["-c", &format!("printf '{rules}' > pg_hba.conf")]);
    vec!["ssl=on".into()]
}

#[test]
fn connections_are_encrypted_as_the_address_asks() {
    let Some(database) = Database::start_with(|data| {
        let settings = certificates(data);
        // Files are read by this user, the folder is that of another.
        for name in ["ca.pem", "other.pem"] {
            fs::copy(data.join(name), data.parent().unwrap().join(name)).unwrap();
        }
        in_folder(data, "chmod", &["700", "."]);
        settings
    }) else {
        return;
    };
    database.ask("alter role trefoil password 'the-password'");
    let address = |host: &str, query: &str| {
        let folder = database.folder.path().display();
        let query = query.replace("FOLDER", &folder.to_string());
        format!("postgres://trefoil:the-password@{host}:{}/postgres{query}", database.port)
    };
    let list = |host: &str, query: &str| {
        let args = ["state", "token", "list", "--state", &address(host, query)];
        let output = program().args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (host, query, refusal) in [
        ("127.0.0.1", "", ""),
        ("127.0.0.1", "?sslmode=require", ""),
        ("127.0.0.1", "?sslmode=require&channel_binding=require", ""),
        ("127.0.0.1", "?sslmode=verify-ca&sslrootcert=FOLDER/ca.pem", ""),
        ("localhost", "?sslmode=verify-full&sslrootcert=FOLDER/ca.pem", ""),
        ("127.0.0.1", "?sslmode=disable", "no encryption"),
        ("127.0.0.1", "?sslmode=verify-full&sslrootcert=FOLDER/ca.pem", "not valid for"),
        ("localhost", "?sslmode=verify-full&sslrootcert=FOLDER/other.pem", "UnknownIssuer"),
        ("localhost", "?sslmode=require&sslrootcert=FOLDER/other.pem", "UnknownIssuer"),
        ("localhost", "?sslmode=verify-full", "UnknownIssuer"),
        ("localhost", "?sslmode=verify-full&sslrootcert=FOLDER/none.pem", "none.pem"),
        ("localhost", "?sslmode=sometimes", "found `sometimes`"),
    ] {
        let (code, said) = list(host, query);
        assert_eq!(code, Some(if refusal.is_empty() { 0 } else { 2 }), "{host}{query}: {said}");
        assert!(said.contains(refusal), "{host}{query}: {said}");
        assert!(!said.contains("the-password"), "{said}");
    }
    let server =
        Server::start(&address("localhost", "?sslmode=verify-full&sslrootcert=FOLDER/ca.pem"), &[]);
    server.post("/v1/events", &json!({ "id": "c1", "user": "ann", "item": "1F3B8" })).ok();
    let versions = database.ask(
        "select distinct version from pg_stat_ssl join pg_stat_activity using (pid) \
         where application_name = 'trefoil'",
    );
    assert_eq!(versions, "TLSv1.3");
}

//! The effects and the errors of statements.

use tbtoken_tests::mssql::{Permission, Settings, SqlServer, Value};

use crate::client::{Client, connect, said};

async fn refused(server: &SqlServer, text: &str) -> (u32, String) {
    let mut client = connect(server).await;
    let named = format!("/* tbtokend:test */ {text}");
    let result = match client.simple_query(named).await {
        Ok(stream) => stream.into_results().await.map(|_| ()),
        Err(error) => Err(error),
    };
    let (number, _, text) = said(result.unwrap_err());
    (number, text)
}

fn two_rows() -> SqlServer {
    let server = SqlServer::start();
    server.create("t", &[("id", "int"), ("name", "varchar(5)"), ("at", "datetime")]);
    server.execute("INSERT INTO t VALUES (1, 'one', '2026-11-23 14:00:00'), (2, NULL, NULL)");
    server
}

#[tokio::test]
async fn what_has_no_name_or_is_not_known_is_refused_and_named() {
    let server = two_rows();
    let mut client = connect(&server).await;
    let (number, _, text) = said(client.simple_query("SELECT 1").await.unwrap_err());
    assert!(number == 49_999 && text.contains("SELECT 1"), "{text}");
    for (statement, name) in [
        ("MERGE t USING t", "MERGE"),
        ("SELECT STRING_AGG(name, ',') FROM t", "STRING_AGG"),
        ("SET ROWCOUNT 5", "ROWCOUNT"),
        ("SELECT CAST(1 AS money)", "money"),
    ] {
        let (_, text) = refused(&server, statement).await;
        assert!(text.contains(name), "{statement}: {text}");
    }
    assert_eq!(server.execute("SELECT id FROM t").len(), 2, "nothing was deleted");
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let server = two_rows();
    for (statement, number, name) in [
        ("SELECT id FROM nowhere", 208, "nowhere"),
        ("SELECT id, nothing FROM t WHERE 1 = 0", 207, "nothing"),
        ("UPDATE t SET nothing = 1", 207, "nothing"),
        ("INSERT INTO t (nothing) VALUES (1)", 207, "nothing"),
        ("SELECT @x", 137, "@x"),
    ] {
        let (found, text) = refused(&server, statement).await;
        assert!(found == number && text.contains(name), "{statement}: {found} {text}");
    }
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_repeated_in_the_error() {
    let server = two_rows();
    let (number, text) = refused(&server, "UPDATE t SET name = 'a secret' WHERE id = 1").await;
    assert_eq!(number, 2628);
    assert!(text.contains("Truncated value: 'a secret'"), "{text}");
    let old = SqlServer::with(Settings { is_old: true, ..Settings::default() });
    old.create("t", &[("id", "int"), ("name", "varchar(5)")]);
    let (number, text) = refused(&old, "INSERT INTO t VALUES (1, 'a secret')").await;
    assert!(number == 8152 && !text.contains("secret"), "{number} {text}");
}

#[tokio::test]
async fn what_the_login_may_not_do_is_named() {
    let server = two_rows();
    let t = || "dbo.t".to_owned();
    server.deny(Permission::On("SELECT", t()));
    assert_eq!(refused(&server, "SELECT id FROM t").await.0, 229);
    assert_eq!(refused(&server, "DELETE FROM t WHERE id = 1").await.0, 229, "its condition reads");
    server.allow_everything();
    server.deny(Permission::OnColumn("UPDATE", t(), "name".to_owned()));
    let (number, text) = refused(&server, "UPDATE t SET name = 'x' WHERE id = 1").await;
    assert!(number == 230 && text.contains("'name'"), "{text}");
    assert_eq!(server.execute("SELECT name FROM t WHERE id = 1"), [[Value::text("one")]]);
    server.allow_everything();
    server.deny(Permission::CreateTable);
    assert_eq!(refused(&server, "CREATE TABLE u (x int)").await.0, 262);
    server.allow_everything();
    server.set_read_only(true);
    assert_eq!(refused(&server, "UPDATE t SET name = 'x'").await.0, 3906);
    server.set_read_only(false);
    server.deny(Permission::Everything(t()));
    assert_eq!(refused(&server, "SELECT id FROM t").await.0, 229);
    let mut client = connect(&server).await;
    let seen =
        "/* tbtokend:test */ SELECT COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 't'";
    let rows = client.simple_query(seen).await.unwrap().into_first_result().await.unwrap();
    assert!(rows.is_empty(), "what may not be touched is not even seen");
}

#[test]
fn null_is_neither_equal_nor_unequal() {
    let server = two_rows();
    let ids =
        |condition: &str| server.execute(&format!("SELECT id FROM t WHERE {condition} ORDER BY id")).len();
    assert_eq!(ids("name = 'ONE '"), 1, "case and trailing spaces do not matter");
    assert_eq!(ids("name COLLATE Latin1_General_BIN2 = 'ONE'"), 0);
    assert_eq!(ids("name <> 'one'"), 0);
    assert_eq!(ids("NOT name = 'one'"), 0);
    assert_eq!(ids("name IS NULL OR name = 'one'"), 2);
    assert_eq!(ids("name IN ('two', NULL)"), 0);
    assert_eq!(ids("CASE WHEN name = 'one' THEN 1 ELSE 0 END = 0"), 1);
    assert_eq!(ids("LTRIM(RTRIM(name)) <> ''"), 1);
}

#[test]
fn an_update_says_which_rows_and_all_or_none() {
    let server = two_rows();
    let written = server.execute(
        "UPDATE c SET name = v.name OUTPUT inserted.id, deleted.name, v.n
         FROM t AS c JOIN (VALUES (0, '1', 'uno'), (1, '7', 'sette')) AS v (n, id, name) ON c.id = CAST(v.id AS int)",
    );
    assert_eq!(written, [[Value::Int(1), Value::text("one"), Value::Int(0)]]);
    assert_eq!(server.execute("SELECT name FROM t WHERE id = 1"), [[Value::text("uno")]]);
    let failed = server.try_execute(
        "UPDATE c SET name = v.name FROM t AS c JOIN (VALUES (1, 'un'), (2, 'too long')) AS v (id, name) ON c.id = v.id",
    );
    assert!(failed.unwrap_err().starts_with("2628"));
    assert_eq!(
        server.execute("SELECT name FROM t WHERE id = 1"),
        [[Value::text("uno")]],
        "whole or not at all"
    );
    assert!(server.try_execute("INSERT INTO t (id) VALUES (3), (1)").unwrap_err().starts_with("2627"));
    assert_eq!(server.execute("SELECT id FROM t").len(), 2);
}

#[test]
fn a_transaction_that_fails_leaves_nothing() {
    let server = two_rows();
    let failed = server.try_execute(
        "BEGIN TRANSACTION; DELETE FROM t WHERE id = 2; INSERT INTO t (id) VALUES (1); COMMIT TRANSACTION",
    );
    assert!(failed.unwrap_err().starts_with("2627"));
    assert_eq!(server.execute("SELECT id FROM t").len(), 2);
}

#[test]
fn two_columns_with_different_collations_cannot_be_compared() {
    let server = two_rows();
    server.create("dbo.u", &[("id", "int"), ("name", "varchar(9) COLLATE Greek_CS_AS")]);
    server.execute("INSERT INTO u (id, name) VALUES (1, 'A'), (2, 'b')");
    let join = |condition: &str| server.try_execute(&format!("SELECT u.id FROM t JOIN u ON {condition}"));
    for conflict in [
        "t.name = u.name",
        "CAST(t.name AS nvarchar(9)) = RTRIM(u.name)",
        "t.name COLLATE Greek_CI_AS = u.name COLLATE Greek_CS_AS",
    ] {
        assert!(join(conflict).unwrap_err().starts_with("468"), "{conflict}");
    }
    server.execute("UPDATE t SET name = 'a' WHERE id = 1");
    assert_eq!(join("t.id = u.id AND t.name COLLATE Greek_CI_AS = u.name").unwrap().len(), 1);
    assert_eq!(join("t.id = u.id AND t.name COLLATE DATABASE_DEFAULT = u.name").unwrap().len(), 1);
    assert_eq!(join("t.id = u.id AND t.name = u.name COLLATE Greek_CS_AS").unwrap().len(), 0);
    assert_eq!(join("u.name = 'A' AND t.id = 1").unwrap().len(), 1, "a literal has none");
    assert_eq!(join("u.name = 'a' AND t.id = 1").unwrap().len(), 0);
    let conflict = join("CAST(t.name AS varbinary(9)) = CAST(u.name AS varbinary(9))");
    assert!(conflict.is_ok(), "bytes have none: {conflict:?}");
}

#[test]
fn output_needs_a_table_where_there_is_a_trigger() {
    let server = two_rows();
    server.add_trigger("t");
    let update = "UPDATE c SET name = 'x' OUTPUT inserted.id";
    assert!(server.try_execute(&format!("{update} FROM t AS c")).unwrap_err().starts_with("334"));
    let rows = server.execute(&format!(
        "DECLARE @saved TABLE (n int NOT NULL); {update} INTO @saved FROM t AS c; SELECT n FROM @saved"
    ));
    assert_eq!(rows.len(), 2);
    server.guard_row("t", "2");
    assert!(server.try_execute("UPDATE t SET name = 'y' WHERE id = 2").unwrap_err().starts_with("3609"));
    server.execute("UPDATE t SET name = 'y' WHERE id = 1");
}

/// A third of all values compare wrongly with a `datetime2`, unless that is cast first.
#[test]
fn a_datetime_is_not_what_it_looks_like() {
    let server = SqlServer::start();
    server.create("t", &[("id", "int"), ("at", "datetime")]);
    let mut wrong = 0;
    for milliseconds in 0..100 {
        let written = format!("2026-11-23 14:00:00.{milliseconds:03}");
        server.execute("DELETE FROM t");
        server.execute(&format!("INSERT INTO t VALUES (1, '{written}')"));
        let shown = server.execute("SELECT CAST(at AS datetime2(3)) FROM t")[0][0].to_string();
        let equal = |value: &str| server.execute(&format!("SELECT id FROM t WHERE at = {value}")).len();
        wrong += usize::from(equal(&format!("CAST('{shown}' AS datetime2(3))")) == 0);
        assert_eq!(equal(&format!("CAST('{shown}' AS datetime)")), 1, "{shown}");
    }
    assert!(wrong > 50, "{wrong}");
}

/// Sends a batch and returns the number of its error, or 0.
async fn number_of(client: &mut Client, text: &str) -> u32 {
    let result = match client.simple_query(format!("/* tbtokend:test */ {text}")).await {
        Ok(stream) => stream.into_results().await.map(|_| ()),
        Err(error) => Err(error),
    };
    result.err().map_or(0, |error| said(error).0)
}

/// Without XACT_ABORT, an error ends only its own statement, and the other statements take effect.
#[tokio::test]
async fn only_with_xact_abort_an_error_takes_everything_back() {
    let batch = "BEGIN TRANSACTION; UPDATE t SET name = 'two' WHERE id = 1; \
                 INSERT INTO t (id) VALUES (2); UPDATE t SET name = 'three' WHERE id = 2; COMMIT";
    for (option, names) in
        [("ON", [Value::text("one"), Value::Null]), ("OFF", ["two", "three"].map(Value::text))]
    {
        let server = two_rows();
        let mut client = connect(&server).await;
        assert_eq!(number_of(&mut client, &format!("SET XACT_ABORT {option}; {batch}")).await, 2627);
        let found: Vec<_> = server.execute("SELECT name FROM t").into_iter().flatten().collect();
        assert_eq!(found, names, "{option}");
    }
}

/// A transaction of a batch that ended early holds its locks until the session ends, and is rolled back then.
#[tokio::test]
async fn a_transaction_that_was_left_open_blocks_all_other_sessions() {
    let server = two_rows();
    let mut first = connect(&server).await;
    let batch = "BEGIN TRANSACTION; DELETE FROM t; SELECT x FROM nowhere; COMMIT";
    assert_eq!(number_of(&mut first, batch).await, 208);
    let mut second = connect(&server).await;
    assert_eq!(number_of(&mut second, "SELECT id FROM t").await, 1222);
    assert!(server.try_execute("SELECT id FROM t").unwrap_err().starts_with("1222"));
    drop(first);
    server.until("it is gone", |stats| stats.connections == 1).await;
    assert_eq!(number_of(&mut second, "SELECT id FROM t").await, 0);
    assert_eq!(server.execute("SELECT id FROM t").len(), 2, "nothing was deleted");
}

#[tokio::test]
async fn a_server_can_begin_transactions_by_itself() {
    let server = SqlServer::with(Settings { implicit_transactions: true, ..Settings::default() });
    server.create("t", &[("id", "int")]);
    let mut client = connect(&server).await;
    assert_eq!(number_of(&mut client, "INSERT INTO t (id) VALUES (1)").await, 0);
    assert!(server.try_execute("SELECT id FROM t").is_err(), "it is not committed");
    assert_eq!(
        number_of(&mut client, "COMMIT; SET IMPLICIT_TRANSACTIONS OFF; INSERT INTO t (id) VALUES (2)").await,
        0
    );
    assert_eq!(server.execute("SELECT id FROM t").len(), 2);
}

/// SQL Server 2016 and newer read JSON; older versions do not.
#[test]
fn rows_come_out_of_json() {
    let server = two_rows();
    let select = "SELECT v.id, v.name FROM (SELECT id, REPLACE(name, N'~q', N'\"') AS name \
                  FROM OPENJSON(N'[[1,\"~qa\"],[\"2\",null]]') WITH (id bigint '$[0]', name nvarchar(max) '$[1]') AS j) AS v";
    let rows = [[Value::Int(1), Value::text("\"a")], [Value::Int(2), Value::Null]];
    assert_eq!(server.execute(select), rows);
    assert!(
        server
            .try_execute("SELECT a FROM OPENJSON(N'[[') WITH (a int '$[0]') AS j")
            .unwrap_err()
            .starts_with("13609")
    );
    assert!(
        server
            .try_execute("SELECT a FROM OPENJSON(N'[]') WITH (a int '$.a') AS j")
            .unwrap_err()
            .contains("$.a")
    );
    let old = SqlServer::with(Settings { is_old: true, ..Settings::default() });
    assert!(old.try_execute(select).unwrap_err().starts_with("208"));
    assert_eq!(server.execute("SELECT CONVERT(varbinary(32), N'00ff', 2)"), [[Value::Bytes(vec![0, 255])]]);
}

//! Promise 25: a token is written only into the row that it was obtained for.

use super::*;

const NOW: &str = "2026-11-23T14:00:00Z";

/// Makes a store on a table that `schema` creates.
async fn with_table(schema: &str) -> Place {
    let place = place(&[]).await;
    place.execute(&format!("DROP TABLE customer_settings; {schema}"));
    place
}

/// Reads, for each row with a token: the row's number, its user, and the user that the token was obtained for.
fn tokens(place: &Place, key: &str) -> Vec<(String, String, String)> {
    let sql = format!("SELECT {key}, tb_username, tbtoken FROM customer_settings WHERE tbtoken LIKE 'aa.%'");
    let connection = place.connect();
    let mut statement = connection.prepare(&sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        let token: String = row.get(2)?;
        let key = row.get_ref(0)?.as_i64().map(|key| key.to_string());
        let key = key.unwrap_or_else(|_| row.get_ref(0).unwrap().as_str().unwrap().to_owned());
        Ok((key, row.get(1)?, token.rsplit('.').next().unwrap().to_owned()))
    };
    statement.query_map([], row).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

/// Reads the table and saves a token for each customer. The signature of the token is its user.
async fn save_all(place: &Place) -> Vec<Saved> {
    let table = place.table().await;
    let renewals = table.customers.iter().map(|customer| {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"iat":1000,"exp":10000}"#);
        let token = Token::parse(&format!("aa.{claims}.{}", customer.credentials.username)).unwrap();
        Renewal::new(customer, token, at(NOW), Lifetime::AtMost(TimeDelta::minutes(15)))
    });
    place.save(renewals.collect()).await
}

fn expected(rows: &[(&str, &str)]) -> Vec<(String, String, String)> {
    rows.iter().map(|(key, user)| ((*key).to_owned(), (*user).to_owned(), (*user).to_owned())).collect()
}

const COLUMNS: &str = "tb_username TEXT, tb_password TEXT, tb_url TEXT, tbtoken TEXT, tbtokenexpiry TEXT";

#[tokio::test]
async fn p25_of_rows_with_the_same_id_only_the_first_gets_a_token() {
    for key in ["rowid", "_rowid_", "oid"] {
        let hidden = match key {
            "rowid" => "",
            "_rowid_" => ", rowid TEXT",
            _ => ", rowid TEXT, _rowid_ TEXT",
        };
        let place = with_table(&format!(
            "CREATE TABLE customer_settings (customer_id TEXT, {COLUMNS}{hidden});
             INSERT INTO customer_settings (customer_id, tb_username, tb_password, tb_url, tbtoken, tbtokenexpiry) VALUES
                 ('dup', 'u0', 'p', 'https://tb', NULL, NULL),
                 ('dup', 'u1', 'p', 'https://other', 'foreign', '2027-06-01T00:00:00Z'),
                 ('dup', 'u0', 'p', 'https://tb', NULL, NULL),
                 ('dup', NULL, 'p', 'https://tb', NULL, NULL)"
        ))
        .await;
        assert_eq!(save_all(&place).await, [Saved::Written]);
        assert_eq!(tokens(&place, key), expected(&[("1", "u0")]), "{key}");
        let reported = place.table().await.problems;
        assert!(
            reported.iter().all(|problem| problem.what.contains("occurs more than once")),
            "{reported:?}"
        );
        assert_eq!(reported.len(), 3);
    }
}

#[tokio::test]
async fn p25_ids_that_are_equal_for_the_column_are_different_customers() {
    for (of, ids) in [
        ("TEXT COLLATE NOCASE", ["'acme'", "'ACME'"]),
        ("TEXT COLLATE RTRIM", ["'acme'", "'acme  '"]),
        ("", ["1", "'2'"]),
    ] {
        let composed =
            ", tenant DEFAULT 'x', PRIMARY KEY (tenant, customer_id COLLATE BINARY)) WITHOUT ROWID";
        for end in [")", composed] {
            let place = with_table(&format!(
                "CREATE TABLE customer_settings (customer_id {of}, {COLUMNS}{end};
                 INSERT INTO customer_settings (customer_id, tb_username, tb_password, tb_url) VALUES
                     ({}, 'u0', 'p', 'https://tb'), ({}, 'u1', 'p', 'https://tb')",
                ids[0], ids[1]
            ))
            .await;
            assert_eq!(save_all(&place).await, [Saved::Written, Saved::Written], "{of}");
            let mut found: Vec<_> =
                tokens(&place, "customer_id").into_iter().map(|(_, user, token)| (user, token)).collect();
            found.sort();
            assert_eq!(found, [("u0".into(), "u0".into()), ("u1".into(), "u1".into())], "{of} {end}");
        }
    }
}

/// Ids that print alike are one customer, whose row is the first one.
#[tokio::test]
async fn p25_a_number_and_its_text_are_two_rows() {
    for ids in [["1", "'1'"], ["'1'", "1"], ["1.5", "'1.5'"], ["1", "1.0"]] {
        let place = with_table(&format!(
            "CREATE TABLE customer_settings (customer_id, {COLUMNS});
             INSERT INTO customer_settings (customer_id, tb_username, tb_password, tb_url) VALUES
                 ({}, 'u0', 'p', 'https://tb'), ({}, 'u1', 'p', 'https://tb')",
            ids[0], ids[1]
        ))
        .await;
        assert_eq!(save_all(&place).await, [Saved::Written]);
        assert_eq!(tokens(&place, "rowid"), expected(&[("1", "u0")]), "{ids:?}");
    }
}

#[tokio::test]
async fn p25_a_row_in_the_place_of_the_one_that_was_read_gets_no_token() {
    let place = with_table(&format!("CREATE TABLE customer_settings (customer_id TEXT, {COLUMNS})")).await;
    place.execute("INSERT INTO customer_settings VALUES ('a', 'u', 'p', 'https://tb', NULL, NULL)");
    let renewal = place.renewal("a", NOW).await;
    for changed in ["'b'", "'A'", "'a '"] {
        place.execute(&format!("UPDATE customer_settings SET customer_id = {changed}"));
        assert_eq!(place.save(vec![renewal.clone()]).await, [Saved::Superseded], "{changed}");
    }
    // A new rowid alone, as after VACUUM or REPLACE, does not make it another row.
    place.execute("DELETE FROM customer_settings");
    place.execute(
        "INSERT INTO customer_settings VALUES ('b', 'u', 'p', 'https://tb', NULL, NULL),
         ('a', 'u', 'p', 'https://tb', NULL, NULL)",
    );
    assert_eq!(place.save(vec![renewal]).await, [Saved::Written]);
    assert_eq!(tokens(&place, "customer_id").iter().map(|(id, ..)| id).collect::<Vec<_>>(), ["a"]);
}

/// Only the id names a row of a view.
#[tokio::test]
async fn p25_rows_of_a_view_with_the_same_id_are_left_alone_with_a_reason() {
    let place = with_table(&format!(
        "CREATE TABLE base (customer_id TEXT COLLATE NOCASE, {COLUMNS});
         INSERT INTO base (customer_id, tb_username, tb_password, tb_url) VALUES
             ('dup', 'u0', 'p', 'https://tb'), ('dup', 'u1', 'p', 'https://tb'), ('dup', 'u2', 'p', 'https://tb'),
             ('acme', 'u3', 'p', 'https://tb'), ('ACME', 'u4', 'p', 'https://tb'), ('solo', 'u5', 'p', 'https://tb');
         CREATE VIEW customer_settings AS SELECT * FROM base;
         CREATE TRIGGER t INSTEAD OF UPDATE ON customer_settings
         BEGIN
             UPDATE base SET tbtoken = new.tbtoken, tbtokenexpiry = new.tbtokenexpiry WHERE customer_id = old.customer_id;
         END"
    ))
    .await;
    let table = place.table().await;
    let ids: Vec<&str> = table.customers.iter().map(|customer| customer.id.as_str()).collect();
    assert_eq!(ids, ["acme", "ACME", "solo"]);
    let reported: Vec<(&str, bool)> = table
        .problems
        .iter()
        .map(|problem| (problem.row.as_str(), problem.what.contains("all its rows are left alone")))
        .collect();
    assert_eq!(reported, [("dup", true)]);
    let saved = save_all(&place).await;
    let refused = |saved: &Saved| matches!(saved, Saved::NotKept { why } if why.starts_with("several rows"));
    assert!(refused(&saved[0]) && refused(&saved[1]) && saved[2] == Saved::Written, "{saved:?}");
    assert_eq!(tokens(&place, "customer_id"), [("solo".into(), "u5".into(), "u5".into())]);
}

#[tokio::test]
async fn a_view_that_cannot_be_written_is_reported_before_the_first_login() {
    let place = with_table(&format!(
        "CREATE TABLE base (customer_id TEXT, {COLUMNS}); CREATE VIEW customer_settings AS SELECT * FROM base"
    ))
    .await;
    let said = place.store.read(Records::All).await.unwrap_err().to_string();
    assert!(said.contains("cannot modify customer_settings because it is a view"), "{said}");
}

#[tokio::test]
async fn columns_that_a_date_would_spoil_are_named() {
    for (expiry, words) in [
        ("tbtokenexpiry INTEGER", "has the type INTEGER; it must be TEXT"),
        ("tbtokenexpiry REAL", "has the type REAL"),
        ("tbtokenexpiry NUMERIC(10)", "has the type NUMERIC(10)"),
        ("tbtokenexpiry BIGINT", "has the type BIGINT"),
        ("ends TEXT, tbtokenexpiry TEXT AS (ends)", "has the type TEXT GENERATED"),
        ("ends TEXT, tbtokenexpiry TEXT AS (ends) STORED", "has the type TEXT GENERATED"),
    ] {
        let place = with_table(&format!(
            "CREATE TABLE customer_settings
                 (customer_id TEXT, tb_username TEXT, tb_password TEXT, tb_url TEXT, tbtoken TEXT, {expiry})"
        ))
        .await;
        let error = place.store.read(Records::All).await.unwrap_err();
        let said = error.to_string();
        assert!(
            said.starts_with("the column tbtokenexpiry of customer_settings") && said.contains(words),
            "{said}"
        );
        assert!(error.remedy().contains("Change the column"));
    }
    // Columns that are only read may be generated, and DATETIME may hold texts.
    let place = with_table(
        "CREATE TABLE customer_settings (customer_id TEXT, tb_username TEXT, tb_password TEXT, host TEXT,
             tb_url TEXT AS ('https://' || host), tbtoken TEXT, tbtokenexpiry DATETIME, updatedttm TEXT AS (tbtokenexpiry));
         INSERT INTO customer_settings (customer_id, tb_username, tb_password, host) VALUES ('a', 'u', 'p', 'tb')",
    )
    .await;
    assert_eq!(save_all(&place).await, [Saved::Written]);
}

#[tokio::test]
async fn numbers_in_a_column_without_a_type_are_not_overwritten_with_texts() {
    let place = with_table(
        "CREATE TABLE customer_settings (customer_id, tb_username, tb_password, tb_url, tbtoken, tbtokenexpiry, updatedttm);
         INSERT INTO customer_settings VALUES
             ('date', 'u', 'p', 'https://tb', 'x', '2026-11-23 14:00:00', 1763906580),
             ('none', 'u', 'p', 'https://tb', NULL, NULL, NULL),
             ('number', 'u', 'p', 'https://tb', NULL, 1763906580, NULL),
             ('text', 'u', 'p', 'https://tb', 'x', '1763906580', NULL)",
    )
    .await;
    let table = place.table().await;
    let ids: Vec<&str> = table.customers.iter().map(|customer| customer.id.as_str()).collect();
    assert_eq!(ids, ["date", "none"]);
    assert!(table.problems.iter().all(|problem| problem.what.contains("tbtokenexpiry is a number")));
    let renewals = vec![place.renewal("date", NOW).await, place.renewal("none", NOW).await];
    place.execute("UPDATE customer_settings SET tbtokenexpiry = 1763906580.5 WHERE customer_id = 'none'");
    assert_eq!(place.save(renewals).await, [Saved::Written, Saved::Superseded]);
    let updated = "typeof(updatedttm) || typeof(tbtokenexpiry)";
    assert_eq!(place.column("date", updated).as_deref(), Some("integertext"));
    assert_eq!(place.column("none", "typeof(tbtokenexpiry)").as_deref(), Some("real"));

    // Without any date the column holds numbers, also for rows that have no expiry yet.
    place.execute("DELETE FROM customer_settings WHERE customer_id = 'date'");
    place.execute("UPDATE customer_settings SET tbtokenexpiry = NULL WHERE customer_id = 'none'");
    let said = place.store.read(Records::All).await.unwrap_err().to_string();
    assert!(said.contains("the column tbtokenexpiry holds numbers"), "{said}");
}

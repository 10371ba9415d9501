//! Values as parameters and in rows.

use chrono::{DateTime, FixedOffset, NaiveDateTime};
use tbtoken_tests::mssql::{Settings, SqlServer};
use tiberius::{ColumnData, ToSql, Uuid};

use crate::client::{config, connect, connect_with, said};

fn naive(text: &str) -> NaiveDateTime {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap()
}

#[tokio::test]
async fn every_parameter_type_comes_back() {
    let server = SqlServer::start();
    let mut client = connect(&server).await;
    let guid = Uuid::parse_str("6F9619FF-8B86-D011-B42D-00C04FC964FF").unwrap();
    let long = "long ".repeat(5000);
    let at = naive("2026-11-23 14:03:00.1234567");
    let offset = DateTime::parse_from_rfc3339("2026-11-23T14:03:00.1234567+05:30").unwrap();
    let text = "/* tbtokend:test */ SELECT @P1, @P2, @P3, @P4, @P5, @P6, @P7, @P8, @P9, @P10";
    let parameters: [&dyn ToSql; 10] =
        [&guid, &7_i32, &i64::MIN, &true, &"Grüße 😀", &long, &at, &offset, &"", &&b"\x00\xff"[..]];
    let row = client.query(text, &parameters).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get(0), Some(guid));
    assert_eq!((row.get(1), row.get(2), row.get(3)), (Some(7_i32), Some(i64::MIN), Some(true)));
    assert_eq!(row.get::<&str, _>(4), Some("Grüße 😀"));
    assert_eq!(row.get::<&str, _>(5), Some(long.as_str()));
    assert_eq!(row.get(6), Some(at));
    assert_eq!(row.get::<DateTime<FixedOffset>, _>(7), Some(offset));
    assert_eq!(row.get::<&str, _>(8), Some(""));
    assert_eq!(row.get::<&[u8], _>(9), Some(&b"\x00\xff"[..]));
    // tiberius sends NULL without a type, which some engines refuse, this fake included.
    let none = client.query("/* tbtokend:test */ SELECT @P1", &[&Option::<&str>::None]).await;
    assert!(said(none.unwrap_err()).2.contains("0x1f"));
}

#[tokio::test]
async fn every_column_type_comes_out_as_it_is() {
    let server = SqlServer::start();
    let columns = [
        ("id", "int"),
        ("a", "uniqueidentifier"),
        ("b", "varchar(20)"),
        ("c", "varchar(max)"),
        ("d", "nvarchar(max)"),
        ("e", "datetime"),
        ("f", "smalldatetime"),
        ("g", "datetime2(3)"),
        ("h", "datetimeoffset(0)"),
        ("i", "bit"),
        ("j", "tinyint"),
        ("k", "nchar(4)"),
    ];
    server.create("t", &columns);
    server.execute(
        "INSERT INTO t VALUES (1, '6f9619ff-8b86-d011-b42d-00c04fc964ff', 'né', 'max', N'Łódź', '2026-11-23 14:03:00.125',
            '2026-11-23 14:03:31', '2026-11-23 14:03:00.1239', '2026-11-23 14:03:00 +01:00', 1, 255, N'ab')",
    );
    server.execute("INSERT INTO t (id) VALUES (2)");
    let mut client = connect(&server).await;
    let rows = client.query("/* tbtokend:test */ SELECT * FROM t ORDER BY id", &[]).await.unwrap();
    let rows = rows.into_first_result().await.unwrap();
    let row = &rows[0];
    assert_eq!(row.get::<Uuid, _>("a").unwrap().to_string(), "6f9619ff-8b86-d011-b42d-00c04fc964ff");
    let texts: Vec<&str> = ["b", "c", "d", "k"].iter().map(|name| row.get(*name).unwrap()).collect();
    assert_eq!(texts, ["né", "max", "Łódź", "ab  "]);
    assert!(matches!(row.cells().nth(5).unwrap().1, ColumnData::DateTime(Some(_))));
    assert!(matches!(row.cells().nth(6).unwrap().1, ColumnData::SmallDateTime(Some(_))));
    // 125 ms are no multiple of 1/300 s: 38 of them, 126.67 ms, are stored.
    let stored = row.get::<NaiveDateTime, _>("e").unwrap();
    assert_eq!(stored.format("%F %T.%6f").to_string(), "2026-11-23 14:03:00.126666");
    assert_eq!(row.get("f"), Some(naive("2026-11-23 14:04:00")), "rounded up, as the real one does");
    assert_eq!(row.get("g"), Some(naive("2026-11-23 14:03:00.124")));
    let offset = row.get::<DateTime<FixedOffset>, _>("h").unwrap();
    assert_eq!(offset.to_rfc3339(), "2026-11-23T14:03:00+01:00");
    assert_eq!((row.get("i"), row.get("j")), (Some(true), Some(255_u8)));
    for (_, value) in rows[1].cells().skip(1) {
        assert!(format!("{value:?}").contains("None"), "{value:?}");
    }
    assert!(matches!(rows[1].cells().nth(9).unwrap().1, ColumnData::Bit(None)));
}

#[tokio::test]
async fn small_packets_carry_long_answers_and_questions() {
    let server = SqlServer::with(Settings { packet_size: 512, ..Settings::default() });
    let mut config = config(&server);
    config.packet_size(32_767);
    let mut client = connect_with(config).await.unwrap();
    let long = "0123456789".repeat(10_000);
    let row = client.query("/* tbtokend:test */ SELECT @P1 AS long", &[&long]).await.unwrap();
    assert_eq!(row.into_row().await.unwrap().unwrap().get::<&str, _>(0), Some(long.as_str()));
}

#[tokio::test]
async fn more_than_2100_parameters_are_8003() {
    let server = SqlServer::start();
    for (count, fine) in [(2100_usize, true), (2101, false)] {
        let mut client = connect(&server).await;
        let marks: Vec<String> = (1..=count).map(|n| format!("@P{n}")).collect();
        let numbers = vec![1_i32; count];
        let parameters: Vec<&dyn ToSql> = numbers.iter().map(|number| number as &dyn ToSql).collect();
        let text = format!("/* tbtokend:test */ SELECT 1 AS one WHERE 1 IN ({})", marks.join(", "));
        let result = client.query(text, &parameters).await;
        if fine {
            assert!(result.is_ok());
        } else {
            assert_eq!(said(result.unwrap_err()).0, 8003);
        }
    }
}

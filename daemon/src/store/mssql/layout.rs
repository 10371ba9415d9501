//! The layout of the customers' table: the types of its columns, and the SQL for them. Pure.

use super::super::StoreError;
use super::quoted::quote;

/// A column as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// `DATA_TYPE`, as `nvarchar`.
    pub(super) kind: String,
    /// The length in characters; −1 for max.
    pub(super) length: Option<i32>,
    /// The digits of the second.
    pub(super) scale: Option<i32>,
    /// The collation of texts.
    pub(super) collation: Option<String>,
}

/// The layout of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The name as a quoted identifier.
    pub(super) table: String,
    pub(super) id: IdType,
    pub(super) expiry: ExpiryType,
    /// The most characters that `tbtoken` holds, if there is a limit.
    pub(super) capacity: Option<usize>,
    pub(super) columns: Columns,
}

/// The columns' names, quoted, as the table spells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) id: String,
    pub(super) url: TextColumn,
    pub(super) username: TextColumn,
    pub(super) password: TextColumn,
    pub(super) token: String,
    pub(super) expiry: String,
    /// `updatedttm`, if the table has it as a time, and the expression to write.
    pub(super) updated: Option<(String, &'static str)>,
}

/// A column with text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextColumn {
    /// The quoted name in an expression of type nvarchar.
    pub(super) text: String,
    name: String,
}

impl TextColumn {
    /// Returns the expression for a table with an alias.
    pub(super) fn text_of(&self, alias: &str) -> String {
        self.text.replace(&self.name, &format!("{alias}.{}", self.name))
    }
}

/// The type of `customer_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IdType {
    /// `uniqueidentifier`.
    Guid,
    /// A whole number of this type.
    Number(&'static str),
    /// Text of this type, as `varchar(50)`, with a collation.
    Text { sql: String, collation: String },
}

impl IdType {
    /// The type in SQL.
    pub(super) fn sql(&self) -> &str {
        match self {
            Self::Guid => "uniqueidentifier",
            Self::Number(sql) => sql,
            Self::Text { sql, .. } => sql,
        }
    }
}

/// The type of `tbtokenexpiry`. The number is the count of digits of its second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpiryType {
    DateTime,
    SmallDateTime,
    DateTime2(u8),
    DateTimeOffset(u8),
}

impl ExpiryType {
    /// The type in SQL.
    pub(super) fn sql(self) -> String {
        match self {
            Self::DateTime => "datetime".to_owned(),
            Self::SmallDateTime => "smalldatetime".to_owned(),
            Self::DateTime2(scale) => format!("datetime2({scale})"),
            Self::DateTimeOffset(scale) => format!("datetimeoffset({scale})"),
        }
    }
}

impl Layout {
    /// Makes the layout from the columns. The error says why the table cannot be used.
    pub(super) fn from_columns(table: &str, columns: &[Column]) -> Result<Self, StoreError> {
        let find = |name: &'static str| {
            let found = columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
            found
                .ok_or_else(|| StoreError::MissingColumn { table: table.to_owned(), column: name.to_owned() })
        };
        let wrong_type = |column: &'static str, found: &Column, wanted| StoreError::WrongType {
            table: table.to_owned(),
            column,
            found: found.kind.clone(),
            wanted,
        };
        let text = |name: &'static str| {
            let column = find(name)?;
            text_column(column).ok_or_else(|| wrong_type(name, column, "varchar or nvarchar"))
        };
        let id = find("customer_id")?;
        let (username, password, url) = (text("tb_username")?, text("tb_password")?, text("tb_url")?);
        text("tbtoken")?;
        let token = find("tbtoken")?;
        let expiry = find("tbtokenexpiry")?;
        let updated = columns.iter().find(|column| column.name.eq_ignore_ascii_case("updatedttm"));
        Ok(Self {
            table: quote(table),
            id: id_type(id).ok_or_else(|| {
                wrong_type("customer_id", id, "uniqueidentifier, int, bigint, varchar or nvarchar")
            })?,
            expiry: expiry_type(expiry).ok_or_else(|| {
                wrong_type("tbtokenexpiry", expiry, "datetime, datetime2, datetimeoffset or smalldatetime")
            })?,
            capacity: token.length.and_then(|length| usize::try_from(length).ok()),
            columns: Columns {
                id: quote_column(id),
                url,
                username,
                password,
                token: quote_column(token),
                expiry: quote_column(expiry),
                updated: updated
                    .and_then(|column| Some((quote_column(column), now_expression(&column.kind)?))),
            },
        })
    }
}

fn quote_column(column: &Column) -> String {
    format!("[{}]", column.name.replace(']', "]]"))
}

fn id_type(column: &Column) -> Option<IdType> {
    let length = match column.length {
        Some(length) if length > 0 => length.to_string(),
        _ => "max".to_owned(),
    };
    Some(match column.kind.as_str() {
        "uniqueidentifier" => IdType::Guid,
        "bigint" => IdType::Number("bigint"),
        "int" => IdType::Number("int"),
        "smallint" => IdType::Number("smallint"),
        "tinyint" => IdType::Number("tinyint"),
        kind @ ("nvarchar" | "varchar" | "nchar" | "char") => {
            // The name cannot be quoted, but no collation has another character in its name.
            let is_plain =
                |name: &&String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let collation = column.collation.as_ref().filter(is_plain);
            let collation = collation.map_or_else(|| "DATABASE_DEFAULT".to_owned(), String::clone);
            IdType::Text { sql: format!("{kind}({length})"), collation }
        }
        _ => return None,
    })
}

fn expiry_type(column: &Column) -> Option<ExpiryType> {
    let scale = column.scale.and_then(|scale| u8::try_from(scale).ok()).unwrap_or(7).min(7);
    Some(match column.kind.as_str() {
        "datetime" => ExpiryType::DateTime,
        "smalldatetime" => ExpiryType::SmallDateTime,
        "datetime2" => ExpiryType::DateTime2(scale),
        "datetimeoffset" => ExpiryType::DateTimeOffset(scale),
        _ => return None,
    })
}

/// Makes the expression that reads a text as nvarchar, because the server knows the code pages of its columns. No value for a
/// login is longer than 4,000 characters. The spaces that fill a column of fixed width do not belong to the value.
fn text_column(column: &Column) -> Option<TextColumn> {
    let quoted = quote_column(column);
    let text = match column.kind.as_str() {
        "nvarchar" if column.length.is_some_and(|length| (1..=4000).contains(&length)) => quoted.clone(),
        "nvarchar" | "varchar" | "text" | "ntext" => format!("CAST({quoted} AS nvarchar(4000))"),
        "char" | "nchar" => format!("RTRIM(CAST({quoted} AS nvarchar(4000)))"),
        _ => return None,
    };
    Some(TextColumn { text, name: quoted })
}

/// Returns the expression for `updatedttm`: the server's local time, as the Node service wrote it. `None` for a type that cannot
/// be set, as a rowversion.
fn now_expression(kind: &str) -> Option<&'static str> {
    match kind {
        "datetime" | "smalldatetime" => Some("GETDATE()"),
        "datetime2" => Some("SYSDATETIME()"),
        "datetimeoffset" => Some("SYSDATETIMEOFFSET()"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: &str, length: Option<i32>, scale: Option<i32>) -> Column {
        let collation = kind.contains("char").then(|| "Greek_CI_AS".to_owned());
        Column { name: name.to_owned(), kind: kind.to_owned(), length, scale, collation }
    }

    fn known() -> Vec<Column> {
        vec![
            column("customer_id", "uniqueidentifier", None, None),
            column("tb_username", "nvarchar", Some(200), None),
            column("tb_password", "varchar", Some(200), None),
            column("TB_URL", "nchar", Some(400), None),
            column("tbtoken", "varchar", Some(-1), None),
            column("tbtokenexpiry", "datetime", None, Some(3)),
            column("updatedttm", "datetime", None, Some(3)),
        ]
    }

    fn with(name: &str, changed: Column) -> Result<Layout, StoreError> {
        let columns = known().into_iter().map(|column| match column.name.eq_ignore_ascii_case(name) {
            true => changed.clone(),
            false => column,
        });
        Layout::from_columns("dbo.customers", &columns.collect::<Vec<_>>())
    }

    #[test]
    fn the_known_table_is_understood() {
        let layout = Layout::from_columns("dbo.customers", &known()).unwrap();
        assert_eq!((layout.id, layout.expiry, layout.capacity), (IdType::Guid, ExpiryType::DateTime, None));
        assert_eq!(layout.table, "[dbo].[customers]");
        assert_eq!(layout.columns.username.text, "[tb_username]");
        assert_eq!(layout.columns.password.text, "CAST([tb_password] AS nvarchar(4000))");
        assert_eq!(layout.columns.url.text_of("c"), "RTRIM(CAST(c.[TB_URL] AS nvarchar(4000)))");
        assert_eq!(layout.columns.updated, Some(("[updatedttm]".to_owned(), "GETDATE()")));
    }

    #[test]
    fn every_type_of_the_contract_is_understood() {
        let text = |sql: &str| IdType::Text { sql: sql.to_owned(), collation: "Greek_CI_AS".to_owned() };
        for (kind, length, id) in [
            ("int", None, IdType::Number("int")),
            ("bigint", None, IdType::Number("bigint")),
            ("varchar", Some(50), text("varchar(50)")),
            ("nvarchar", Some(-1), text("nvarchar(max)")),
        ] {
            assert_eq!(with("customer_id", column("customer_id", kind, length, None)).unwrap().id, id);
        }
        for (kind, scale, expiry) in [
            ("datetime2", 0, ExpiryType::DateTime2(0)),
            ("datetimeoffset", 3, ExpiryType::DateTimeOffset(3)),
            ("smalldatetime", 0, ExpiryType::SmallDateTime),
        ] {
            let changed = column("tbtokenexpiry", kind, None, Some(scale));
            assert_eq!(with("tbtokenexpiry", changed).unwrap().expiry, expiry);
        }
        assert_eq!(
            with("tbtoken", column("tbtoken", "nvarchar", Some(255), None)).unwrap().capacity,
            Some(255)
        );
        let url =
            |kind, length| with("tb_url", column("tb_url", kind, length, None)).unwrap().columns.url.text;
        assert_eq!(url("nvarchar", Some(4000)), "[tb_url]");
        for (kind, length) in [("nvarchar", Some(-1)), ("varchar", Some(-1)), ("ntext", Some(1_073_741_823))]
        {
            let cut = "CAST([tb_url] AS nvarchar(4000))";
            assert_eq!(url(kind, length), cut, "a gigabyte is not read: {kind}");
        }
        let rowversion = with("updatedttm", column("updatedttm", "timestamp", None, None)).unwrap();
        assert_eq!(rowversion.columns.updated, None, "it sets itself");
    }

    #[test]
    fn only_a_plain_name_is_accepted_as_a_collation() {
        for collation in [None, Some("x; DROP TABLE customers".to_owned())] {
            let id = Column { collation, ..column("customer_id", "varchar", Some(9), None) };
            let collation = "DATABASE_DEFAULT".to_owned();
            let expected = IdType::Text { sql: "varchar(9)".to_owned(), collation };
            assert_eq!(with("customer_id", id).unwrap().id, expected);
        }
    }

    #[test]
    fn an_unusable_column_is_named() {
        let without: Vec<Column> = known().into_iter().filter(|column| column.name != "tbtoken").collect();
        let missing = |column: &str| {
            Err(StoreError::MissingColumn { table: "t".to_owned(), column: column.to_owned() })
        };
        assert_eq!(Layout::from_columns("t", &without), missing("tbtoken"));
        assert_eq!(Layout::from_columns("t", &[]), missing("customer_id"));
        let wrong = |name, kind| with(name, column(name, kind, None, None)).unwrap_err();
        for (column, kind) in [("customer_id", "float"), ("tbtokenexpiry", "varchar"), ("tb_url", "xml")] {
            let error = wrong(column, kind).to_string();
            assert!(
                error.starts_with(&format!("the column {column} of dbo.customers has the type {kind};")),
                "{error}"
            );
        }
    }
}

//! The customers' table as it is: which types its columns have, and what follows from them. Pure.

use super::statements::quote;

/// A column as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// `DATA_TYPE`, as `nvarchar`.
    pub(super) kind: String,
    /// In characters; −1 for max.
    pub(super) length: Option<i32>,
    /// Digits of the second.
    pub(super) scale: Option<i32>,
}

/// What is known of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Its name as a quoted identifier.
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
    /// `updatedttm`, if it is there and a time, and what is written to it.
    pub(super) updated: Option<(String, &'static str)>,
}

/// A column with text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextColumn {
    /// Its quoted name as an expression that is nvarchar.
    pub(super) text: String,
    name: String,
}

impl TextColumn {
    /// The expression for a table with an alias.
    pub(super) fn text_of(&self, alias: &str) -> String {
        self.text.replace(&self.name, &format!("{alias}.{}", self.name))
    }
}

/// The type of `customer_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IdType {
    /// `uniqueidentifier`.
    Guid,
    /// A whole number of that type.
    Number(&'static str),
    /// Text of that type, as `varchar(50)`.
    Text(String),
}

impl IdType {
    /// The type in SQL.
    pub(super) fn sql(&self) -> &str {
        match self {
            Self::Guid => "uniqueidentifier",
            Self::Number(sql) => sql,
            Self::Text(sql) => sql,
        }
    }
}

/// The type of `tbtokenexpiry`. The number is the digits of its second.
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

/// Why the table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unusable {
    /// A column is not there.
    NoColumn(&'static str),
    /// A column has a type that nothing can be made of.
    WrongType { column: &'static str, found: String, wanted: &'static str },
}

impl Layout {
    /// What follows from these columns.
    pub(super) fn of(table: &str, columns: &[Column]) -> Result<Self, Unusable> {
        let find = |name: &'static str| {
            let found = columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
            found.ok_or(Unusable::NoColumn(name))
        };
        let text = |name: &'static str| find(name).and_then(|column| text_column(name, column));
        let id = find("customer_id")?;
        let (username, password, url) = (text("tb_username")?, text("tb_password")?, text("tb_url")?);
        let token = find("tbtoken")?;
        text_column("tbtoken", token)?;
        let expiry = find("tbtokenexpiry")?;
        let updated = columns.iter().find(|column| column.name.eq_ignore_ascii_case("updatedttm"));
        Ok(Self {
            table: quote(table),
            id: id_type(id)?,
            expiry: expiry_type(expiry)?,
            capacity: token.length.and_then(|length| usize::try_from(length).ok()),
            columns: Columns {
                id: quote_column(id),
                url,
                username,
                password,
                token: quote_column(token),
                expiry: quote_column(expiry),
                updated: updated.and_then(|column| Some((quote_column(column), now_for(&column.kind)?))),
            },
        })
    }
}

fn quote_column(column: &Column) -> String {
    format!("[{}]", column.name.replace(']', "]]"))
}

fn id_type(column: &Column) -> Result<IdType, Unusable> {
    let length = match column.length {
        Some(length) if length > 0 => length.to_string(),
        _ => "max".to_owned(),
    };
    Ok(match column.kind.as_str() {
        "uniqueidentifier" => IdType::Guid,
        "bigint" => IdType::Number("bigint"),
        "int" => IdType::Number("int"),
        "smallint" => IdType::Number("smallint"),
        "tinyint" => IdType::Number("tinyint"),
        kind @ ("nvarchar" | "varchar" | "nchar" | "char") => IdType::Text(format!("{kind}({length})")),
        _ => {
            let wanted = "uniqueidentifier, int, bigint, varchar or nvarchar";
            return Err(Unusable::WrongType { column: "customer_id", found: column.kind.clone(), wanted });
        }
    })
}

fn expiry_type(column: &Column) -> Result<ExpiryType, Unusable> {
    let scale = column.scale.and_then(|scale| u8::try_from(scale).ok()).unwrap_or(7).min(7);
    Ok(match column.kind.as_str() {
        "datetime" => ExpiryType::DateTime,
        "smalldatetime" => ExpiryType::SmallDateTime,
        "datetime2" => ExpiryType::DateTime2(scale),
        "datetimeoffset" => ExpiryType::DateTimeOffset(scale),
        _ => {
            let wanted = "datetime, datetime2, datetimeoffset or smalldatetime";
            return Err(Unusable::WrongType { column: "tbtokenexpiry", found: column.kind.clone(), wanted });
        }
    })
}

/// Texts are read as nvarchar: the server knows the code pages of its columns best. Nothing that a login needs is longer
/// than 4,000 characters. The spaces that fill a column of fixed width are not the customer's.
fn text_column(name: &'static str, column: &Column) -> Result<TextColumn, Unusable> {
    let quoted = quote_column(column);
    let text = match column.kind.as_str() {
        "nvarchar" => quoted.clone(),
        "varchar" | "text" | "ntext" => format!("CAST({quoted} AS nvarchar(4000))"),
        "char" | "nchar" => format!("RTRIM(CAST({quoted} AS nvarchar(4000)))"),
        _ => {
            let wanted = "varchar or nvarchar";
            return Err(Unusable::WrongType { column: name, found: column.kind.clone(), wanted });
        }
    };
    Ok(TextColumn { text, name: quoted })
}

/// What `updatedttm` is set to: the server's local time, as the old writer did. `None` for a type that cannot be set so,
/// as a rowversion.
fn now_for(kind: &str) -> Option<&'static str> {
    match kind {
        "datetime" | "smalldatetime" => Some("GETDATE()"),
        "datetime2" => Some("SYSDATETIME()"),
        "datetimeoffset" => Some("SYSDATETIMEOFFSET()"),
        _ => None,
    }
}

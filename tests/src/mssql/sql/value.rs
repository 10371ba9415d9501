//! The types and values of SQL Server.

use std::fmt;

/// How long a text or a binary value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many characters (bytes for `varchar` and `varbinary`).
    Of(u16),
    /// `max`.
    Max,
}

/// The types that the table of a customer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlType {
    /// `bit`.
    Bit,
    /// `tinyint`.
    TinyInt,
    /// `smallint`.
    SmallInt,
    /// `int`.
    Int,
    /// `bigint`.
    BigInt,
    /// `uniqueidentifier`.
    Guid,
    /// `varchar(n)`: one byte a character, in code page 1252.
    Varchar(Length),
    /// `char(n)`.
    Char(u16),
    /// `nvarchar(n)`.
    NVarchar(Length),
    /// `nchar(n)`.
    NChar(u16),
    /// `varbinary(n)`.
    Varbinary(Length),
    /// `smalldatetime`: whole minutes.
    SmallDateTime,
    /// `datetime`: 1/300 of a second.
    DateTime,
    /// `datetime2(scale)`.
    DateTime2(u8),
    /// `datetimeoffset(scale)`.
    DateTimeOffset(u8),
}

/// A value. The dates are numbers, so that nothing is rounded by accident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// NULL of any type.
    Null,
    /// `bit`.
    Bit(bool),
    /// Any whole number.
    Int(i64),
    /// A GUID in the order in which it is written.
    Guid([u8; 16]),
    /// Any text.
    Text(String),
    /// `varbinary`.
    Bytes(Vec<u8>),
    /// Minutes since 1900-01-01.
    SmallDateTime(i64),
    /// Ticks of 1/300 s since 1900-01-01.
    DateTime(i64),
    /// Ticks of 100 ns since 0001-01-01.
    DateTime2(i64),
    /// The same in UTC, and the offset in minutes with which it is shown.
    DateTimeOffset {
        /// Ticks of 100 ns since 0001-01-01, in UTC.
        utc: i64,
        /// Minutes east of it.
        offset: i16,
    },
}

impl Value {
    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// The text in it, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// As `CONVERT(nvarchar, …)` writes it, dates with all their digits; NULL is nothing.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::convert::as_text(self))
    }
}

impl SqlType {
    /// Whether it is a text of any kind.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(self, Self::Varchar(_) | Self::Char(_) | Self::NVarchar(_) | Self::NChar(_))
    }

    /// Its name without length, as `INFORMATION_SCHEMA` says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bit => "bit",
            Self::TinyInt => "tinyint",
            Self::SmallInt => "smallint",
            Self::Int => "int",
            Self::BigInt => "bigint",
            Self::Guid => "uniqueidentifier",
            Self::Varchar(_) => "varchar",
            Self::Char(_) => "char",
            Self::NVarchar(_) => "nvarchar",
            Self::NChar(_) => "nchar",
            Self::Varbinary(_) => "varbinary",
            Self::SmallDateTime => "smalldatetime",
            Self::DateTime => "datetime",
            Self::DateTime2(_) => "datetime2",
            Self::DateTimeOffset(_) => "datetimeoffset",
        }
    }

    /// How many characters it holds, -1 for `max`; `None` for what is no text.
    #[must_use]
    pub fn characters(self) -> Option<i64> {
        match self {
            Self::Varchar(length) | Self::NVarchar(length) | Self::Varbinary(length) => Some(match length {
                Length::Of(length) => length.into(),
                Length::Max => -1,
            }),
            Self::Char(length) | Self::NChar(length) => Some(length.into()),
            _ => None,
        }
    }

    /// How many bytes it takes at most, -1 for `max`: what `COL_LENGTH` says.
    #[must_use]
    pub fn bytes(self) -> i64 {
        match self {
            Self::Bit | Self::TinyInt => 1,
            Self::SmallInt => 2,
            Self::Int | Self::SmallDateTime => 4,
            Self::BigInt | Self::DateTime => 8,
            Self::Guid => 16,
            Self::DateTime2(scale) => 6 + i64::from(scale > 2) + i64::from(scale > 4),
            Self::DateTimeOffset(scale) => 8 + i64::from(scale > 2) + i64::from(scale > 4),
            Self::NVarchar(Length::Of(length)) | Self::NChar(length) => 2 * i64::from(length),
            Self::Varchar(_) | Self::Char(_) | Self::NVarchar(_) | Self::Varbinary(_) => {
                self.characters().expect("a type with a length")
            }
        }
    }

    /// Reads a type as it is written in a statement: `varchar(max)`, `datetime2(3)`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let (name, argument) = match text.split_once('(') {
            None => (text.as_str(), None),
            Some((name, argument)) => (name.trim(), Some(argument.trim_end_matches(')').trim())),
        };
        let length = || match argument {
            Some("max") => Some(Length::Max),
            Some(number) => number.parse().ok().map(Length::Of),
            None => Some(Length::Of(1)),
        };
        let fixed = || match length()? {
            Length::Of(length) => Some(length),
            Length::Max => None,
        };
        let scale = || argument.map_or(Some(7), |number| number.parse().ok());
        Some(match name {
            "bit" => Self::Bit,
            "tinyint" => Self::TinyInt,
            "smallint" => Self::SmallInt,
            "int" | "integer" => Self::Int,
            "bigint" => Self::BigInt,
            "uniqueidentifier" => Self::Guid,
            "varchar" => Self::Varchar(length()?),
            "char" => Self::Char(fixed()?),
            "nvarchar" => Self::NVarchar(length()?),
            "nchar" => Self::NChar(fixed()?),
            "sysname" => Self::NVarchar(Length::Of(128)),
            "varbinary" | "binary" => Self::Varbinary(length()?),
            "smalldatetime" => Self::SmallDateTime,
            "datetime" => Self::DateTime,
            "datetime2" => Self::DateTime2(scale()?),
            "datetimeoffset" => Self::DateTimeOffset(scale()?),
            _ => return None,
        })
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match *self {
            Self::DateTime2(scale) | Self::DateTimeOffset(scale) => write!(f, "({scale})"),
            of => match of.characters() {
                None => Ok(()),
                Some(-1) => f.write_str("(max)"),
                Some(length) => write!(f, "({length})"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_they_are_written() {
        for text in [
            "bit",
            "tinyint",
            "int",
            "bigint",
            "uniqueidentifier",
            "varchar(max)",
            "varchar(100)",
            "nvarchar(50)",
            "nchar(4)",
            "varbinary(32)",
            "smalldatetime",
            "datetime",
            "datetime2(3)",
            "datetimeoffset(7)",
        ] {
            assert_eq!(SqlType::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(SqlType::parse("datetime2"), Some(SqlType::DateTime2(7)));
        assert_eq!(SqlType::parse("money"), None);
        assert_eq!(SqlType::parse("nvarchar(50)").unwrap().bytes(), 100);
    }
}

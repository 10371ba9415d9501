//! A row of the customer table, with the columns that the daemon reads.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Secret, Urls};

/// The id of a customer as text, whatever type its column has. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomerId(Arc<str>);

impl CustomerId {
    /// Creates the id with this text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The data that a login needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The URL of the ThingsBoard server, trimmed: the row's own or the configured fallback. Not validated.
    pub url: Arc<str>,
    /// The user name, exactly as in the row.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// An eligible row: it has a user, a password and a URL (its own, or the fallback).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// The id.
    pub id: CustomerId,
    /// The credentials.
    pub credentials: Credentials,
    /// `tb_url` exactly as in the row, empty for NULL: a token is written only to a row that still has this value.
    pub row_url: Arc<str>,
    /// Whether the row holds a token.
    pub has_token: bool,
    /// When that token ends, if known.
    pub expiry: Option<DateTime<Utc>>,
}

impl Customer {
    /// Makes the customer of a row.
    ///
    /// # Errors
    /// The row is not eligible: user, password or URL are NULL or blank. Only spaces count as blank. A row without a URL
    /// uses `fallback_url`, if there is one.
    pub fn from_row(row: Row, fallback_url: Option<&str>, urls: &mut Urls) -> Result<Self, IneligibleRow> {
        let is_blank = |text: Option<&str>| text.is_none_or(|text| text.trim_matches(' ').is_empty());
        let own_url = row.url.as_deref().filter(|url| !is_blank(Some(url)));
        let blank = [
            is_blank(row.username.as_deref()),
            is_blank(row.password.as_ref().map(Secret::expose)),
            own_url.or(fallback_url).is_none(),
        ];
        let url = own_url.or(fallback_url).unwrap_or_default().trim();
        let (url, row_url) = (urls.share(url), urls.share(row.url.as_deref().unwrap_or_default()));
        let (Some(username), Some(password), [false, false, false]) = (row.username, row.password, blank)
        else {
            let why = Ineligibility::Blank(blank);
            return Err(IneligibleRow { id: row.id, why, has_token: row.has_token, expiry: row.expiry });
        };
        let credentials = Credentials { url, username, password };
        Ok(Self { id: row.id, credentials, row_url, has_token: row.has_token, expiry: row.expiry })
    }
}

/// A row that cannot be renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IneligibleRow {
    /// The id.
    pub id: CustomerId,
    /// Why it cannot be renewed.
    pub why: Ineligibility,
    /// Whether the row holds a token.
    pub has_token: bool,
    /// When that token ends, if known.
    pub expiry: Option<DateTime<Utc>>,
}

/// Why a row cannot be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ineligibility {
    /// These of `COLUMNS` are NULL or blank.
    Blank([bool; 3]),
    /// Another reason, as a fragment for people.
    Refused(&'static str),
}

impl Ineligibility {
    /// The columns that a login needs.
    const COLUMNS: [&str; 3] = ["tb_username", "tb_password", "tb_url"];

    /// Returns the blank columns, such as `tb_username and tb_password`; none for another reason.
    pub fn blank(&self) -> Option<String> {
        let Self::Blank(blank) = self else { return None };
        let blank = Self::COLUMNS.iter().zip(blank).filter(|(_, is_blank)| **is_blank);
        Some(blank.map(|(column, _)| *column).collect::<Vec<_>>().join(" and "))
    }
}

/// A fragment that follows "… is not renewed:", such as "its tb_password is blank".
impl fmt::Display for Ineligibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Blank(blank) => {
                let columns = self.blank().unwrap_or_default();
                match blank.iter().filter(|is_blank| **is_blank).count() {
                    1 => write!(f, "its {columns} is blank"),
                    _ => write!(f, "its {columns} are blank"),
                }
            }
        }
    }
}

/// A row as a store reads it, eligible or not.
#[derive(Debug, Clone)]
pub struct Row {
    /// `customer_id`.
    pub id: CustomerId,
    /// `tb_url`.
    pub url: Option<String>,
    /// `tb_username`.
    pub username: Option<String>,
    /// `tb_password`.
    pub password: Option<Secret>,
    /// Whether `tbtoken` is neither NULL nor empty.
    pub has_token: bool,
    /// `tbtokenexpiry`.
    pub expiry: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(url: Option<&str>, username: Option<&str>, password: Option<&str>) -> Row {
        Row {
            id: CustomerId::new("c1"),
            url: url.map(Into::into),
            username: username.map(Into::into),
            password: password.map(Secret::new),
            has_token: false,
            expiry: None,
        }
    }

    #[test]
    fn null_and_blank_rows_are_not_eligible() {
        let eligible = |url, username, password| {
            Customer::from_row(row(url, username, password), None, &mut Urls::default()).is_ok()
        };
        assert!(eligible(Some("https://a"), Some("u"), Some("p")));
        for blank in [None, Some(""), Some("   ")] {
            assert!(!eligible(blank, Some("u"), Some("p")));
            assert!(!eligible(Some("https://a"), blank, Some("p")));
            assert!(!eligible(Some("https://a"), Some("u"), blank));
        }
        assert!(eligible(Some("https://a"), Some("u"), Some("\t")), "only spaces count as blank");
    }

    #[test]
    fn a_row_that_is_not_eligible_says_what_is_blank() {
        let why = |url, username, password| {
            let refused =
                Customer::from_row(row(url, username, password), None, &mut Urls::default()).unwrap_err();
            refused.why.to_string()
        };
        assert_eq!(why(Some("https://a"), Some("u"), Some(" ")), "its tb_password is blank");
        assert_eq!(why(None, Some(""), Some("p")), "its tb_username and tb_url are blank");
    }

    #[test]
    fn the_fallback_serves_rows_without_a_url_and_only_those() {
        let url = |row_url| {
            let row = row(row_url, Some("u"), Some("p"));
            let customer = Customer::from_row(row, Some("https://fallback"), &mut Urls::default());
            customer.ok().map(|customer| (customer.credentials.url, customer.row_url))
        };
        assert_eq!(url(None), Some(("https://fallback".into(), "".into())));
        assert_eq!(url(Some("  ")), Some(("https://fallback".into(), "  ".into())));
        assert_eq!(url(Some(" https://own/ ")), Some(("https://own/".into(), " https://own/ ".into())));
    }
}

//! The customers' rows as an operator changes them with `tbtokend customers`. No token is ever read or written.

use std::path::Path;

use chrono::{DateTime, Utc};
use rusqlite::types::Value;
use rusqlite::{Connection, Transaction, TransactionBehavior, params_from_iter};

use super::rows::{Key, by_key, find_by_id, in_order, read_expiry, read_key, refused, text_of};
use super::{StoreError, connect, root, schema, translate};
use crate::model::{BaseUrl, Customer, CustomerId, Row, Secret, Urls};

/// Why a row is not listed, added, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum CustomersError {
    /// The file or its table cannot be used.
    #[error("{0}. {hint}", hint = .0.remedy())]
    Store(StoreError),
    /// Only the daemon makes the file.
    #[error("{0} does not exist; tbtokend makes it at its first start: systemctl start tbtokend")]
    NoFile(String),
    /// The id is taken.
    #[error("customer {0} exists already; change it with: tbtokend customers set {0}")]
    Exists(String),
    /// No row has the id.
    #[error("there is no customer {0}; tbtokend customers list shows all of them")]
    Unknown(String),
    /// Only SQL can tell these rows apart.
    #[error("several rows have the customer_id {0}; change them with SQL")]
    Several(String),
    /// The row would be left alone.
    #[error("customer {0} would not be renewed: {1}")]
    Ineligible(String, String),
    /// A constraint or a trigger; its own words may hold anything.
    #[error("the table refuses customer {0}: a constraint or a trigger (SQLite error {1})")]
    Refused(String, i64),
    /// The table holds other values than those written.
    #[error("the table does not keep customer {0} as given; a trigger or the type of a column changes it")]
    NotKept(String),
}

/// Without a source, because the text holds the cause already.
impl From<StoreError> for CustomersError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What an operator may see of a row.
#[derive(Debug)]
pub struct Listed {
    /// `customer_id`.
    pub id: String,
    /// `tb_username`.
    pub username: Option<String>,
    /// `tb_url`.
    pub url: Option<String>,
    /// Whether `tb_password` is neither NULL nor empty.
    pub has_password: bool,
    /// When its token ends, if it has one.
    pub expiry: Option<DateTime<Utc>>,
}

/// The columns to be written; what is `None` stays as it is.
#[derive(Debug, Default)]
pub struct Columns {
    /// `tb_username`.
    pub username: Option<String>,
    /// `tb_password`.
    pub password: Option<Secret>,
    /// `tb_url`.
    pub url: Option<String>,
}

impl Columns {
    /// The names of those that are given, and their values.
    fn given(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let password = self.password.as_ref().map(Secret::expose);
        let columns = [
            ("tb_username", self.username.as_deref()),
            ("tb_password", password),
            ("tb_url", self.url.as_deref()),
        ];
        columns.into_iter().filter_map(|(name, text)| Some((name, Value::Text(text?.to_owned()))))
    }
}

/// The customers' table, open beside the daemon.
#[derive(Debug)]
pub struct CustomerTable {
    connection: Connection,
    layout: schema::Layout,
    place: String,
    fallback_url: Option<String>,
}

impl CustomerTable {
    /// Opens the file.
    ///
    /// # Errors
    /// It cannot be used, or other users than root could have planted something for root beside it.
    pub fn open(path: &Path, table: &str, fallback_url: Option<String>) -> Result<Self, CustomersError> {
        let place = path.display().to_string();
        root::refuse_planted(path)?;
        let opened = connect(path).and_then(|connection| {
            let layout = schema::inspect(&connection, &place, table)?;
            Ok((connection, layout))
        });
        let (connection, layout) = opened.map_err(|error| translate(&place, &error))?;
        Ok(Self { connection, layout: layout?, place, fallback_url })
    }

    /// All rows, in the order of the table.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, CustomersError> {
        let sql = format!(
            "SELECT customer_id, tb_username, tb_url, coalesce(tb_password, '') <> '', coalesce(tbtoken, '') <> '',
                    tbtokenexpiry FROM {}{}",
            self.layout.table,
            in_order(&self.layout)
        );
        let listed = |row: &rusqlite::Row<'_>| {
            Ok(Listed {
                id: text_of(row, 0)?.unwrap_or_default(),
                username: text_of(row, 1)?,
                url: text_of(row, 2)?,
                has_password: row.get(3)?,
                expiry: read_expiry(row.get_ref(5)?).filter(|_| row.get(4).unwrap_or(false)),
            })
        };
        let list = || self.connection.prepare(&sql)?.query_map([], listed)?.collect::<Result<_, _>>();
        list().map_err(|error| self.explain(&error))
    }

    /// Makes the changes of `work` count together, or none of them after an error.
    ///
    /// # Errors
    /// Those of `work`. Or another program writes for longer than is waited for, or the database does not take the changes.
    pub fn change<E: From<CustomersError>>(&self, work: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let begun = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate);
        let transaction = begun.map_err(|error| self.explain(&error))?;
        work()?;
        Ok(transaction.commit().map_err(|error| self.explain(&error))?)
    }

    /// Whether there is a row with this id.
    ///
    /// # Errors
    /// There are several, or the table cannot be read.
    pub fn knows(&self, id: &str) -> Result<bool, CustomersError> {
        Ok(self.find(id)?.is_some())
    }

    /// Adds a row.
    ///
    /// # Errors
    /// The id is taken, the row could not be renewed, or the table does not take it.
    pub fn add(&self, id: &str, columns: &Columns) -> Result<(), CustomersError> {
        if self.knows(id)? {
            return Err(CustomersError::Exists(id.to_owned()));
        }
        let given = [("customer_id", Value::Text(id.to_owned()))].into_iter().chain(columns.given());
        let (names, values): (Vec<_>, Vec<_>) = given.unzip();
        let places = vec!["?"; names.len()].join(", ");
        let sql = format!("INSERT INTO {} ({}) VALUES ({places})", self.layout.table, names.join(", "));
        self.write(id, &sql, values)?;
        self.check(id, columns)
    }

    /// Changes a row.
    ///
    /// # Errors
    /// There is no such row, it could not be renewed any more, or the table does not take it.
    pub fn set(&self, id: &str, columns: &Columns) -> Result<(), CustomersError> {
        let (mut values, _) = self.require(id)?;
        let (condition, next) = by_key(&self.layout);
        let mut changes = Vec::new();
        for ((name, value), number) in columns.given().zip(next..) {
            changes.push(format!("{name} = ?{number}"));
            values.push(value);
        }
        let sql = format!("UPDATE {} SET {} WHERE {condition}", self.layout.table, changes.join(", "));
        self.write(id, &sql, values)?;
        self.check(id, columns)
    }

    /// Removes a row, with its token.
    ///
    /// # Errors
    /// There is no such row, or the table keeps it.
    pub fn remove(&self, id: &str) -> Result<(), CustomersError> {
        let sql = format!("DELETE FROM {} WHERE {}", self.layout.table, by_key(&self.layout).0);
        self.write(id, &sql, self.require(id)?.0)?;
        if self.knows(id)? { Err(CustomersError::NotKept(id.to_owned())) } else { Ok(()) }
    }

    fn require(&self, id: &str) -> Result<(Key, Columns), CustomersError> {
        self.find(id)?.ok_or_else(|| CustomersError::Unknown(id.to_owned()))
    }

    /// Finds the row with exactly this id.
    fn find(&self, id: &str) -> Result<Option<(Key, Columns)>, CustomersError> {
        let columns = format!("tb_username, tb_password, tb_url, {}", self.layout.key.join(", "));
        let mut found = None;
        let second = find_by_id(&self.connection, &self.layout, id, &columns, |is_exact, row| {
            if !is_exact || found.is_some() {
                return Ok(is_exact.then_some(()));
            }
            let password = text_of(row, 2)?.map(Secret::new);
            let columns = Columns { username: text_of(row, 1)?, password, url: text_of(row, 3)? };
            found = Some((read_key(row, &self.layout, 4)?, columns));
            Ok(None)
        });
        match second.map_err(|error| self.explain(&error))? {
            Some(()) => Err(CustomersError::Several(id.to_owned())),
            None => Ok(found),
        }
    }

    fn write(&self, id: &str, sql: &str, values: Vec<Value>) -> Result<(), CustomersError> {
        let statement = self.connection.prepare_cached(sql);
        let written = statement.and_then(|mut statement| statement.execute(params_from_iter(values)));
        written.map(drop).map_err(|error| match refused(&error) {
            Some(number) => CustomersError::Refused(id.to_owned(), number),
            None => self.explain(&error),
        })
    }

    /// Whether the row holds these columns, and can be renewed.
    fn check(&self, id: &str, columns: &Columns) -> Result<(), CustomersError> {
        let held = self.find(id)?.map(|(_, held)| held);
        let holds = |held: &Columns| columns.given().all(|given| held.given().any(|column| column == given));
        let held = held.filter(holds).ok_or_else(|| CustomersError::NotKept(id.to_owned()))?;
        let Columns { username, password, url } = held;
        let row = Row { id: CustomerId::new(id), url, username, password, has_token: false, expiry: None };
        let ineligible = |why: String| CustomersError::Ineligible(id.to_owned(), why);
        let customer = Customer::from_row(row, self.fallback_url.as_deref(), &mut Urls::default());
        let customer = customer.map_err(|row| ineligible(row.why.to_string()))?;
        let url = BaseUrl::parse(&customer.credentials.url);
        url.map(drop)
            .map_err(|why| ineligible(format!("{why}; write for example https://thingsboard.example.com")))
    }

    fn explain(&self, error: &rusqlite::Error) -> CustomersError {
        translate(&self.place, error).into()
    }
}

//! Rows that cannot be renewed, and former customers: their rows can no longer be renewed, or are gone.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::super::history::{Notice, NoticeKind};
use super::{CustomerState, State};
use crate::model::{CustomerId, Ineligibility, IneligibleRow, Record};

/// The number of customers that are lost at once with a log line each. One line counts the others.
const LOGGED_EACH: usize = 20;

/// The rows of the table that cannot be renewed, each id once and in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IneligibleRows(Arc<[IneligibleRow]>);

impl IneligibleRows {
    fn new(mut rows: Vec<IneligibleRow>) -> Self {
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        rows.dedup_by(|a, b| a.id == b.id);
        Self(rows.into())
    }

    /// Why the row with this id cannot be renewed, if there is one.
    pub fn why(&self, id: &str) -> Option<Ineligibility> {
        self.find(id).map(|row| row.why)
    }

    /// The letters of a GUID are the same in either case, as for a customer's id.
    fn find(&self, id: &str) -> Option<&IneligibleRow> {
        let is_guid = || id.len() == 36 && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        match self.0.binary_search_by(|row| row.id.as_str().cmp(id)) {
            Ok(found) => self.0.get(found),
            Err(_) if is_guid() => self.0.iter().find(|row| row.id.as_str().eq_ignore_ascii_case(id)),
            Err(_) => None,
        }
    }
}

/// A former customer. It is known while its row holds a token or, without a row, while its last token lives.
#[derive(Debug, Clone)]
pub struct FormerCustomer {
    /// What is wrong with its row; none if the row is gone.
    why: Option<Ineligibility>,
    /// When it was found to be no customer.
    pub since: DateTime<Utc>,
    /// When its last token ends.
    pub ends_at: Option<DateTime<Utc>>,
    /// The expiry in its row.
    expiry: Option<DateTime<Utc>>,
    has_token: bool,
    is_end_told: bool,
}

impl FormerCustomer {
    fn new(customer: Option<&CustomerState>, row: Option<&IneligibleRow>, at: DateTime<Utc>) -> Self {
        let ends_at = customer.filter(|customer| customer.row.has_token).and_then(CustomerState::ends_at);
        let mut former = Self {
            why: None,
            since: at,
            ends_at,
            expiry: customer.and_then(|customer| customer.row.expiry),
            has_token: customer.is_some_and(|customer| customer.row.has_token),
            is_end_told: ends_at.is_some_and(|end| end < at),
        };
        former.take_over(row, at);
        former
    }

    /// Takes over its row. If the row cannot be read, its token is not known either.
    fn take_over(&mut self, row: Option<&IneligibleRow>, at: DateTime<Utc>) {
        self.why = row.map(|row| row.why);
        if let Some(row) = row.filter(|row| matches!(row.why, Ineligibility::Blank(_))) {
            self.has_token = row.has_token;
            if self.expiry != row.expiry {
                (self.expiry, self.ends_at) = (row.expiry, row.expiry);
                self.is_end_told = self.ends_at.is_some_and(|end| end < at);
            }
        }
    }

    /// Whether it must still be known.
    fn is_of_interest(&self) -> bool {
        match self.why {
            Some(_) => self.has_token,
            None => self.ends_at.is_some() && !self.is_end_told,
        }
    }

    /// Why it is no longer renewed.
    pub fn reason(&self) -> String {
        self.why.map_or_else(|| "its row is gone".to_owned(), |why| why.to_string())
    }

    fn loss(&self) -> String {
        let token = match self.ends_at {
            Some(end) if !self.is_end_told => format!("; its last token ends at {}", end.format("%FT%TZ")),
            Some(_) => "; its last token has ended".to_owned(),
            None => String::new(),
        };
        format!("it is not renewed any more: {}{token}", self.reason())
    }
}

impl State {
    /// The former customers, in the order of their ids.
    pub fn former(&self) -> impl ExactSizeIterator<Item = (&CustomerId, &FormerCustomer)> {
        self.former.iter()
    }

    /// Takes over the rows that cannot be renewed. `gone` were customers until now. At the start, rows with a record were
    /// customers.
    pub(super) fn take_over_ineligible(
        &mut self,
        rows: Vec<IneligibleRow>,
        gone: &[CustomerState],
        records: &[Record],
        at: DateTime<Utc>,
    ) {
        let rows = IneligibleRows::new(rows);
        if rows != self.ineligible {
            self.ineligible = rows.clone();
        }
        let customers = &self.customers;
        self.former.retain(|id, former| {
            former.take_over(rows.find(id.as_str()), at);
            customers.get(id).is_none() && former.is_of_interest()
        });
        let mut lost: Vec<(CustomerId, FormerCustomer)> = Vec::new();
        for customer in gone {
            let id = &customer.row.id;
            lost.push((id.clone(), FormerCustomer::new(Some(customer), rows.find(id.as_str()), at)));
        }
        if self.table_read_at.is_none() {
            for record in records {
                let row = rows.find(record.id.as_str()).filter(|row| self.customers.get(&row.id).is_none());
                let Some(row) = row else { continue };
                self.customers.remember_left(record);
                if row.has_token {
                    lost.push((row.id.clone(), FormerCustomer::new(None, Some(row), at)));
                }
            }
        }
        self.report_lost(&lost, at);
        self.former.extend(lost.into_iter().filter(|(_, former)| former.is_of_interest()));
    }

    fn report_lost(&mut self, lost: &[(CustomerId, FormerCustomer)], at: DateTime<Utc>) {
        for (number, (id, former)) in lost.iter().enumerate() {
            let notice = Notice::new(at, NoticeKind::Ineligible, former.loss()).of(id);
            self.history.push(notice.quiet(number >= LOGGED_EACH));
        }
        if let Some(more) = lost.len().checked_sub(LOGGED_EACH).filter(|more| *more > 0) {
            let message = format!(
                "{more} more customers are not renewed any more; `tbctl status --problems` lists them"
            );
            self.note(at, NoticeKind::Warning, None, message);
        }
    }

    /// Tells once that the last token of a former customer has ended. Returns when the next one ends.
    pub(super) fn end_last_tokens(&mut self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut ended = Vec::new();
        let mut next = None;
        self.former.retain(|id, former| {
            let Some(end) = former.ends_at.filter(|_| !former.is_end_told) else { return true };
            if end >= now {
                next = [next, Some(end + TimeDelta::milliseconds(1))].into_iter().flatten().min();
                return true;
            }
            former.is_end_told = true;
            ended.push((id.clone(), former.reason()));
            former.is_of_interest()
        });
        if !ended.is_empty() {
            self.customers.revision += 1;
        }
        for (id, reason) in ended {
            let message = format!("its last token has ended, and it is not renewed any more: {reason}");
            self.note(now, NoticeKind::Expired, Some(&id), message);
        }
        next
    }
}

//! The daemon's snapshot, built from its answers: the rows, in the order of their ids, and an overview.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use tbtoken_proto::{Cron, Customer, Daemon, Server, StatusReply, Summary, host_of, words};

use crate::text;

/// The daemon's snapshot of its customers, built from its answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// The part without rows; `None` before the first answer.
    pub(crate) overview: Option<Overview>,
    customers: Vec<Customer>,
    /// The ThingsBoard servers, by name.
    servers: BTreeMap<String, Server>,
    widths: Widths,
}

/// The part of an answer without rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overview {
    pub(crate) cron: Cron,
    pub(crate) daemon: Daemon,
    pub(crate) summary: Summary,
    /// What is wrong with the database, and why.
    pub(crate) trouble: Option<(&'static str, String)>,
    /// Whether the table can be read.
    pub(crate) is_readable: bool,
    /// When the table was last read.
    pub(crate) as_of: Option<DateTime<Utc>>,
}

/// The ideal widths of the columns, over all rows, so that columns do not jump on scrolling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Widths {
    /// The number of characters that tell all ids apart.
    pub(crate) short_id: usize,
    /// The longest id.
    pub(crate) id: usize,
    /// The longest user.
    pub(crate) user: usize,
    /// The longest server.
    pub(crate) server: usize,
}

impl Widths {
    /// Returns the width of a shortened id with its ellipsis.
    pub(crate) fn cut_id(self) -> usize {
        (self.short_id + 1).min(self.id)
    }
}

/// The part of the snapshot that an answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing visible.
    Nothing,
    /// The overview only.
    Overview,
    /// Rows.
    Rows,
}

impl Snapshot {
    /// Returns the rows, in the order of their ids.
    pub(crate) fn customers(&self) -> &[Customer] {
        &self.customers
    }

    /// Returns the ideal widths of the columns.
    pub(crate) fn widths(&self) -> Widths {
        self.widths
    }

    /// Returns the customer with this id.
    pub(crate) fn find(&self, id: &str) -> Option<&Customer> {
        let at = self.customers.binary_search_by(|customer| customer.customer_id.as_str().cmp(id)).ok()?;
        self.customers.get(at)
    }

    /// Returns the server of a customer.
    pub(crate) fn server_of(&self, customer: &Customer) -> Option<&Server> {
        self.servers.get(&host_of(&customer.tb_url)?)
    }

    /// Whether the daemon can read its table.
    pub(crate) fn store_is_readable(&self) -> bool {
        self.overview.as_ref().is_none_or(|overview| overview.is_readable)
    }

    /// Merges an answer. Rows that it does not mention stay, unless it is complete.
    pub(crate) fn merge(&mut self, reply: StatusReply) -> Change {
        let trouble = reply.database_trouble().map(|(what, why)| (what, why.to_owned()));
        let StatusReply { cron, daemon, tokens, servers } = reply;
        let (summary, as_of, is_readable) = (tokens.summary, tokens.as_of, tokens.success);
        let overview = Overview { cron, daemon, summary, trouble, is_readable, as_of };

        let rows = tokens.customers.unwrap_or_default();
        let rows_change = tokens.complete || !rows.is_empty() || !tokens.removed.is_empty();
        if tokens.complete {
            self.customers = rows;
            self.customers.sort_by(|a, b| a.customer_id.cmp(&b.customer_id));
        } else if rows_change {
            self.merge_rows(rows, &tokens.removed);
        }
        if rows_change {
            self.widths = measure(&self.customers);
        }

        let servers = servers.unwrap_or_default();
        let servers_change = !servers.is_empty();
        if tokens.complete {
            self.servers.clear();
        }
        self.servers.extend(servers.into_iter().map(|server| (server.name.clone(), server)));
        if rows_change {
            self.forget_servers();
        }

        let change = if rows_change {
            Change::Rows
        } else if servers_change || self.overview.as_ref().is_none_or(|old| !old.looks_like(&overview)) {
            Change::Overview
        } else {
            Change::Nothing
        };
        self.overview = Some(overview);
        change
    }

    /// Forgets servers without customers: the daemon does not report them any more.
    fn forget_servers(&mut self) {
        if self.servers.is_empty() {
            return;
        }
        let used: HashSet<String> = self.customers.iter().filter_map(|row| host_of(&row.tb_url)).collect();
        self.servers.retain(|name, _| used.contains(name));
    }

    fn merge_rows(&mut self, rows: Vec<Customer>, removed: &[String]) {
        if !removed.is_empty() {
            let removed: HashSet<&str> = removed.iter().map(String::as_str).collect();
            self.customers.retain(|customer| !removed.contains(customer.customer_id.as_str()));
        }
        // New rows are appended and sorted once: inserting each at its place would move the rest each time.
        let known = self.customers.len();
        for row in rows {
            let place = self.customers[..known].binary_search_by(|old| old.customer_id.cmp(&row.customer_id));
            match place {
                Ok(at) => self.customers[at] = row,
                Err(_) => self.customers.push(row),
            }
        }
        if self.customers.len() > known {
            self.customers.sort_by(|a, b| a.customer_id.cmp(&b.customer_id));
        }
    }
}

impl Overview {
    /// Whether both look the same on the screen. It does not show the revision, and the time of the last poll only while
    /// the database is unreachable.
    fn looks_like(&self, other: &Self) -> bool {
        self.cron == other.cron
            && self.summary == other.summary
            && self.trouble == other.trouble
            && self.daemon.store == other.daemon.store
            && self.daemon.failing_receivers == other.daemon.failing_receivers
            && self.daemon.pid == other.daemon.pid
    }
}

fn measure(customers: &[Customer]) -> Widths {
    let longest = |of: fn(&Customer) -> &str| {
        customers.iter().map(|row| text::width(of(row))).max().unwrap_or_default()
    };
    let id = longest(|row| &row.customer_id);
    Widths {
        short_id: words::short_id_length(customers.iter().map(|row| row.customer_id.as_str())),
        id,
        user: longest(|row| &row.tb_username),
        server: longest(|row| server(&row.tb_url)),
    }
}

/// Shortens a URL for the table; the detail shows all of it.
pub(crate) fn server(url: &str) -> &str {
    let place = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    place.unwrap_or(url).trim_end_matches('/')
}

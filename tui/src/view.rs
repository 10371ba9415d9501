//! Which rows are shown, in which order, and which one is selected.

use std::cmp::Ordering;

use strum::{IntoStaticStr, VariantArray};
use tbtoken_proto::{Customer, Phase, words};

/// The order, filter and selection of the table.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) sort: Sort,
    pub(crate) direction: Direction,
    pub(crate) scope: Scope,
    pub(crate) filter: String,
    /// The rows to show, as indices into the list of customers.
    order: Vec<usize>,
    /// The id of the selected customer: the selection stays with the customer when its line moves.
    selected: Option<String>,
    /// Whether the operator chose it. Before that the first line is selected, whichever customer it holds, so that a screen
    /// without an operator shows the worst trouble.
    chosen: bool,
    /// The index of the selected customer in `order`.
    cursor: usize,
    /// The first visible line.
    top: usize,
}

/// The key that the table is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub(crate) enum Sort {
    /// Customers with problems come first.
    #[default]
    #[strum(serialize = "problems first")]
    Problems,
    /// By id.
    Customer,
    /// By ThingsBoard user.
    User,
    /// By ThingsBoard server.
    #[strum(serialize = "THINGSBOARD")]
    Server,
    /// The customer with the least time left comes first.
    Left,
    /// By the next attempt; parked customers come last.
    Next,
    /// By the last error, so that customers with the same error are neighbours; customers without one come last.
    #[strum(serialize = "LAST ERROR")]
    Error,
}

/// The direction in which the table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Direction {
    /// As [`Sort`] describes.
    #[default]
    Ascending,
    /// Reversed.
    Descending,
}

/// Which customers the table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Scope {
    /// All customers.
    #[default]
    All,
    /// Customers that are not healthy.
    Problems,
}

/// A step through the table or a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Up,
    Down,
    HalfUp,
    HalfDown,
    PageUp,
    PageDown,
    First,
    Last,
}

impl Step {
    /// Returns where the step leads from `at`; the caller limits it to the end.
    pub(crate) fn from(self, at: usize, page: usize) -> usize {
        let page = page.max(1);
        let half = page.div_ceil(2);
        match self {
            Self::Up => at.saturating_sub(1),
            Self::Down => at + 1,
            Self::HalfUp => at.saturating_sub(half),
            Self::HalfDown => at + half,
            Self::PageUp => at.saturating_sub(page),
            Self::PageDown => at + page,
            Self::First => 0,
            Self::Last => usize::MAX,
        }
    }
}

impl Sort {
    /// All orders as the menu lists them.
    pub(crate) const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns its name in the menu and in the line above the table.
    pub(crate) fn word(self) -> &'static str {
        self.into()
    }

    fn compare(self, a: &Customer, b: &Customer) -> Ordering {
        let by_id = || a.customer_id.cmp(&b.customer_id);
        match self {
            Self::Problems => words::problems_first(a, b),
            // A customer without a token has the least time left: None comes first.
            Self::Left => a.tbtokenexpiry.cmp(&b.tbtokenexpiry).then_with(by_id),
            Self::Customer => by_id(),
            Self::User => a.tb_username.cmp(&b.tb_username).then_with(by_id),
            Self::Server => a.tb_url.cmp(&b.tb_url).then_with(by_id),
            Self::Next => {
                let rank = |customer: &Customer| {
                    let at = customer.next_attempt_at.filter(|_| customer.state != Phase::Parked);
                    (at.is_none(), at)
                };
                rank(a).cmp(&rank(b)).then_with(by_id)
            }
            Self::Error => {
                let rank = |customer: &Customer| {
                    customer.failure.as_ref().map_or((true, ""), |failure| (false, failure.kind.short()))
                };
                rank(a).cmp(&rank(b)).then_with(by_id)
            }
        }
    }
}

impl Direction {
    pub(crate) fn opposite(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

impl View {
    /// Returns the number of rows.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns the index of the selected row.
    pub(crate) fn cursor(&self) -> usize {
        self.cursor
    }

    /// Returns the visible rows in `height` lines, each with whether it is the selected one.
    pub(crate) fn visible<'a>(
        &'a self,
        customers: &'a [Customer],
        height: usize,
    ) -> impl Iterator<Item = (bool, &'a Customer)> {
        let lines = self.order.iter().enumerate().skip(self.top).take(height);
        lines.filter_map(|(line, &at)| Some((line == self.cursor, customers.get(at)?)))
    }

    /// Returns the id of the selected customer.
    pub(crate) fn selected(&self) -> Option<&str> {
        self.selected.as_deref()
    }

    /// Filters and sorts the rows again. If the selected customer is no longer shown, the customer that took its line is
    /// selected.
    pub(crate) fn arrange(&mut self, customers: &[Customer]) {
        let needles: Vec<String> = self.filter.split_whitespace().map(str::to_lowercase).collect();
        let shown = |customer: &Customer| {
            (self.scope == Scope::All || !words::is_healthy(customer)) && matches(customer, &needles)
        };
        self.order = (0..customers.len()).filter(|&at| shown(&customers[at])).collect();
        let (sort, direction) = (self.sort, self.direction);
        self.order.sort_unstable_by(|&a, &b| match direction {
            Direction::Ascending => sort.compare(&customers[a], &customers[b]),
            Direction::Descending => sort.compare(&customers[b], &customers[a]),
        });
        let chosen = self.selected.as_ref().filter(|_| self.chosen);
        let kept = chosen.and_then(|id| self.order.iter().position(|&at| customers[at].customer_id == *id));
        let fallback = if self.chosen { self.cursor } else { 0 };
        self.put_cursor(kept.unwrap_or(fallback), customers);
    }

    /// Makes the selection stay on its customer.
    pub(crate) fn choose(&mut self) {
        self.chosen = true;
    }

    /// Releases the selected customer; the next [`arrange`](Self::arrange) selects the first line.
    /// Returns whether a customer was chosen.
    pub(crate) fn release_selection(&mut self) -> bool {
        std::mem::take(&mut self.chosen)
    }

    /// Moves the selection.
    pub(crate) fn step(&mut self, step: Step, page: usize, customers: &[Customer]) {
        self.choose();
        self.put_cursor(step.from(self.cursor, page), customers);
    }

    fn put_cursor(&mut self, line: usize, customers: &[Customer]) {
        self.cursor = line.min(self.order.len().saturating_sub(1));
        let selected = self.order.get(self.cursor).and_then(|&at| customers.get(at));
        // An empty table keeps the selection: the daemon may be starting, and the customer may come back.
        if let Some(customer) = selected {
            self.selected = Some(customer.customer_id.clone());
        }
    }

    /// Scrolls so that the selection is among the `height` visible lines and no line stays empty.
    pub(crate) fn follow(&mut self, height: usize) {
        let height = height.max(1);
        let lowest = self.cursor.saturating_sub(height - 1);
        self.top = self.top.clamp(lowest, self.cursor).min(self.order.len().saturating_sub(height));
    }
}

/// Whether the table's text of a customer contains every needle (in lower case).
fn matches(customer: &Customer, needles: &[String]) -> bool {
    if needles.is_empty() {
        return true;
    }
    let state = match customer.state {
        Phase::Ok | Phase::Unknown => "",
        state => state.word(),
    };
    let hay = format!(
        "{}\n{}\n{}\n{}\n{state}\n{}",
        customer.customer_id,
        customer.tb_username,
        customer.tb_url,
        customer.token_status.word(),
        words::last_error(customer),
    )
    .to_lowercase();
    needles.iter().all(|needle| hay.contains(needle.as_str()))
}

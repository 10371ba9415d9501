//! The modes of the dashboard: one at a time.

use crate::input::Action;

/// A mode: it decides which keys work and what covers the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// The table, with the selected customer below it.
    #[default]
    Table,
    /// The operator types the filter.
    Filter,
    /// The menu of orders, with the selected line.
    SortMenu { line: usize },
    /// Everything about one customer, even if the table no longer shows it.
    Detail { id: String, scroll: usize },
    /// The last events, newest first.
    Events { scroll: usize },
    /// The keys.
    Help { scroll: usize, back: Box<Mode> },
    /// A question before a risky action.
    Confirm { question: Question, focus: Button, back: Box<Mode> },
}

/// A question before an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) action: Action,
    pub(crate) title: String,
    /// What may happen.
    pub(crate) text: String,
    /// The word on the button that confirms.
    pub(crate) verb: &'static str,
}

/// The buttons of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Button {
    Cancel,
    Go,
}

impl Button {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Cancel => Self::Go,
            Self::Go => Self::Cancel,
        }
    }
}

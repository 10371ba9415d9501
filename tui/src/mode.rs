//! What the dashboard is doing with the operator: one mode at a time.

use crate::input::Action;

/// The mode says which keys count and what lies over the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// The table, with the selected customer below it.
    #[default]
    Table,
    /// The filter is being typed.
    Filter,
    /// The menu of orders, with the line that is chosen.
    SortMenu { line: usize },
    /// Everything about one customer. It stays with that customer, even if the table hides it meanwhile.
    Detail { id: String, scroll: usize },
    /// What happened lately, newest first.
    Events { scroll: usize },
    /// The keys.
    Help { scroll: usize, back: Box<Mode> },
    /// A question before something that could hurt.
    Confirm { question: Question, focus: Button, back: Box<Mode> },
}

/// What is asked before an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) action: Action,
    pub(crate) title: String,
    /// What may happen.
    pub(crate) text: String,
    /// The word on the button that does it.
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

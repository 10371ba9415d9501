//! The keys: what each one does in each mode.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tbtoken_proto::Phase;

use super::{App, Link, Tone};
use crate::explain;
use crate::input::{Action, Effect, Ending};
use crate::mode::{Button, Mode, Question};
use crate::view::{Direction, Scope, Sort, Step};

/// The most characters of a filter: it is a few words.
const MAX_FILTER: usize = 100;

impl App {
    pub(super) fn handle_key(&mut self, key: KeyEvent) -> Vec<Effect> {
        if key.kind == KeyEventKind::Release {
            return vec![];
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return vec![Effect::Quit(Ending::Requested)];
        }
        if control && key.code == KeyCode::Char('z') {
            return vec![Effect::Suspend];
        }
        if control && key.code == KeyCode::Char('l') {
            return vec![Effect::Redraw];
        }
        // Ctrl-S must not act as s; only the filter and the steps know keys with Ctrl.
        if control && self.mode != Mode::Filter && step(key).is_none() {
            return vec![];
        }
        let mut effects = match &self.mode {
            Mode::Table => self.table_key(key),
            Mode::Filter => self.filter_key(key),
            Mode::SortMenu { .. } => self.sort_key(key),
            Mode::Detail { .. } | Mode::Events { .. } => self.reader_key(key),
            Mode::Help { .. } => self.help_key(key),
            Mode::Confirm { .. } => self.confirm_key(key),
        };
        effects.push(Effect::Draw);
        effects
    }

    /// Adds pasted text to the filter while it is being typed, and ignores it elsewhere: its letters must not start
    /// passes.
    pub(super) fn handle_paste(&mut self, text: &str) -> Vec<Effect> {
        if self.mode != Mode::Filter {
            return vec![];
        }
        let line = text.trim().lines().next().unwrap_or_default().to_owned();
        self.view.filter.extend(line.chars().filter(|c| !c.is_control()));
        self.filter_changed();
        vec![Effect::Draw]
    }

    fn table_key(&mut self, key: KeyEvent) -> Vec<Effect> {
        if let Some(step) = step(key) {
            let page = self.page();
            let scene = self.frozen.as_ref().map_or(&self.live, |frozen| &frozen.scene);
            self.view.step(step, page, scene.snapshot.customers());
            return vec![];
        }
        match key.code {
            KeyCode::Char('q') => return vec![Effect::Quit(Ending::Requested)],
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('s') => {
                let line = Sort::ALL.iter().position(|&sort| sort == self.view.sort).unwrap_or_default();
                self.mode = Mode::SortMenu { line };
            }
            KeyCode::Char('p') => {
                self.view.scope = match self.view.scope {
                    Scope::All => Scope::Problems,
                    Scope::Problems => Scope::All,
                };
                self.arrange();
            }
            KeyCode::Enter => {
                self.view.choose();
                if let Some(customer) = self.subject() {
                    self.mode = Mode::Detail { id: customer.customer_id.clone(), scroll: 0 };
                }
            }
            KeyCode::Esc => {
                // One thing at a time: the notice, then the filter, then the selection.
                if self.notice().is_some() {
                    self.notice = None;
                } else if !self.view.filter.is_empty() {
                    self.view.filter.clear();
                    self.arrange();
                } else if self.view.release_selection() {
                    self.arrange();
                }
            }
            _ => return self.common_key(key),
        }
        vec![]
    }

    /// Handles keys that mean the same in the table and in a text.
    fn common_key(&mut self, key: KeyEvent) -> Vec<Effect> {
        match key.code {
            KeyCode::Char('e') => self.mode = Mode::Events { scroll: 0 },
            KeyCode::Char('f') => self.toggle_freeze(),
            KeyCode::Char('?') | KeyCode::F(1) => {
                self.mode = Mode::Help { scroll: 0, back: Box::new(std::mem::take(&mut self.mode)) };
            }
            KeyCode::Char('r') => return self.refresh_subject(),
            KeyCode::Char('R') => return self.act(Action::RefreshDue),
            KeyCode::Char('S') => return self.ask_start_stop(),
            KeyCode::Char('y') => return self.copy_id(),
            _ => {}
        }
        vec![]
    }

    fn filter_key(&mut self, key: KeyEvent) -> Vec<Effect> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Esc => {
                self.view.filter.clear();
                self.mode = Mode::Table;
            }
            KeyCode::Enter => {
                self.mode = Mode::Table;
                return vec![];
            }
            KeyCode::Backspace if self.view.filter.pop().is_none() => self.mode = Mode::Table,
            KeyCode::Backspace => {}
            KeyCode::Char('u') if control => self.view.filter.clear(),
            KeyCode::Char('w') if control => {
                let kept = self.view.filter.trim_end().rfind(' ').map_or(0, |space| space + 1);
                self.view.filter.truncate(kept);
            }
            KeyCode::Char(c) if !control => self.view.filter.push(c),
            // The operator can move through the table while typing a filter.
            KeyCode::Up | KeyCode::Down | KeyCode::PageUp | KeyCode::PageDown => return self.table_key(key),
            _ => return vec![],
        }
        self.filter_changed();
        vec![]
    }

    fn filter_changed(&mut self) {
        if let Some((end, _)) = self.view.filter.char_indices().nth(MAX_FILTER) {
            self.view.filter.truncate(end);
        }
        let before = self.view.selected().map(str::to_owned);
        self.arrange();
        // The first hit is the best guess, and it stays selected when the filter is cleared.
        let page = self.page();
        if self.view.selected() != before.as_deref() {
            let scene = self.frozen.as_ref().map_or(&self.live, |frozen| &frozen.scene);
            self.view.step(Step::First, page, scene.snapshot.customers());
        }
        self.view.choose();
    }

    fn sort_key(&mut self, key: KeyEvent) -> Vec<Effect> {
        let Mode::SortMenu { line } = &mut self.mode else { return vec![] };
        match (step(key), key.code) {
            (Some(step), _) => *line = step.from(*line, Sort::ALL.len()).min(Sort::ALL.len() - 1),
            (None, KeyCode::Enter | KeyCode::Char(' ')) => {
                let chosen = Sort::ALL.get(*line).copied().unwrap_or_default();
                // Choosing the current order again reverses it.
                self.view.direction = match chosen == self.view.sort {
                    true => self.view.direction.opposite(),
                    false => Direction::Ascending,
                };
                self.view.sort = chosen;
                self.mode = Mode::Table;
                self.arrange();
            }
            (None, KeyCode::Esc | KeyCode::Char('s' | 'q')) => self.mode = Mode::Table,
            _ => {}
        }
        vec![]
    }

    fn reader_key(&mut self, key: KeyEvent) -> Vec<Effect> {
        let page = self.page();
        let (Mode::Detail { scroll, .. } | Mode::Events { scroll }) = &mut self.mode else { return vec![] };
        if let Some(step) = step(key) {
            *scroll = step.from(*scroll, page);
            return vec![];
        }
        let events = matches!(self.mode, Mode::Events { .. });
        match key.code {
            KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q') => self.mode = Mode::Table,
            KeyCode::Char('e') if events => self.mode = Mode::Table,
            // The list of events shows no selected customer that these keys could apply to.
            KeyCode::Char('r' | 'y') if events => {}
            _ => return self.common_key(key),
        }
        vec![]
    }

    fn help_key(&mut self, key: KeyEvent) -> Vec<Effect> {
        let page = self.page();
        let Mode::Help { scroll, back } = &mut self.mode else { return vec![] };
        match (step(key), key.code) {
            (Some(step), _) => *scroll = step.from(*scroll, page),
            (None, KeyCode::Esc | KeyCode::Enter | KeyCode::F(1) | KeyCode::Char('q' | '?' | ' ')) => {
                self.mode = std::mem::take(back);
            }
            _ => {}
        }
        vec![]
    }

    fn confirm_key(&mut self, key: KeyEvent) -> Vec<Effect> {
        let Mode::Confirm { question, focus, back } = &mut self.mode else { return vec![] };
        let go = match key.code {
            KeyCode::Left
            | KeyCode::Right
            | KeyCode::Tab
            | KeyCode::BackTab
            | KeyCode::Up
            | KeyCode::Down
            | KeyCode::Char('h' | 'j' | 'k' | 'l') => {
                *focus = focus.other();
                return vec![];
            }
            KeyCode::Enter | KeyCode::Char(' ') => *focus == Button::Go,
            KeyCode::Char('y') => true,
            KeyCode::Esc | KeyCode::Char('q' | 'n') => false,
            _ => return vec![],
        };
        let action = question.action.clone();
        self.mode = std::mem::take(back);
        if go { self.act(action) } else { vec![] }
    }

    /// Handles `r`: refreshes the selected customer, a parked one only after a question.
    fn refresh_subject(&mut self) -> Vec<Effect> {
        self.view.choose();
        let Some(customer) = self.subject() else { return vec![] };
        let action = Action::Refresh(customer.customer_id.clone());
        if customer.state != Phase::Parked {
            return self.act(action);
        }
        let action = if explain::needs_force(customer) {
            Action::ForceRefresh(customer.customer_id.clone())
        } else {
            action
        };
        let question = Question {
            action,
            title: format!("Refresh {} once?", self.short_id(&customer.customer_id)),
            text: explain::describe_risk(customer),
            verb: "Refresh",
        };
        self.ask(question)
    }

    /// Handles `S`: starts or stops the loop after a question.
    fn ask_start_stop(&mut self) -> Vec<Effect> {
        let Some(overview) = &self.live.snapshot.overview else {
            self.show_notice(Tone::Bad, "Not now: the daemon has not answered yet.".to_owned());
            return vec![];
        };
        let question = if overview.cron.running {
            Question {
                action: Action::Stop,
                title: "Stop the loop?".to_owned(),
                text: "A running pass finishes. After that no token is renewed until you start the loop again, and the \
                       tokens end one by one."
                    .to_owned(),
                verb: "Stop",
            }
        } else {
            Question {
                action: Action::Start,
                title: "Start the loop?".to_owned(),
                text: "A pass over all due customers begins now, then one pass per interval.".to_owned(),
                verb: "Start",
            }
        };
        self.ask(question)
    }

    /// Asks a question with Cancel focused; if the action is impossible now, shows the reason.
    fn ask(&mut self, question: Question) -> Vec<Effect> {
        if let Some(obstacle) = self.obstacle(&question.action) {
            self.show_notice(Tone::Bad, obstacle);
        } else {
            let back = Box::new(std::mem::take(&mut self.mode));
            self.mode = Mode::Confirm { question, focus: Button::Cancel, back };
        }
        vec![]
    }

    fn act(&mut self, action: Action) -> Vec<Effect> {
        if let Some(obstacle) = self.obstacle(&action) {
            self.show_notice(Tone::Bad, obstacle);
            return vec![];
        }
        self.notice = None;
        self.running.push(action.clone());
        vec![Effect::Act(action)]
    }

    /// Whether the daemon and the database are available for this action.
    pub(crate) fn is_possible(&self, action: &Action) -> bool {
        self.outage(action).is_none()
    }

    fn outage(&self, action: &Action) -> Option<&'static str> {
        let refresh = matches!(action, Action::Refresh(_) | Action::ForceRefresh(_) | Action::RefreshDue);
        match self.link {
            Link::Connecting => Some("Not now: the daemon has not answered yet."),
            Link::Silent { .. } => Some("Not now: the daemon does not answer."),
            Link::Down { .. } => Some("Not now: the daemon is unreachable."),
            Link::Up { .. } if refresh && !self.live.snapshot.store_is_readable() => {
                Some("Not now: the daemon cannot reach its database.")
            }
            Link::Up { .. } => None,
        }
    }

    /// Returns why an action is impossible now.
    fn obstacle(&self, action: &Action) -> Option<String> {
        if let Some(outage) = self.outage(action) {
            return Some(outage.to_owned());
        }
        if self.running.contains(action) {
            return Some("This is already running.".to_owned());
        }
        // Each action holds a connection, and the daemon serves few connections per user.
        (self.running.len() >= 8).then(|| "8 actions are running: wait until one ends.".to_owned())
    }

    fn copy_id(&mut self) -> Vec<Effect> {
        self.view.choose();
        let Some(customer) = self.subject() else { return vec![] };
        let id = customer.customer_id.clone();
        self.show_notice(
            Tone::Plain,
            format!("Copied {} (if this terminal allows it).", self.theme.printable(&id)),
        );
        vec![Effect::Copy(id)]
    }
}

/// Returns the step that a key stands for in tables, menus and texts.
fn step(key: KeyEvent) -> Option<Step> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Up | KeyCode::Char('k') => Step::Up,
        KeyCode::Down | KeyCode::Char('j') => Step::Down,
        KeyCode::PageUp => Step::PageUp,
        KeyCode::PageDown => Step::PageDown,
        KeyCode::Home | KeyCode::Char('g') => Step::First,
        KeyCode::End | KeyCode::Char('G') => Step::Last,
        KeyCode::Char('u') if control => Step::HalfUp,
        KeyCode::Char('d') if control => Step::HalfDown,
        KeyCode::Char('b') if control => Step::PageUp,
        KeyCode::Char('f') if control => Step::PageDown,
        _ => return None,
    })
}

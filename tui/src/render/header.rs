//! The header: the daemon, its loop and the time; or, in reverse, an outage.

use chrono::TimeDelta;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use tbtoken_proto::{LastRun, words};

use super::line::{self, Piece};
use crate::app::{App, Link};
use crate::snapshot::Overview;
use crate::text::{clip_start, time, time_exact, width};

/// ```text
///  tbtokend  mssql sql01/app   loop RUNNING  next in 42s   last 3 renewed 1 failed (0.4s)     14:03Z  ? help
///  DAEMON UNREACHABLE for 42s, showing 14:02Z, trying again in 3s
///  DAEMON DOES NOT ANSWER for 5s, showing 14:02Z, still waiting
/// ```
pub(super) fn render(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let frozen = app.frozen_at().map(|at| format!(" FROZEN {} ", time_exact(at, at)));
    let room = usize::from(area.width).saturating_sub(2 + frozen.as_deref().map_or(0, width));
    if let Some(alarm) = alarm(app, room) {
        let line = Line::raw(format!(" {alarm} "));
        frame.buffer_mut().set_style(area, app.theme.alarm());
        frame.render_widget(line, area);
        // The alarm keeps changing on a frozen screen, so FROZEN must be visible too.
        frame.render_widget(Line::raw(frozen.unwrap_or_default()).right_aligned(), area);
        return;
    }
    let right = line::fit(right(app, area.width), area.width.into(), &[2]);
    let right_width = u16::try_from(right.width()).unwrap_or(area.width).min(area.width.saturating_sub(1));
    let left_area = Rect { x: area.x + 1, width: area.width.saturating_sub(right_width + 3), ..area };
    let right_area = Rect { x: area.right().saturating_sub(right_width + 1), width: right_width, ..area }
        .intersection(area);
    let left = match &app.scene().snapshot.overview {
        Some(overview) => running(app, overview, left_area.width.into()),
        None => line::fit(
            vec![Piece::new(0, "tbtokend", app.theme.strong()), Piece::new(0, "connecting", Style::new())],
            left_area.width.into(),
            &[2],
        ),
    };
    frame.render_widget(left, left_area);
    frame.render_widget(right, right_area);
}

/// Returns the outage in the longest form that fits.
pub(super) fn alarm(app: &App, columns: usize) -> Option<String> {
    let now = app.now;
    let (what, since, showing, again) = match (&app.link, &app.scene().snapshot.overview) {
        (Link::Down { since, last_answer, retry_at, .. }, _) => {
            let left = *retry_at - now;
            let again = if left < TimeDelta::seconds(1) {
                "trying again now".to_owned()
            } else {
                format!("trying again in {}", words::duration(left))
            };
            ("DAEMON UNREACHABLE", Some(*since), *last_answer, again)
        }
        (Link::Silent { last_answer }, _) => {
            ("DAEMON DOES NOT ANSWER", Some(*last_answer), Some(*last_answer), "still waiting".to_owned())
        }
        (_, Some(overview)) => {
            let (what, _) = overview.trouble.as_ref()?;
            // While the table can be read, the rows are current.
            let read = overview.as_of.filter(|_| !overview.is_readable);
            let again = match overview.cron.next_run_at {
                Some(at) if at > now => format!("trying again in {}", words::duration(at - now)),
                Some(_) => "trying again now".to_owned(),
                None => "the loop is STOPPED".to_owned(),
            };
            (*what, read, read, again)
        }
        (_, None) => return None,
    };
    let what = what.to_uppercase();
    let lasting = since.map(|since| format!(" for {}", words::duration(now - since))).unwrap_or_default();
    let showing = showing.map(|at| format!(", showing {}", time(at, now))).unwrap_or_default();
    let forms = [
        format!("{what}{lasting}{showing}, {again}"),
        format!("{what}{lasting}, {again}"),
        format!("{what}{lasting}{showing}"),
        format!("{what}{lasting}"),
        what,
    ];
    let shortest = forms.last().cloned();
    forms.into_iter().find(|form| width(form) <= columns).or(shortest)
}

fn right(app: &App, columns: u16) -> Vec<Piece<'static>> {
    let clock = match app.frozen_at() {
        Some(at) => Piece::new(0, format!(" FROZEN {} ", time_exact(at, at)), app.theme.reverse()),
        None => Piece::new(0, time(app.now, app.now), Style::new()),
    };
    let mut pieces = vec![clock];
    if names_help_key(columns.into()) {
        pieces.push(Piece::key(1, "?", "help", app.theme.strong(), Style::new()));
    }
    pieces
}

/// Whether the header of a screen of so many columns names the help key. If not, the footer does.
pub(super) fn names_help_key(columns: usize) -> bool {
    columns >= 72
}

fn running(app: &App, overview: &Overview, columns: usize) -> Line<'static> {
    let theme = app.theme;
    // The place of the store matters more than its kind.
    let store = theme.printable(&overview.daemon.store);
    let store = store.split_once(' ').map_or(store.as_str(), |(_kind, place)| place);
    let store = clip_start(store, 20, theme.glyphs.ellipsis);
    let mut pieces = vec![
        Piece::new(5, "tbtokend", theme.strong()),
        Piece::new(4, store, Style::new()),
        state(app, overview),
    ];
    if overview.cron.running || overview.cron.refreshing {
        let (next, style) = next(app, overview);
        pieces.push(Piece::new(1, format!("{next:<NEXT$}"), style));
    }
    if let Some(last) = &overview.cron.last_run {
        let style = if last.errors > 0 { theme.warn() } else { Style::new() };
        let room = if columns < WIDE { LAST_NARROW } else { LAST };
        pieces.push(Piece::new(3, format!("{:<room$}", last_run(last, room)), style));
    }
    line::fit(pieces, columns, &[3, 2])
}

// These have a fixed width; otherwise the rest of the line would move each second.
/// `next in 59s`, `renewing now`
const NEXT: usize = 12;
/// `last 100 renewed 10 failed (9.9s)`
const LAST: usize = 33;
/// `last 3 renewed 1 failed`
const LAST_NARROW: usize = 23;
/// The least width for `LAST` instead of `LAST_NARROW`.
const WIDE: usize = 61;

/// Returns when the next pass is; empty if not known.
fn next(app: &App, overview: &Overview) -> (String, Style) {
    let left = overview.cron.next_run_at.map(|at| at - app.scene_time());
    match left {
        _ if overview.cron.refreshing => ("renewing now".to_owned(), app.theme.good()),
        None => (String::new(), Style::new()),
        Some(left) if left >= TimeDelta::seconds(1) => {
            (format!("next in {}", words::duration(left)), Style::new())
        }
        Some(_) => ("next now".to_owned(), Style::new()),
    }
}

fn state(app: &App, overview: &Overview) -> Piece<'static> {
    if overview.cron.running {
        Piece::new(0, "loop RUNNING", Style::new())
    } else {
        // A stopped loop looks peaceful while all tokens end, so it gets the alarm style.
        Piece::new(0, " loop STOPPED, S starts it ", app.theme.alarm())
    }
}

/// Returns the result of the last pass in the longest form that fits.
fn last_run(last: &LastRun, columns: usize) -> String {
    let took = match last.duration_ms {
        ms @ 0..10_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        ms => words::duration(TimeDelta::milliseconds(i64::try_from(ms).unwrap_or(i64::MAX / 1000))),
    };
    let did = match (last.total, last.errors) {
        (0, _) => "last none due".to_owned(),
        (_, 0) => format!("last {} renewed", last.updated),
        (_, errors) => format!("last {} renewed {errors} failed", last.updated),
    };
    let forms = [format!("{did} ({took})"), did, format!("last {} failed", last.errors)];
    forms.into_iter().find(|form| width(form) <= columns).unwrap_or_default()
}

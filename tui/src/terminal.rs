//! The terminal: put into raw mode at the start, and restored on every way out.

use std::io::{self, BufWriter, Stdout, Write, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::clipboard::CopyToClipboard;
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::style::{Attribute, SetAttribute, force_color_output};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal};

/// Whether the terminal is in raw mode. Global, because the panic hook needs it too.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal in raw mode on its alternate screen. Dropping it restores the terminal.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    /// Takes over the terminal.
    ///
    /// # Errors
    /// The terminal refuses; it is restored.
    pub(crate) fn open() -> io::Result<Self> {
        restore_on_panic();
        // The theme decides about colours; crossterm would obey NO_COLOR even against --color always.
        force_color_output(true);
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let taken = execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste, Hide).and_then(|()| {
            Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(64 * 1024, stdout())))
        });
        match taken {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Returns its columns and rows.
    ///
    /// # Errors
    /// The size is unknown.
    pub(crate) fn size(&self) -> io::Result<(u16, u16)> {
        size()
    }

    /// Draws the changes since the last frame.
    ///
    /// # Errors
    /// The terminal does not take it.
    pub(crate) fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        // A thread that panicked has restored the terminal; the frame must not overwrite its message.
        if !TAKEN.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.terminal.draw(render).map(drop)
    }

    /// Restores the terminal, stops the process, and takes over the terminal again when the shell continues it.
    ///
    /// The whole process group stops, as on Ctrl-Z: `sudo` and other parents belong to the job. Without a shell that controls
    /// jobs the kernel ignores the signal, and the dashboard is back at once.
    ///
    /// # Errors
    /// The terminal does not take it.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        restore();
        kill(Pid::from_raw(0), Signal::SIGTSTP)?;
        TAKEN.store(true, Ordering::SeqCst);
        self.forget()
    }

    /// Takes over the terminal again after a suspension, and makes the next frame draw the whole screen.
    ///
    /// # Errors
    /// The terminal does not take it.
    pub(crate) fn forget(&mut self) -> io::Result<()> {
        // After a stop by another process crossterm still believes that the terminal is in raw mode.
        disable_raw_mode()?;
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste, Hide)?;
        // `Terminal::clear` would query the position of the cursor, and the keyboard thread would read the answer.
        let (columns, rows) = self.size()?;
        self.terminal.resize(Rect::new(0, 0, columns, rows))
    }

    /// Puts text into the clipboard of the terminal, also over SSH (OSC 52).
    ///
    /// # Errors
    /// The terminal does not take it.
    pub(crate) fn copy(&mut self, text: String) -> io::Result<()> {
        let mut out = stdout();
        queue!(out, CopyToClipboard::to_clipboard_from(text))?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal, once. It ignores errors: if one occurs, the terminal is gone.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal without an alternate screen, such as an old Linux console, is cleared.
        let _ = execute!(
            stdout(),
            SetAttribute(Attribute::Reset),
            Clear(ClearType::All),
            MoveTo(0, 0),
            DisableBracketedPaste,
            LeaveAlternateScreen,
            Show
        );
        let _ = disable_raw_mode();
    }
}

/// Restores the terminal before a panic prints its message: on the alternate screen it would be lost.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            usual(info);
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use chrono::TimeDelta;
    use portable_pty::CommandBuilder;
    use ratatui::style::{Color, Style};
    use ratatui::text::Line;
    use ratatui::{TerminalOptions, Viewport};

    use super::*;
    use crate::app::App;
    use crate::input::{Effect, Ending, Input};
    use crate::listen::spawn;
    use crate::support::pty::{LEAVE_ALTERNATE, Run};
    use crate::support::{noon, status, steady};
    use crate::theme::Theme;

    /// The variable with which the tests that panic on purpose do so.
    const DIE: &str = "TBTUI_TEST_DIES";

    fn draw(screen: &mut Screen, text: &str) {
        let line = Line::styled(text.to_owned(), Style::new().fg(Color::Red));
        screen.draw(|frame| frame.render_widget(line, frame.area())).unwrap();
    }

    /// Runs a test that panics on purpose in its own process and terminal.
    fn run_panicking_test(test: &str) -> Run {
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--nocapture"]);
        command.arg(format!("terminal::tests::{test}"));
        command.env(DIE, "1");
        command.env("RUST_BACKTRACE", "0");
        let mut run = Run::start(command);
        assert_eq!(run.end().exit_code(), 101);
        run.is_whole();
        run
    }

    /// Returns the bytes drawn in so many seconds in which only the clock and the next poll change.
    fn bytes_drawn(seconds: i64, size: (u16, u16)) -> usize {
        let mut app = App::new(Theme::new(true, false), "/run/x.sock".to_owned(), size, noon());
        app.update(Input::Status(Box::new(status(steady(noon()), noon()))), noon());
        let screen = TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, size.0, size.1)) };
        let mut bytes = Vec::new();
        let mut terminal = Terminal::with_options(CrosstermBackend::new(&mut bytes), screen).unwrap();
        terminal.draw(|frame| crate::render::render(frame, &app)).unwrap();
        for second in 1..=seconds {
            let now = noon() + TimeDelta::seconds(second);
            let mut reply = status(vec![], noon());
            reply.tokens.complete = false;
            reply.tokens.summary = app.scene().snapshot.overview.as_ref().unwrap().summary;
            reply.cron.next_run_at =
                reply.cron.next_run_at.map(|at| at + TimeDelta::minutes((second + 17) / 60));
            let mut effects = app.update(Input::Status(Box::new(reply)), now);
            effects.extend(app.update(Input::Tick, now));
            if effects.contains(&Effect::Draw) {
                terminal.draw(|frame| crate::render::render(frame, &app)).unwrap();
            }
        }
        drop(terminal);
        bytes.len()
    }

    /// A frame in which only the clock changes must not write the whole screen, for the sake of slow lines.
    #[test]
    fn a_minute_of_nothing_but_the_clock_takes_a_few_kilobytes() {
        for size in [(200, 50), (100, 30), (80, 24), (60, 16), (40, 10)] {
            let a_minute = (bytes_drawn(180, size) - bytes_drawn(0, size)) / 3;
            println!("{size:?}: {a_minute} bytes a minute");
            assert!((1024..8 * 1024).contains(&a_minute), "{size:?}: {a_minute}");
        }
    }

    #[test]
    fn panics_while_the_terminal_is_taken() {
        if std::env::var_os(DIE).is_none() {
            return;
        }
        let mut screen = Screen::open().unwrap();
        draw(&mut screen, "all is well");
        panic!("died on purpose");
    }

    #[test]
    fn a_panic_restores_the_terminal_and_shows_its_message() {
        let run = run_panicking_test("panics_while_the_terminal_is_taken");
        assert!(run.wrote("all is well"));
        let contents = run.contents();
        assert!(contents.contains("died on purpose") && !contents.contains("all is well"), "{contents}");
    }

    #[test]
    fn panics_in_a_thread_while_the_terminal_is_taken() {
        if std::env::var_os(DIE).is_none() {
            return;
        }
        let mut screen = Screen::open().unwrap();
        draw(&mut screen, "all is well");
        let (sender, inputs) = sync_channel(1);
        spawn("poll", sender, |_| panic!("a thread died on purpose")).unwrap();
        assert!(matches!(inputs.recv().unwrap(), Input::End(Ending::Panicked("poll"))));
        draw(&mut screen, "too late");
        panic!("so the rest ends, too");
    }

    #[test]
    fn no_frame_overwrites_the_message_of_a_panicking_thread() {
        let run = run_panicking_test("panics_in_a_thread_while_the_terminal_is_taken");
        let contents = run.contents();
        assert!(contents.contains("a thread died on purpose"), "{contents}");
        assert!(!run.wrote("too late"), "{contents}");
        let leave = std::str::from_utf8(LEAVE_ALTERNATE).unwrap();
        assert_eq!(String::from_utf8_lossy(&run.raw).matches(leave).count(), 1, "restored once");
    }
}

//! A program in a pseudo-terminal, with a terminal emulator that reads its screen.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

/// The longest wait of a test.
pub const DEADLINE: Duration = Duration::from_secs(40);

pub const ENTER_ALTERNATE: &[u8] = b"\x1b[?1049h";
pub const LEAVE_ALTERNATE: &[u8] = b"\x1b[?1049l";
pub const SHOW_CURSOR: &[u8] = b"\x1b[?25h";

/// A program in a terminal.
pub struct Run {
    pub master: Option<Box<dyn MasterPty + Send>>,
    pub child: Box<dyn Child + Send + Sync>,
    pub keyboard: Option<Box<dyn Write + Send>>,
    pub output: Receiver<Vec<u8>>,
    pub screen: vt100::Parser,
    /// Everything that it wrote.
    pub raw: Vec<u8>,
    /// The settings of the terminal before the program started.
    settings: String,
}

pub fn size(rows: u16, cols: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

impl Run {
    /// Starts a program in a terminal of 100x30.
    pub fn start(command: CommandBuilder) -> Self {
        let pair = native_pty_system().openpty(size(30, 100)).unwrap();
        let settings = settings(pair.master.as_ref());
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let keyboard = pair.master.take_writer().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            master: Some(pair.master),
            child,
            keyboard: Some(keyboard),
            output,
            screen: vt100::Parser::new(30, 100, 0),
            raw: vec![],
            settings,
        }
    }

    /// The settings of the terminal now.
    pub fn settings(&self) -> String {
        settings(self.master.as_ref().unwrap().as_ref())
    }

    /// Waits for these settings of the terminal.
    pub fn until_settings(&self, wanted: &str) {
        let deadline = Instant::now() + DEADLINE;
        while self.settings() != wanted {
            assert!(Instant::now() < deadline, "{}\nis not\n{wanted}", self.settings());
            std::thread::yield_now();
        }
    }

    pub fn contents(&self) -> String {
        self.screen.screen().contents()
    }

    /// Reads until the screen satisfies `wanted`.
    pub fn until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        self.read_until(|run| wanted(&run.contents()));
        self.contents()
    }

    /// Reads until the program has written this text.
    pub fn until_wrote(&mut self, text: &str) {
        self.read_until(|run| run.wrote(text));
    }

    fn read_until(&mut self, wanted: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !wanted(self) {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => {
                    self.screen.process(&bytes);
                    self.raw.extend(bytes);
                }
                Err(error) => panic!("{error}; the screen shows\n{}", self.contents()),
            }
        }
    }

    pub fn until_shows(&mut self, text: &str) -> String {
        self.until(|contents| contents.contains(text))
    }

    /// Whether the program has ever written this text.
    pub fn wrote(&self, text: &str) -> bool {
        self.raw.windows(text.len()).any(|window| window == text.as_bytes())
    }

    pub fn press(&mut self, keys: &str) {
        let keyboard = self.keyboard.as_mut().unwrap();
        keyboard.write_all(keys.as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.process_id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// The processor time that it has used.
    pub fn cpu(&self) -> Duration {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.process_id().unwrap())).unwrap();
        // After the name in parentheses, utime and stime are the 12th and 13th fields, in ticks of 10 ms.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// Waits for the process to end, and reads the rest of what it wrote.
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => {
                    self.screen.process(&bytes);
                    self.raw.extend(bytes);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it does not end; the screen shows\n{}", self.contents())
                }
            }
        }
        self.child.wait().unwrap()
    }

    /// Waits for the end, and checks that the terminal is restored.
    pub fn ends_cleanly(&mut self) {
        let status = self.end();
        assert_eq!(status.exit_code(), 0, "{status:?}");
        self.is_whole();
    }

    /// Checks that the terminal is restored: the main screen, the cursor, the style, the modes, the line discipline.
    pub fn is_whole(&self) {
        let last = |needle: &[u8]| self.raw.windows(needle.len()).rposition(|window| window == needle);
        let entered = last(ENTER_ALTERNATE).expect("it used the alternate screen");
        let left = last(LEAVE_ALTERNATE).expect("it left the alternate screen");
        assert!(left > entered);
        assert!(last(SHOW_CURSOR).is_some_and(|shown| shown > entered), "the cursor is back");
        let tail = String::from_utf8_lossy(&self.raw[entered..left]);
        let styles = tail.rmatch_indices("\u{1b}[").map(|(at, _)| &tail[at + 2..]);
        let styles =
            styles.filter_map(|rest| rest.find(|c: char| c.is_ascii_alphabetic()).map(|end| &rest[..=end]));
        let last_style = styles.into_iter().find(|code| code.ends_with('m'));
        assert!(matches!(last_style, Some("0m" | "m")), "the style is reset: {last_style:?}");
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste());
        if let Some(master) = &self.master {
            assert_eq!(settings(master.as_ref()), self.settings, "echo and line editing are back");
        }
    }
}

/// Returns the settings of the line discipline.
fn settings(master: &dyn MasterPty) -> String {
    format!("{:?}", master.get_termios().unwrap())
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

//! Decodes the bytes of the terminal into keys and pastes.
//!
//! crossterm could do this, but its reader never returns after the terminal is gone. It also loses a key that arrives
//! together with a change of the size. The dashboard knows few keys; decoding them takes less code than guarding that
//! reader.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::input::Input;

/// The most bytes of a paste: the filter takes 100 characters.
const MAX_PASTE: usize = 16 * 1024;

/// The longest escape sequence of a key, in bytes.
const MAX_SEQUENCE: usize = 32;

const ESCAPE: u8 = 0x1b;
const PASTE_END: &[u8] = b"\x1b[201~";

/// Turns bytes into inputs, in whole sequences or in pieces.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The beginning of a sequence whose end is still missing.
    pending: Vec<u8>,
    /// The text so far, during a paste.
    paste: Option<Vec<u8>>,
}

/// The first token in a run of bytes.
enum Token {
    /// A key of this many bytes.
    Key(KeyEvent, usize),
    /// The beginning of a paste, of this many bytes.
    Paste(usize),
    /// This many bytes without a meaning here.
    Noise(usize),
    /// The beginning of a token whose rest is missing.
    Incomplete,
}

impl Decoder {
    /// Decodes bytes and returns the inputs that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Input> {
        let mut bytes = [std::mem::take(&mut self.pending).as_slice(), bytes].concat();
        let mut inputs = Vec::new();
        loop {
            if self.paste.is_some() {
                let Some(used) = self.feed_paste(&bytes, &mut inputs) else { return inputs };
                bytes.drain(..used);
            }
            if bytes.is_empty() {
                return inputs;
            }
            let used = match token(&bytes) {
                Token::Key(key, used) => {
                    inputs.push(Input::Key(key));
                    used
                }
                Token::Paste(used) => {
                    self.paste = Some(Vec::new());
                    used
                }
                Token::Noise(used) => used,
                Token::Incomplete => {
                    self.pending = bytes;
                    return inputs;
                }
            };
            bytes.drain(..used);
        }
    }

    /// Whether a sequence is incomplete that could also be a key by itself: Esc begins the sequences of other keys.
    pub(crate) fn is_waiting(&self) -> bool {
        self.paste.is_none() && !self.pending.is_empty()
    }

    /// Ends an incomplete sequence when no byte follows: Esc alone is the key Esc, anything else is dropped.
    pub(crate) fn end_sequence(&mut self) -> Option<Input> {
        if !self.is_waiting() {
            return None;
        }
        let pending = std::mem::take(&mut self.pending);
        (pending == [ESCAPE]).then(|| Input::Key(plain(KeyCode::Esc)))
    }

    /// Adds pasted bytes; returns how many were used if the paste has ended, `None` if it continues.
    fn feed_paste(&mut self, bytes: &[u8], inputs: &mut Vec<Input>) -> Option<usize> {
        let paste = self.paste.as_mut()?;
        let end = bytes.windows(PASTE_END.len()).position(|window| window == PASTE_END);
        // The end mark may come in two pieces, so that many bytes are kept back.
        let taken = end.unwrap_or_else(|| bytes.len().saturating_sub(PASTE_END.len() - 1));
        let room = MAX_PASTE.saturating_sub(paste.len());
        paste.extend(&bytes[..taken.min(room)]);
        if end.is_none() {
            self.pending = bytes[taken..].to_vec();
            return None;
        }
        let paste = self.paste.take().unwrap_or_default();
        inputs.push(Input::Paste(String::from_utf8_lossy(&paste).into_owned()));
        Some(taken + PASTE_END.len())
    }
}

fn plain(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

/// Returns the first token of `bytes`, which must not be empty.
fn token(bytes: &[u8]) -> Token {
    let key = |code| Token::Key(plain(code), 1);
    match bytes[0] {
        ESCAPE => escape(bytes),
        b'\r' | b'\n' => key(KeyCode::Enter),
        b'\t' => key(KeyCode::Tab),
        0x08 | 0x7f => key(KeyCode::Backspace),
        control @ 0x01..=0x1a => {
            let letter = char::from(control - 1 + b'a');
            Token::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL), 1)
        }
        0x00..0x20 => Token::Noise(1),
        ascii @ 0x20..0x80 => key(KeyCode::Char(char::from(ascii))),
        0x80.. => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Token {
    let start = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() == 0 => {
            return error.error_len().map_or(Token::Incomplete, Token::Noise);
        }
        Err(error) => std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(c) => Token::Key(plain(KeyCode::Char(c)), c.len_utf8()),
        None => Token::Noise(1),
    }
}

/// Returns the first token of bytes that begin with Esc.
fn escape(bytes: &[u8]) -> Token {
    match bytes.get(1) {
        None => Token::Incomplete,
        Some(b'[') => control_sequence(bytes),
        // In application mode, arrows come as Esc O A.
        Some(b'O') => match bytes.get(2) {
            None => Token::Incomplete,
            Some(&last) => letter_key(last).map_or(Token::Noise(3), |code| Token::Key(plain(code), 3)),
        },
        // The dashboard has no keys with Alt: this is Esc and another key after it.
        Some(_) => Token::Key(plain(KeyCode::Esc), 1),
    }
}

/// Returns the first token of bytes in the form `Esc [ parameters final`.
fn control_sequence(bytes: &[u8]) -> Token {
    // The Linux console sends Esc [ [ A for F1.
    if bytes.get(2) == Some(&b'[') {
        return match bytes.get(3) {
            None => Token::Incomplete,
            Some(b'A') => Token::Key(plain(KeyCode::F(1)), 4),
            Some(_) => Token::Noise(4),
        };
    }
    let parameters = &bytes[2..];
    let Some(length) = parameters.iter().position(|byte| !(0x20..0x40).contains(byte)) else {
        return if bytes.len() > MAX_SEQUENCE { Token::Noise(bytes.len()) } else { Token::Incomplete };
    };
    let used = 2 + length + 1;
    let last = parameters[length];
    if !(0x40..0x7f).contains(&last) {
        // Another sequence interrupts this one.
        return Token::Noise(used - 1);
    }
    let number = parameters[..length].split(|&byte| byte == b';').next().unwrap_or_default();
    let code = match (last, number) {
        (b'~', b"200") => return Token::Paste(used),
        (b'~', b"1" | b"7") => Some(KeyCode::Home),
        (b'~', b"4" | b"8") => Some(KeyCode::End),
        (b'~', b"3") => Some(KeyCode::Delete),
        (b'~', b"5") => Some(KeyCode::PageUp),
        (b'~', b"6") => Some(KeyCode::PageDown),
        (b'~', b"11") => Some(KeyCode::F(1)),
        (b'Z', _) => Some(KeyCode::BackTab),
        (letter, _) => letter_key(letter),
    };
    code.map_or(Token::Noise(used), |code| Token::Key(plain(code), used))
}

fn letter_key(letter: u8) -> Option<KeyCode> {
    Some(match letter {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'H' => KeyCode::Home,
        b'F' => KeyCode::End,
        b'P' => KeyCode::F(1),
        // The Enter of the number pad.
        b'M' => KeyCode::Enter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the names of all inputs: `a`, `C-a`, `Up`, `<pasted>`.
    fn names(inputs: Vec<Input>) -> String {
        let name = |input| match input {
            Input::Paste(text) => format!("<{text}>"),
            Input::Key(KeyEvent { code: KeyCode::Char(c), modifiers, .. }) => match modifiers {
                KeyModifiers::CONTROL => format!("C-{c}"),
                _ => c.to_string(),
            },
            Input::Key(key) => format!("{:?}", key.code),
            other => panic!("{other:?}"),
        };
        inputs.into_iter().map(name).collect::<Vec<_>>().join(" ")
    }

    /// Decodes `bytes` at once and in every pair of pieces; all must give the same inputs.
    fn decoded(bytes: &[u8]) -> String {
        let whole = names(Decoder::default().feed(bytes));
        for cut in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut inputs = decoder.feed(&bytes[..cut]);
            inputs.extend(decoder.feed(&bytes[cut..]));
            assert_eq!(names(inputs), whole, "cut after {cut}");
        }
        whole
    }

    #[test]
    fn letters_and_control() {
        assert_eq!(decoded(b"jG/?"), "j G / ?");
        assert_eq!(decoded("é日𝄞".as_bytes()), "é 日 𝄞");
        assert_eq!(decoded(b"\x03\x04\x15\r\n\t\x7f\x08"), "C-c C-d C-u Enter Enter Tab Backspace Backspace");
    }

    #[test]
    fn arrows_and_pages() {
        assert_eq!(decoded(b"\x1b[A\x1b[B\x1b[C\x1b[D\x1bOA\x1bOB"), "Up Down Right Left Up Down");
        assert_eq!(decoded(b"\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1~\x1b[4~"), "PageUp PageDown Home End Home End");
        assert_eq!(decoded(b"\x1b[1;5A\x1b[Z\x1bOP\x1b[[A\x1b[11~"), "Up BackTab F(1) F(1) F(1)");
    }

    #[test]
    fn escape_alone_is_known_only_when_nothing_follows() {
        let mut decoder = Decoder::default();
        assert!(decoder.feed(b"\x1b").is_empty() && decoder.is_waiting());
        assert_eq!(names(decoder.end_sequence().into_iter().collect()), "Esc");
        assert!(!decoder.is_waiting() && decoder.end_sequence().is_none());
        assert_eq!(decoded(b"\x1bq"), "Esc q");
        assert_eq!(decoded(b"\x1b\x1b[A"), "Esc Up");
        assert!(decoder.feed(b"\x1b[1").is_empty() && decoder.end_sequence().is_none());
        assert_eq!(names(decoder.feed(b"x")), "x", "half a sequence is forgotten");
    }

    #[test]
    fn pastes_are_no_keys() {
        assert_eq!(decoded(b"a\x1b[200~q\x1b[AR\x1b[201~b"), "a <q\x1b[AR> b");
        let mut decoder = Decoder::default();
        decoder.feed(b"\x1b[200~");
        for _ in 0..100 {
            decoder.feed(&[b'x'; 4096]);
        }
        let Some(Input::Paste(text)) = decoder.feed(PASTE_END).pop() else { panic!("it has ended") };
        assert_eq!(text.len(), MAX_PASTE);
    }

    #[test]
    fn unknown_sequences_press_no_keys() {
        assert_eq!(decoded(b"\x1b[<0;10;20m\x1b[?1;2c\x1b[24~\x1bOS\x1b[[Bz"), "z");
        assert_eq!(decoded(b"\x00\x1c\x1f\xff\xc0z"), "z");
        assert_eq!(decoded(b"\x1b[12\x1b[A"), "Up");
    }

    #[test]
    fn noise_is_not_kept() {
        let mut decoder = Decoder::default();
        decoder.feed(b"\x1b[");
        for _ in 0..1000 {
            decoder.feed(&[b'1'; 100]);
        }
        assert!(decoder.pending.len() <= MAX_SEQUENCE);
    }
}

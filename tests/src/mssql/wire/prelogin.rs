//! PRELOGIN: the encryption that the client wants, and the answer.

use super::bytes::{Malformed, Result};

const ENCRYPTION: u8 = 1;

/// The encryption that one side names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mssql) enum Encryption {
    Off,
    On,
    NotSupported,
    Required,
    /// Nothing to negotiate: the connection began with TLS.
    Strict,
}

impl Encryption {
    fn byte(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::On => 1,
            Self::NotSupported => 2,
            Self::Required => 3,
            Self::Strict => 4,
        }
    }
}

/// Reads the encryption that the client wants.
pub(in crate::mssql) fn parse(body: &[u8]) -> Result<Encryption> {
    let bad = |why: &str| Malformed(format!("prelogin: {why}"));
    let mut options = body;
    while let Some((&token, rest)) = options.split_first() {
        if token == 0xff {
            break;
        }
        let [o1, o2, l1, l2, ..] = *rest else { return Err(bad("an option without its place")) };
        let (offset, length) = (u16::from_be_bytes([o1, o2]), u16::from_be_bytes([l1, l2]));
        let value = body.get(usize::from(offset)..usize::from(offset) + usize::from(length));
        let value = value.ok_or_else(|| bad("an option outside of the message"))?;
        if token == ENCRYPTION {
            return match value {
                [0] => Ok(Encryption::Off),
                [1] => Ok(Encryption::On),
                [2] => Ok(Encryption::NotSupported),
                [3] => Ok(Encryption::Required),
                [4] => Ok(Encryption::Strict),
                _ => Err(bad("an encryption that does not exist")),
            };
        }
        options = &rest[4..];
    }
    Err(bad("no word of encryption"))
}

/// Makes the answer: a version, this encryption, and the requested instance.
pub(in crate::mssql) fn answer(encryption: Encryption) -> Vec<u8> {
    // 16.0.4135, the version of SQL Server 2022.
    let options: [(u8, &[u8]); 5] =
        [(0, &[16, 0, 0x10, 0x27, 0, 0]), (ENCRYPTION, &[encryption.byte()]), (2, &[0]), (3, &[]), (4, &[0])];
    let mut offset = u16::try_from(options.len() * 5 + 1).expect("few options");
    let (mut head, mut values) = (Vec::<u8>::new(), Vec::<u8>::new());
    for (token, value) in options {
        let length = u16::try_from(value.len()).expect("short values");
        head.push(token);
        head.extend(offset.to_be_bytes());
        head.extend(length.to_be_bytes());
        values.extend(value);
        offset += length;
    }
    head.push(0xff);
    head.extend(values);
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_can_be_read() {
        for encryption in [Encryption::On, Encryption::NotSupported, Encryption::Strict] {
            assert_eq!(parse(&answer(encryption)), Ok(encryption));
        }
        assert!(parse(&[]).is_err());
        assert!(parse(&[1, 0, 200, 0, 1, 0xff]).is_err());
    }
}

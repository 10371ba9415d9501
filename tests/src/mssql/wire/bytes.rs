//! Reads numbers and texts from a message, and writes them into one.

/// The error for a message that violates the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mssql) struct Malformed(pub(in crate::mssql) String);

pub(in crate::mssql) type Result<T> = std::result::Result<T, Malformed>;

/// A reader of a message, from its beginning.
pub(in crate::mssql) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(in crate::mssql) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(in crate::mssql) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the next byte without taking it.
    pub(in crate::mssql) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    pub(in crate::mssql) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| Malformed(format!("{length} bytes expected, {} there", self.0.len())))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(in crate::mssql) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as many as were taken"))
    }

    pub(in crate::mssql) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(in crate::mssql) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(in crate::mssql) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(in crate::mssql) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads a text with its length in characters in one byte before it.
    pub(in crate::mssql) fn short_text(&mut self) -> Result<String> {
        let characters = usize::from(self.u8()?);
        utf16(self.take(characters * 2)?)
    }
}

/// Decodes UTF-16, little endian.
pub(in crate::mssql) fn utf16(bytes: &[u8]) -> Result<String> {
    if !bytes.len().is_multiple_of(2) {
        return Err(Malformed("a text of half a character".to_owned()));
    }
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).map_err(|_| Malformed("a text that is not UTF-16".to_owned()))
}

/// Encodes a text in UTF-16, little endian.
pub(in crate::mssql) fn to_utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Appends a text with its length in characters in one byte before it.
pub(in crate::mssql) fn put_short_text(bytes: &mut Vec<u8>, text: &str) {
    let units: Vec<u16> = text.encode_utf16().take(255).collect();
    bytes.push(u8::try_from(units.len()).expect("at most 255"));
    bytes.extend(units.into_iter().flat_map(u16::to_le_bytes));
}

/// Appends a text with its length in characters in two bytes before it.
pub(in crate::mssql) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let units: Vec<u16> = text.encode_utf16().take(usize::from(u16::MAX)).collect();
    bytes.extend(u16::try_from(units.len()).expect("at most 65535").to_le_bytes());
    bytes.extend(units.into_iter().flat_map(u16::to_le_bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        let mut bytes = Vec::new();
        put_short_text(&mut bytes, "Grüße 😀");
        assert_eq!(Reader::new(&bytes).short_text().unwrap(), "Grüße 😀");
        assert_eq!(utf16(&to_utf16("x")).unwrap(), "x");
    }

    #[test]
    fn what_is_not_there_is_not_read() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u16().unwrap(), 0x0201);
        assert!(reader.u32().is_err());
        assert!(utf16(&[0]).is_err());
        assert!(utf16(&[0x00, 0xd8]).is_err(), "half of a pair");
    }
}

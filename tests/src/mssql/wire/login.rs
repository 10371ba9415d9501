//! LOGIN7: the login's name, password and database.

use super::bytes::{Malformed, Reader, Result, utf16};

/// The parts of a login that the fake uses.
#[derive(PartialEq, Eq)]
pub(in crate::mssql) struct Login {
    pub(in crate::mssql) tds_version: u32,
    pub(in crate::mssql) packet_size: u32,
    pub(in crate::mssql) user: String,
    pub(in crate::mssql) password: String,
    pub(in crate::mssql) application: String,
    pub(in crate::mssql) server: String,
    pub(in crate::mssql) database: String,
}

/// Reads a login. The password is only obfuscated: the halves of each byte are swapped, and the byte is XORed with A5.
pub(in crate::mssql) fn parse(body: &[u8]) -> Result<Login> {
    let mut fixed = Reader::new(body);
    let length = usize::try_from(fixed.u32()?).unwrap_or(usize::MAX);
    if length != body.len() {
        return Err(Malformed(format!("login: {length} bytes announced, {} sent", body.len())));
    }
    let tds_version = fixed.u32()?;
    let packet_size = fixed.u32()?;
    // Skips client version, process, connection, four bytes of flags, time zone, language.
    fixed.take(4 + 4 + 4 + 4 + 4 + 4)?;
    let mut field = || -> Result<&[u8]> {
        let (offset, characters) = (usize::from(fixed.u16()?), usize::from(fixed.u16()?));
        let field = body.get(offset..offset + characters * 2);
        field.ok_or_else(|| Malformed("login: a field outside of the message".to_owned()))
    };
    let _host = field()?;
    let user = utf16(field()?)?;
    let disguised = field()?;
    let password = utf16(&disguised.iter().map(|byte| (byte ^ 0xa5).rotate_left(4)).collect::<Vec<_>>())?;
    let application = utf16(field()?)?;
    let server = utf16(field()?)?;
    let (_extension, _library, _language) = (field()?, field()?, field()?);
    let database = utf16(field()?)?;
    Ok(Login { tds_version, packet_size, user, password, application, server, database })
}

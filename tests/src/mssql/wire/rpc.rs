//! Requests: a batch of SQL text, or a call of `sp_executesql` with typed parameters.

use super::bytes::{Malformed, Reader, Result, utf16};
use super::types;
use crate::mssql::sql::{SqlType, Value};

/// A request of the client.
#[derive(Debug)]
pub(in crate::mssql) struct Request {
    pub(in crate::mssql) text: String,
    pub(in crate::mssql) parameters: Vec<Parameter>,
    /// A call is answered with a status and DONEPROC, a batch with DONE.
    pub(in crate::mssql) is_call: bool,
}

/// One parameter with its name, `@P1`.
#[derive(Debug, Clone)]
pub(in crate::mssql) struct Parameter {
    pub(in crate::mssql) name: String,
    pub(in crate::mssql) of: SqlType,
    pub(in crate::mssql) value: Value,
}

/// Reads a batch.
pub(in crate::mssql) fn batch(body: &[u8]) -> Result<Request> {
    let mut reader = Reader::new(body);
    headers(&mut reader)?;
    let rest = body.len() - headers_length(body)?;
    Ok(Request { text: utf16(reader.take(rest)?)?, parameters: Vec::new(), is_call: false })
}

/// Reads a call. A store calls only `sp_executesql`.
pub(in crate::mssql) fn call(body: &[u8]) -> Result<Request> {
    let mut reader = Reader::new(body);
    headers(&mut reader)?;
    let procedure = match reader.u16()? {
        0xffff => reader.u16()?,
        characters => {
            let name = utf16(reader.take(usize::from(characters) * 2)?)?;
            return Err(Malformed(format!("a call of {name}; only sp_executesql is known")));
        }
    };
    if procedure != 10 {
        return Err(Malformed(format!("a call of procedure {procedure}; only sp_executesql is known")));
    }
    let _options = reader.u16()?;
    let text = parameter(&mut reader)?;
    let declared = (!reader.is_empty()).then(|| parameter(&mut reader)).transpose()?;
    let mut parameters = Vec::new();
    while !reader.is_empty() {
        parameters.push(parameter(&mut reader)?);
    }
    let Value::Text(text) = text.value else {
        return Err(Malformed("a call without a statement".to_owned()));
    };
    let declarations = match declared.map(|declared| declared.value) {
        Some(Value::Text(text)) if !text.is_empty() => text.split(',').count(),
        _ => 0,
    };
    if declarations != parameters.len() {
        let why = format!("{declarations} parameters declared, {} sent", parameters.len());
        return Err(Malformed(why));
    }
    Ok(Request { text, parameters, is_call: true })
}

fn parameter(reader: &mut Reader<'_>) -> Result<Parameter> {
    let name = reader.short_text()?;
    let _flags = reader.u8()?;
    let (of, value) = types::read_parameter(reader)?;
    Ok(Parameter { name, of, value })
}

fn headers_length(body: &[u8]) -> Result<usize> {
    Ok(usize::try_from(Reader::new(body).u32()?).unwrap_or(usize::MAX))
}

/// Skips the headers of every request: the transaction, and the number of open requests.
fn headers(reader: &mut Reader<'_>) -> Result<()> {
    let length = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    let rest = length.checked_sub(4).ok_or_else(|| Malformed("headers without a length".to_owned()))?;
    reader.take(rest).map(|_| ())
}

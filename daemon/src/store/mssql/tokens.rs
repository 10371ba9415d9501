//! Reads the tokens of rows, for checks.

use tiberius::Query;

use super::connection::Connection;
use super::statements;
use super::trouble::Trouble;
use super::types::{Cells, make_id_cell, read_id, read_secret, read_text};
use crate::model::{CustomerId, RowToken};

/// Reads the tokens of these customers. An id that no value of the column's type has is in no row.
pub(super) async fn read(connection: &mut Connection, ids: &[CustomerId]) -> Result<Vec<RowToken>, Trouble> {
    let (layout, source) = (connection.layout.clone(), connection.row_source);
    let cells: Vec<_> = ids.iter().filter_map(|id| Some(make_id_cell(&layout.id, id)?.0)).collect();
    let mut tokens = Vec::with_capacity(ids.len());
    for part in cells.chunks(source.rows_at_once()) {
        let mut query = Query::new(statements::tokens(&layout, source, part.len()));
        source.bind(&mut query, part.iter().map(|cell| vec![cell.clone()]));
        for mut cells in connection.session.rows(query).await?.into_iter().map(Cells::from) {
            let id = cells.require(read_id);
            let row_url = cells.next(read_text)?.unwrap_or_default();
            let username = cells.next(read_text)?.unwrap_or_default();
            if let (Ok(id), Some(token)) = (id, cells.next(read_secret)?) {
                tokens.push(RowToken { id, row_url, username, token });
            }
        }
    }
    Ok(tokens)
}

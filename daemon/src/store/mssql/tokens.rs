//! Reads the tokens of rows, for checks.

use tiberius::Query;

use super::connection::Connection;
use super::session::unreadable_answer;
use super::trouble::Trouble;
use super::{statements, types};
use crate::model::{CustomerId, RowToken};

/// Reads the tokens of these customers. An id that no value of the column's type has is in no row.
pub(super) async fn read(connection: &mut Connection, ids: &[CustomerId]) -> Result<Vec<RowToken>, Trouble> {
    let (layout, source) = (connection.state.layout.clone(), connection.state.row_source);
    let cells: Vec<_> = ids.iter().filter_map(|id| Some(types::id_cell(&layout.id, id)?.0)).collect();
    let mut tokens = Vec::with_capacity(ids.len());
    for part in cells.chunks(source.rows_at_once()) {
        let mut query = Query::new(statements::tokens(&layout, source, part.len()));
        source.bind(&mut query, part.iter().map(|cell| vec![cell.clone()]));
        for row in connection.rows(query).await? {
            let mut cells = row.into_iter();
            let mut next = || cells.next().ok_or_else(unreadable_answer);
            let (id, url, username, token) = (next()?, next()?, next()?, next()?);
            let text =
                |cell| types::text(cell).map_err(|_| unreadable_answer()).map(Option::unwrap_or_default);
            let token = types::secret(token).map_err(|_| unreadable_answer())?;
            if let (Ok(Some(id)), Some(token)) = (types::id(id), token) {
                tokens.push(RowToken { id, row_url: text(url)?, username: text(username)?, token });
            }
        }
    }
    Ok(tokens)
}
